//! How to train.

use crate::error::{Error, Result};
use crate::kernel::Optimizer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is learned from a better and a worse answer, where the interventions have no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferenceLoss {
    /// To make the better one likelier, and the worse one less likely, than without edits: [`Task::Preference`](super::Task::Preference).
    Dpo,
    /// To prefer the better one, and the worse one where edits are turned around: [`Task::Steering`](super::Task::Steering).
    Reps,
}

impl PreferenceLoss {
    /// All of them.
    pub const ALL: [PreferenceLoss; 2] = [PreferenceLoss::Dpo, PreferenceLoss::Reps];

    /// The name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            PreferenceLoss::Dpo => "dpo",
            PreferenceLoss::Reps => "reps",
        }
    }
}

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TrainOptions {
    /// Times that every example is seen.
    pub epochs: usize,
    /// Examples in a step; 0 takes all of them.
    pub batch_size: usize,
    /// The learning rate at its highest.
    pub learning_rate: f64,
    /// `adamw`, `adam` or `sgd`.
    pub optimizer: String,
    /// Weight decay; a rotation's fixed parts never decay.
    pub weight_decay: f64,
    /// The gradient is made no longer than this; 0 leaves it as it is.
    pub max_grad_norm: f64,
    /// Examples that go through the model at once; 0 takes as many as keep the machine busy and fit. Gradients are summed.
    pub at_once: usize,
    /// How fast a difference counts in learning from preferences (DPO's beta).
    pub beta: f32,
    /// What is learned from preferences: `dpo` or `reps`.
    pub preference_loss: String,
    /// The strengths that RePS draws from, each above 0 (AxBench's `steering_factors`).
    pub strengths: Vec<f32>,
    /// `constant`, `linear` or `cosine`.
    pub schedule: String,
    /// Steps over which the rate rises from 0.
    pub warmup_steps: usize,
    /// Examples that are not learned, but asked after each epoch how they fare: below 1 a share of all, drawn by the seed; from 1 on a
    /// count, the last ones given. 0 holds none back.
    pub validation: f64,
    /// Epochs in which the validation's loss does not fall, after which the training ends; 0 goes on to the end.
    pub patience: usize,
    /// Whether the parameters are in the end those that had the lowest loss in validation.
    pub keep_best: bool,
    /// The share of numbers that are dropped: of the rows that are edited, and of the input of a LoRA. Never outside of training.
    pub dropout: f32,
    /// Where the order of the examples comes from, and what is dropped.
    pub seed: u64,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            epochs: 20,
            batch_size: 0,
            learning_rate: 4e-3,
            optimizer: Optimizer::default().name().to_owned(),
            weight_decay: 0.0,
            max_grad_norm: 0.0,
            at_once: 0,
            beta: 0.1,
            preference_loss: PreferenceLoss::Dpo.name().to_owned(),
            strengths: vec![1.0],
            schedule: "constant".to_owned(),
            warmup_steps: 0,
            validation: 0.0,
            patience: 0,
            keep_best: false,
            dropout: 0.0,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// As JSON, in the fewest digits that read back as the same numbers.
    pub(super) fn json(&self) -> Value {
        let text = serde_json::to_string(self).expect("plain data");
        serde_json::from_str(&text).expect("just written")
    }

    /// What is learned from preferences.
    ///
    /// # Errors
    /// `Input` for another name, with those that there are; and for strengths that are not above 0, or that nothing draws from.
    pub(crate) fn preference_loss(&self) -> Result<PreferenceLoss> {
        let all = PreferenceLoss::ALL;
        let name = &self.preference_loss;
        let loss = all.into_iter().find(|it| it.name() == name);
        let loss =
            loss.ok_or_else(|| Error::not_known("preferenceLoss", name, all.map(PreferenceLoss::name)))?;
        let wrong = self.strengths.iter().find(|strength| !(strength.is_finite() && **strength > 0.0));
        match (loss, wrong) {
            (_, Some(wrong)) => Err(Error::input(format!("strengths: {wrong}: expected a number above 0"))),
            _ if self.strengths.is_empty() => Err(Error::input("strengths: expected at least one")),
            (PreferenceLoss::Dpo, None) if self.strengths != [1.0] => {
                Err(Error::input("strengths: only preferenceLoss reps draws from them"))
            }
            _ => Ok(loss),
        }
    }

    /// Fails unless they make sense; returns the optimizer.
    pub(super) fn check(&self) -> Result<Optimizer> {
        if self.epochs == 0 {
            return Err(Error::input("epochs: expected at least 1"));
        }
        let rate = self.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return Err(Error::input(format!("learningRate {rate}: expected a number above 0")));
        }
        let optimizer =
            Optimizer::ALL.into_iter().find(|it| it.name() == self.optimizer).ok_or_else(|| {
                Error::not_known("optimizer", &self.optimizer, Optimizer::ALL.map(Optimizer::name))
            })?;
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(Error::input(format!("beta {}: expected a number above 0", self.beta)));
        }
        for (name, value) in [("weightDecay", self.weight_decay), ("maxGradNorm", self.max_grad_norm)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::input(format!("{name} {value}: expected 0 or more")));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(Error::input(format!("dropout {}: expected 0 or more, and below 1", self.dropout)));
        }
        Ok(optimizer)
    }
}
