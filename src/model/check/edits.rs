//! What interventions bring along, at the model's width: a LoReFT forward and backward, and a step of the optimizer.

use super::probes::{Made, Probe, reals};
use crate::error::Result;
use crate::kernel::{
    self, Activation, Edit, EditInputs, Hyper, Learned, OptimizerSettings, OrthogonalMap, Rotation,
};
use crate::model::Model;
use crate::plan::{Buf, Record as _};

/// Dimensions of the subspace, and reflections under its rotation.
const RANK: usize = 4;

/// Rows of h, of which two are edited.
const ROWS: usize = 3;

/// The parameters: what the rotation follows from, W, b.
fn layout(n_embd: usize) -> (Edit, Rotation, usize) {
    let (w_at, b_at) = (RANK * n_embd, 2 * RANK * n_embd);
    let edit = Edit {
        n_embd,
        n_in: n_embd,
        first: 0,
        rank: RANK,
        learned: Learned::State,
        act: Activation::Linear,
        subtracts: true,
        free: false,
        w_at,
        b_at: Some(b_at),
        p_at: 0,
        c_at: None,
    };
    let map = OrthogonalMap::Householder { n_reflections: RANK };
    (edit, Rotation { n_embd, rank: RANK, map, base_at: 0, x_at: 0, r_at: 0 }, b_at + RANK)
}

/// A LoReFT that edits two rows, its gradients, and a step that moves its parameters.
pub(super) fn edits(model: &Model) -> Probe {
    let n_embd = model.dims.n_embd;
    Probe::new(format!("LoReFT of rank {RANK} in {n_embd}"), move |made| {
        let (edit, rotation, n) = layout(n_embd);
        let theta = made.values("theta", &[n], &parameters(n_embd, n))?;
        let base = made.values("base", &[(RANK + 1) * n_embd], &reflections(n_embd))?;
        let [rot, drot] = [made.reals("rot", &[RANK * n_embd])?, made.reals("drot", &[RANK * n_embd])?];
        let [grad, dx] = [made.reals("grad", &[n])?, made.reals("dx", &[n])?];
        let shape = [ROWS, n_embd];
        let [h, dh] = [made.reals("h", &shape)?, made.reals("dh", &shape)?];
        let rows = made.words("edits", &[2, 2], &[2, 1, 0, 2])?;
        let strength = made.reals("strength", &[2, RANK])?;
        kernel::rotation(&mut made.plan, &rotation, [theta, base, rot]);
        let inputs = EditInputs { rows, strength, theta, rot, source: None };
        let trace = kernel::lowrank_edit(&mut made.plan, &edit, &inputs, h);
        kernel::lowrank_edit_backward(&mut made.plan, &edit, &inputs, &trace, dh, [grad, drot], false);
        kernel::rotation_backward(&mut made.plan, &rotation, true, [theta, base, drot, dx]);
        let moved = step(made, grad, n)?;
        Ok([&[rot, h, dh, grad, drot, dx], &moved[..]].concat())
    })
}

/// A step of AdamW from parameters and means of its own; the sum of two gradients, its length, and what moves are returned.
fn step(made: &mut Made<'_>, grad: Buf, n: usize) -> Result<[Buf; 5]> {
    let settings = Hyper { decay: 0.1, clip: 1.0, ..Hyper::with_rate(1e-2) }.at_step(2);
    let hyper = made.words("hyper", &[OptimizerSettings::WORDS], &settings.words())?;
    let [p, m, sum] = [made.reals("p", &[n])?, made.reals("m", &[n])?, made.reals("sum", &[n])?];
    let [v, decays] = [made.values("v", &[n], &vec![0.5; n])?, made.values("decays", &[n], &vec![1.0; n])?];
    kernel::accumulate(&mut made.plan, grad, sum, true);
    let norm = kernel::grad_norm(&mut made.plan, hyper, sum);
    let before = made.reals("before", &[n])?;
    kernel::optimizer(&mut made.plan, [hyper, decays, norm], sum, [p, m, v, before]);
    Ok([sum, norm, p, m, v])
}

/// Parameters whose first ones are a rotation's: −1 on the diagonal.
fn parameters(n_embd: usize, n: usize) -> Vec<f32> {
    let mut theta = reals(11, n);
    (0..RANK).for_each(|j| theta[j * n_embd + j] = -1.0);
    theta
}

/// Unit vectors, then signs.
fn reflections(n_embd: usize) -> Vec<f32> {
    let mut base = reals(13, (RANK + 1) * n_embd);
    for unit in base[..RANK * n_embd].chunks_exact_mut(n_embd) {
        let length = unit.iter().map(|x| x * x).sum::<f32>().sqrt();
        unit.iter_mut().for_each(|x| *x /= length);
    }
    base[RANK * n_embd..].iter_mut().for_each(|sign| *sign = sign.signum());
    base
}
