//! A training that stops being finite ends, and the interventions get back parameters whose loss was finite.

use super::{TrainStep, Trainer, Training};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reft::{Reft, Trained};

impl Training {
    /// Ends the training if a figure of a reported step is not finite.
    ///
    /// # Errors
    /// `Input` with the step, the figure, the rate and a lower one; `Device` if the device was lost.
    pub(super) async fn check_step(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &Trainer,
        report: &TrainStep,
    ) -> Result<()> {
        let TrainStep { step, steps, loss, grad_norm, learning_rate, .. } = *report;
        let figures = [
            ("loss", Some(loss)),
            ("length of the gradient", Some(grad_norm)),
            ("validation loss", report.validation_loss),
        ];
        let not_finite = |(name, value): (_, Option<f64>)| Some((name, value.filter(|it| !it.is_finite())?));
        let Some((name, value)) = figures.into_iter().find_map(not_finite) else { return Ok(()) };
        // A step that was submitted ahead moves parameters if its own gradient is finite.
        let is_ahead = match self.pending.take() {
            Some(pending) => self.report(pending).await?.0.grad_norm.is_finite(),
            None => false,
        };
        let moved = match (is_ahead, loss.is_finite(), grad_norm.is_finite()) {
            (true, ..) => Some(step + 1),
            (false, true, true) => Some(step),
            (false, true, false) => None,
            (false, false, _) => trainer.has_moved.then(|| step - 1),
        };
        let kept = self.give_back(model, reft, trainer, moved).await?;
        let advice = match trainer.has_moved || step > 1 {
            true => lower(self.options.learning_rate),
            false => "the model gives no finite numbers for these examples".to_owned(),
        };
        self.end_with(format!(
            "step {step} of {steps}: the {name} is {value} at a learning rate of {learning_rate}: {advice}; {kept}"
        ))
    }

    /// Ends the training if its last step has left one of the parameters not finite: no loss after it shows that.
    ///
    /// # Errors
    /// As [`Training::check_step`].
    pub(super) async fn check_theta(
        &mut self,
        model: &Model,
        reft: &Reft,
        trainer: &Trainer,
        theta: &[f32],
    ) -> Result<()> {
        let Some(value) = theta.iter().find(|value| !value.is_finite()) else { return Ok(()) };
        let (step, steps, rate) = (self.n_done, self.n_steps(), self.options.learning_rate);
        let kept = self.give_back(model, reft, trainer, Some(step)).await?;
        let advice = lower(rate);
        self.end_with(format!(
            "step {step} of {steps}: a parameter is {value} after it, at a learning rate of {rate}: {advice}; {kept}"
        ))
    }

    /// Notes why the training has ended.
    fn end_with(&mut self, message: String) -> Result<()> {
        let error = Error::input(message);
        self.diverged = Some(error.clone());
        Err(error)
    }

    /// Gives the interventions the best parameters in validation, if these are kept; else those from before step `moved`, the last one
    /// that moved them, unless it moved none. Returns which parameters the interventions have.
    async fn give_back(
        &self,
        model: &Model,
        reft: &Reft,
        trainer: &Trainer,
        moved: Option<usize>,
    ) -> Result<String> {
        if self.shown.restore(reft) {
            return Ok("the interventions have the parameters of the lowest validation loss".to_owned());
        }
        let Some(moved) = moved else { return Ok("the interventions are as they were before it".to_owned()) };
        reft.theta.write_f32(&trainer.before.read().f32().await?);
        reft.follow(&model.backend)?;
        if let Some(trained) = reft.trained() {
            let steps = trained.steps.saturating_sub(1);
            reft.note(Trained { steps, ..trained });
        }
        Ok(match moved {
            0 => "the interventions have the parameters from before the last step".to_owned(),
            _ => format!("the interventions have the parameters from before step {moved}"),
        })
    }
}

/// Advises a tenth of a rate, in two digits.
fn lower(rate: f64) -> String {
    let tenth: f64 = format!("{:.1e}", rate / 10.0).parse().expect("a number");
    format!("start again with a lower rate, {tenth} for example")
}

#[cfg(test)]
mod tests {
    use super::lower;

    #[test]
    fn a_lower_rate_is_short_to_read() {
        for (rate, tenth) in [(0.4, "0.04"), (1e3, "100"), (0.123, "0.012")] {
            assert_eq!(lower(rate), format!("start again with a lower rate, {tenth} for example"));
        }
    }
}
