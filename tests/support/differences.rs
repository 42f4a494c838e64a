//! Gradients of a model's interventions against differences of its loss.

use pollster::block_on;
use webreft::engine::Engine;
use webreft::kernel::{Dropout, Hyper};
use webreft::plan::Plan;
use webreft::reft::Reft;
use webreft::train::{Sequence, Trainer};

/// Tokens of any of the small models.
pub(crate) const PROMPT: [u32; 12] = [1, 79, 148, 180, 134, 228, 243, 139, 257, 5, 233, 198];

/// The first `n_tokens` of the prompt, the last three of which are labels.
pub(crate) fn example(engine: &Engine, reft: &Reft, n_tokens: usize) -> Sequence {
    let tokens = PROMPT[..n_tokens].to_vec();
    let sequence = Sequence::new(reft, tokens, n_tokens - 3, engine.model().n_ctx);
    let mut sequence = sequence.expect("an example");
    for (it, edits) in reft.interventions.iter().zip(&mut sequence.edits) {
        if it.kind.reads_source() {
            edits.source = pseudo_random(edits.rows.len() * it.sizes.n_embd);
        }
    }
    sequence
}

/// Numbers within ±½, the same every time.
pub(crate) fn pseudo_random(len: usize) -> Vec<f32> {
    let states = std::iter::successors(Some(7usize), |state| Some(state * 75 % 65_537));
    states.skip(1).take(len).map(|state| state as f32 / 65_537.0 - 0.5).collect()
}

/// The mean loss of an example, without a step.
fn loss(engine: &Engine, reft: &Reft, dropout: Dropout, sequence: &Sequence) -> f64 {
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the state fits");
    trainer.set_dropout(dropout);
    let loss = trainer.step(engine.model(), reft, &[sequence], &Hyper::with_rate(0.0));
    block_on(loss.expect("a step runs").mean()).expect("the loss is read")
}

/// Compares the steepest gradient of each part of the interventions below layer `below` with central differences of the loss.
pub(crate) fn check_gradient(engine: &Engine, reft: &Reft, dropout: Dropout, below: usize, name: &str) {
    check_gradient_by(1.0 / 64.0, engine, reft, dropout, below, name);
}

/// By differences of steps so long.
pub(crate) fn check_gradient_by(
    step: f32,
    engine: &Engine,
    reft: &Reft,
    dropout: Dropout,
    below: usize,
    name: &str,
) {
    let sequence = example(engine, reft, 12);
    let mut theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
    for (_, it) in reft.owners() {
        for part in it.parts() {
            let numbers = &mut theta[part.range.clone()];
            if numbers.iter().all(|p| *p == 0.0) && part.name != "penalty" {
                numbers.copy_from_slice(&pseudo_random(numbers.len())); // away from P = 0
            }
        }
    }
    // The loss with these parameters, and with what follows from others.
    let loss_with = |theta: &[f32], followed: &[f32]| {
        reft.theta.write_f32(followed);
        let mut plan = Plan::new("rotations");
        reft.plan_followers(&mut plan);
        engine.model().backend.prepare(plan).expect("a small plan").run().expect("it runs");
        reft.theta.write_f32(theta);
        loss(engine, reft, dropout, &sequence)
    };
    loss_with(&theta, &theta);
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the state fits");
    trainer.set_dropout(dropout);
    trainer.step(engine.model(), reft, &[&sequence], &Hyper::with_rate(0.0)).expect("a step runs");
    let gradient = block_on(trainer.gradients().theta.read().f32()).expect("the gradient is read");
    for it in reft.interventions.iter().filter(|it| it.place.layer < below) {
        for part in it.parts() {
            // The steepest of this part's parameters.
            let steepest =
                part.range.clone().max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs()));
            let at = steepest.expect("a part has numbers");
            // The lengths of rows that follow from a LoRA are constants in its gradients (DoRA, section 4.3).
            let is_held = it.kind.has_magnitude() && part.name != "magnitude";
            // A unit row's gradient is that along its sphere.
            let is_unit = it.kind.detects() && part.name == "projection";
            let beside = |steps: f32| {
                let mut moved = theta.clone();
                moved[at] += steps * step;
                if is_unit {
                    let along = theta[at];
                    let row = moved[part.range.clone()].iter_mut().zip(&theta[part.range.clone()]);
                    row.for_each(|(moved, w)| *moved -= steps * step * along * w);
                }
                loss_with(&moved, if is_held { &theta } else { &moved })
            };
            let (near, far) = (beside(1.0) - beside(-1.0), beside(2.0) - beside(-2.0));
            let want = (8.0 * near - far) / (12.0 * f64::from(step));
            let got = f64::from(gradient[at]);
            assert!(
                (got - want).abs() <= 2e-2 * want.abs() + 2e-4,
                "{name}, layer {}: {}[{at}]: {got} for {want}",
                it.place.layer,
                part.name
            );
        }
    }
}
