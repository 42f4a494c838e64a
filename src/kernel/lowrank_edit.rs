//! Low-rank edit of hidden states, the arithmetic under every ReFT kind (Wu et al. 2024, arXiv:2404.03592, eq. 2), and
//! its gradients by the hidden states and by the parameters.

use super::activate::{ACTIVATION, Activation};
use super::declare::kernel;
use super::dropout::{DropoutSettings, Drops, KEPT};
use super::{Arithmetic, Exact, PCG, Pool, REDUCE};
use crate::plan::{Buf, Field, Param, Plan};

const CODES: &str = wgsl!("lib/edit_codes.wgsl");

kernel! {
    /// h ← h + Pᵀ·u, the edit of nearly every kind of intervention.
    LOWRANK_EDIT: lowrank_edit {
        wgsl: [REDUCE, ACTIVATION, CODES, wgsl!("lowrank_edit.wgsl")],
        params {
            n_embd: usize,
            n_in: usize,
            stride: usize,
            first: usize,
            rank: usize,
            w_at: usize,
            b_at: Option<usize>,
            p_at: usize,
            c_at: Option<usize>,
            act: Activation,
            learned: Learned,
            subtracts: bool,
        }
        args {
            edits: In<u32>,
            strength: In<f32>,
            theta: In<f32>,
            proj: In<f32>,
            source: In<f32>,
            h: InOut<f32>,
            before: Out<f32>,
            trace: Out<f32>,
        }
        twin: twin,
        fast: fast,
    }
}

kernel! {
    /// The gradient of `lowrank_edit` by h, in place.
    LOWRANK_EDIT_BACKWARD: lowrank_edit_backward {
        wgsl: [REDUCE, ACTIVATION, CODES, wgsl!("lowrank_edit_backward.wgsl")],
        params {
            n_embd: usize,
            stride: usize,
            first: usize,
            rank: usize,
            w_at: usize,
            p_at: usize,
            act: Activation,
            learned: Learned,
            subtracts: bool,
        }
        args {
            edits: In<u32>,
            strength: In<f32>,
            theta: In<f32>,
            proj: In<f32>,
            trace: In<f32>,
            dh: InOut<f32>,
            after: Out<f32>,
            dtrace: Out<f32>,
        }
        twin: twin_backward,
        fast: fast_backward,
    }
}

kernel! {
    /// The gradient of `lowrank_edit` by the module's input.
    LOWRANK_EDIT_INPUT: lowrank_edit_input {
        wgsl: [PCG, KEPT, wgsl!("lowrank_edit_input.wgsl")],
        params { n_in: usize, rank: usize, w_at: usize, drops: bool, number: usize }
        args { edits: In<u32>, theta: In<f32>, dtrace: In<f32>, dropout: One<DropoutSettings>, dx: InOut<f32> }
        twin: twin_input,
        fast: fast_input,
    }
}

kernel! {
    /// The gradients of `lowrank_edit` by its parameters.
    LOWRANK_EDIT_PARAMS: lowrank_edit_params {
        wgsl: [CODES, wgsl!("lowrank_edit_params.wgsl")],
        params {
            n_edits: usize,
            n_embd: usize,
            n_in: usize,
            rank: usize,
            w_at: usize,
            b_at: Option<usize>,
            p_at: usize,
            c_at: Option<usize>,
            learned: Learned,
            subtracts: bool,
            free: bool,
            onto: bool,
        }
        args {
            edits: In<u32>,
            before: In<f32>,
            after: In<f32>,
            source: In<f32>,
            trace: In<f32>,
            dtrace: In<f32>,
            grad: InOut<f32>,
            drot: InOut<f32>,
        }
        twin: twin_params,
        fast: fast_params,
    }
}

/// What W is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Nothing: z = b.
    Bias,
    /// The row itself: z = W·h + b.
    State,
    /// The input of the module whose output is edited: z = W·x + b.
    Input,
    /// The same, where x is what the whole sublayer reads.
    SublayerInput,
    /// Nothing; z = P·s, where s is a row of another run.
    Source,
}

impl Learned {
    /// As the shaders know them: whose input it is makes no difference to them.
    const CODES: [Learned; 4] = [Learned::Bias, Learned::State, Learned::Input, Learned::Source];

    fn code(self) -> Learned {
        if self == Learned::SublayerInput { Learned::Input } else { self }
    }
}

impl Param for Learned {
    const FIELD: Field = Field::U32;

    fn bits(self) -> u32 {
        let code = Learned::CODES.iter().position(|code| *code == self.code());
        Param::bits(code.expect("one of the codes"))
    }

    fn of(bits: u32) -> Learned {
        Learned::CODES[bits as usize]
    }
}

/// One intervention as the kernels see it: its arithmetic, and where its parameters lie in the flat buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Width of what is edited, D.
    pub n_embd: usize,
    /// Width of what W is put on, I.
    pub n_in: usize,
    /// Its first column in a row of the buffer that it is a part of.
    pub first: usize,
    /// Dimensions of the subspace, R.
    pub rank: usize,
    /// What W is put on.
    pub learned: Learned,
    /// The function around z.
    pub act: Activation,
    /// Whether P·h + c is taken away.
    pub subtracts: bool,
    /// Whether P lies in `theta`, and not in `rot`.
    pub free: bool,
    /// First element of W [R, I] in `theta`.
    pub w_at: usize,
    /// First element of b `[R]` in `theta`, if there is one.
    pub b_at: Option<usize>,
    /// First element of P [R, D] in `theta` or `rot`.
    pub p_at: usize,
    /// First element of c `[R]` in `theta`, if there is one; only where P·h is subtracted.
    pub c_at: Option<usize>,
}

/// What an edit reads.
#[derive(Clone, Copy)]
pub struct EditInputs {
    /// Row, and how often it counts in gradients [P, 2]; no row twice.
    pub rows: Buf,
    /// How much of the edit is made in each dimension of the subspace [P, R].
    pub strength: Buf,
    /// The trained parameters.
    pub theta: Buf,
    /// The rotations.
    pub rot: Buf,
    /// A row for each edit [P, D], or the module's input [T, I], for an edit that reads one.
    pub source: Option<Buf>,
}

/// What an edit leaves for its gradient.
#[derive(Clone, Copy)]
pub struct EditTrace {
    pub(super) before: Buf,
    pub(super) trace: Buf,
}

/// Edits the rows of h [T, S] that `rows` [P, 2] names, in place.
pub fn lowrank_edit(plan: &mut Plan, edit: &Edit, inputs: &EditInputs, h: Buf) -> EditTrace {
    let EditInputs { rows, strength, theta, rot, source } = *inputs;
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(h);
    let Edit { n_embd, n_in, first, rank, .. } = *edit;
    plan.expect("lowrank_edit: strength", strength, &[n_edits, rank]);
    assert!(first + n_embd <= stride, "lowrank_edit: {n_embd} columns from {first} on, of {stride}");
    assert_eq!(source.is_some(), edit.reads_source(), "lowrank_edit: source");
    let before = plan.scratch("before", &[n_edits, n_in]);
    let trace = plan.scratch("trace", &[n_edits, 2 * rank]);
    let Edit { learned, act, subtracts, free, w_at, b_at, p_at, c_at, .. } = *edit;
    let params = lowrank_edit::Params {
        n_embd,
        n_in,
        stride,
        first,
        rank,
        w_at,
        b_at,
        p_at,
        c_at,
        act,
        learned,
        subtracts,
    };
    let proj = if free { theta } else { rot };
    let source = source.unwrap_or(theta);
    let bufs = lowrank_edit::Bufs { edits: rows, strength, theta, proj, source, h, before, trace };
    plan.dispatch(&LOWRANK_EDIT, params, bufs, [1, n_edits, 1]);
    EditTrace { before, trace }
}

/// What the way back leaves for the input's gradient.
#[derive(Clone, Copy)]
pub struct EditGradient(pub(super) Buf);

/// Takes dh [T, S] back through the edit, in place, and writes the parameters' gradients, or adds to them.
pub fn lowrank_edit_backward(
    plan: &mut Plan,
    edit: &Edit,
    inputs: &EditInputs,
    trace: &EditTrace,
    dh: Buf,
    [grad, drot]: [Buf; 2],
    onto: bool,
) -> EditGradient {
    let EditInputs { rows, strength, theta, rot, source } = *inputs;
    let [n_edits, _] = plan.shape(rows);
    let [_, stride] = plan.shape(dh);
    let Edit { n_embd, n_in, first, rank, .. } = *edit;
    let after = plan.scratch("after", &[n_edits, n_embd]);
    let dtrace = plan.scratch("dtrace", &[n_edits, 2 * rank]);
    let Edit { learned, act, subtracts, free, w_at, b_at, p_at, c_at, .. } = *edit;
    let params =
        lowrank_edit_backward::Params { n_embd, stride, first, rank, w_at, p_at, act, learned, subtracts };
    let bufs = lowrank_edit_backward::Bufs {
        edits: rows,
        strength,
        theta,
        proj: if free { theta } else { rot },
        trace: trace.trace,
        dh,
        after,
        dtrace,
    };
    plan.dispatch(&LOWRANK_EDIT_BACKWARD, params, bufs, [1, n_edits, 1]);

    let params = lowrank_edit_params::Params {
        n_edits,
        n_embd,
        n_in,
        rank,
        w_at,
        b_at,
        p_at,
        c_at,
        learned,
        subtracts,
        free,
        onto,
    };
    let bufs = lowrank_edit_params::Bufs {
        edits: rows,
        before: trace.before,
        after,
        source: source.filter(|_| learned == Learned::Source).unwrap_or(trace.before),
        trace: trace.trace,
        dtrace,
        grad,
        drot,
    };
    plan.dispatch(&LOWRANK_EDIT_PARAMS, params, bufs, [n_embd.max(n_in).div_ceil(64), rank, 1]);
    EditGradient(dtrace)
}

/// Adds to dx [T, I] what comes back from an edit that reads its module's input, of which `drops` were dropped.
pub fn lowrank_edit_input(
    plan: &mut Plan,
    edit: &Edit,
    inputs: &EditInputs,
    EditGradient(dtrace): EditGradient,
    drops: Option<Drops>,
    dx: Buf,
) {
    let [n_edits, _] = plan.shape(inputs.rows);
    let number = drops.map_or(0, |drops| drops.number);
    let settings = drops.map_or(inputs.rows, |drops| drops.settings);
    plan.dispatch(
        &LOWRANK_EDIT_INPUT,
        lowrank_edit_input::Params {
            n_in: edit.n_in,
            rank: edit.rank,
            w_at: edit.w_at,
            drops: drops.is_some(),
            number,
        },
        lowrank_edit_input::Bufs { edits: inputs.rows, theta: inputs.theta, dtrace, dropout: settings, dx },
        [1, n_edits, 1],
    );
}

impl Edit {
    /// Whether it reads rows of another run or its module's input.
    pub fn reads_source(&self) -> bool {
        matches!(self.learned, Learned::Input | Learned::SublayerInput | Learned::Source)
    }
}

/// Element `j` of b or c, 0 where the edit has none.
fn bias(theta: &[f32], at: Option<usize>, j: usize) -> f32 {
    at.map_or(0.0, |at| theta[at + j])
}

fn twin(p: &lowrank_edit::Params, a: lowrank_edit::Args<'_>) {
    edit(p, a, &Exact);
}

fn fast(p: &lowrank_edit::Params, a: lowrank_edit::Args<'_>, pool: &Pool) {
    edit(p, a, pool);
}

fn edit<A: Arithmetic>(p: &lowrank_edit::Params, a: lowrank_edit::Args<'_>, of: &A) {
    let lowrank_edit::Params {
        n_embd,
        n_in,
        stride,
        first,
        rank,
        w_at,
        b_at,
        p_at,
        c_at,
        act,
        learned,
        subtracts,
    } = *p;
    let lowrank_edit::Args { edits, strength, theta, proj, source, h, before, trace } = a;
    let proj = |j: usize| &proj[p_at + j * n_embd..][..n_embd];
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let row = edit[0] as usize;
        let h = &mut h[row * stride + first..][..n_embd];
        let before = &mut before[p * n_in..][..n_in];
        before.copy_from_slice(if learned == Learned::Input { &source[row * n_in..][..n_in] } else { h });
        let (z, u) = trace[2 * p * rank..][..2 * rank].split_at_mut(rank);
        for j in 0..rank {
            let inside = match learned {
                Learned::Bias => 0.0,
                Learned::State | Learned::Input | Learned::SublayerInput => {
                    of.dot(&theta[w_at + j * n_in..][..n_in], before)
                }
                Learned::Source => of.dot(proj(j), &source[p * n_embd..][..n_embd]),
            };
            z[j] = inside + bias(theta, b_at, j);
            let there = if subtracts { of.dot(proj(j), h) } else { 0.0 };
            u[j] = strength[p * rank + j] * (act.apply(z[j]) - there - bias(theta, c_at, j));
        }
        let mut sums = of.sums_of(h);
        u.iter().enumerate().for_each(|(j, u)| of.add_scaled(&mut sums, *u, proj(j)));
        of.store(&sums, h);
    }
}

fn twin_backward(p: &lowrank_edit_backward::Params, a: lowrank_edit_backward::Args<'_>) {
    edit_backward(p, a, &Exact);
}

fn fast_backward(p: &lowrank_edit_backward::Params, a: lowrank_edit_backward::Args<'_>, pool: &Pool) {
    edit_backward(p, a, pool);
}

fn edit_backward<A: Arithmetic>(
    p: &lowrank_edit_backward::Params,
    a: lowrank_edit_backward::Args<'_>,
    of: &A,
) {
    let lowrank_edit_backward::Params { n_embd, stride, first, rank, w_at, p_at, act, learned, subtracts } =
        *p;
    let lowrank_edit_backward::Args { edits, strength, theta, proj, trace, dh, after, dtrace } = a;
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let dh = &mut dh[edit[0] as usize * stride + first..][..n_embd];
        after[p * n_embd..][..n_embd].copy_from_slice(dh);
        let z = &trace[2 * p * rank..][..rank];
        let (dz, du) = dtrace[2 * p * rank..][..2 * rank].split_at_mut(rank);
        for j in 0..rank {
            du[j] = strength[p * rank + j] * of.dot(&proj[p_at + j * n_embd..][..n_embd], dh);
            dz[j] = act.slope(z[j]) * du[j];
        }
        let mut sums = of.sums_of(dh);
        for j in 0..rank {
            if learned == Learned::State {
                of.add_scaled(&mut sums, dz[j], &theta[w_at + j * n_embd..][..n_embd]);
            }
            if subtracts {
                of.add_scaled(&mut sums, -du[j], &proj[p_at + j * n_embd..][..n_embd]);
            }
        }
        of.store(&sums, dh);
        dh.iter_mut().for_each(|d| *d *= edit[1] as f32);
    }
}

fn twin_input(p: &lowrank_edit_input::Params, a: lowrank_edit_input::Args<'_>) {
    edit_input(p, a, &Exact);
}

fn fast_input(p: &lowrank_edit_input::Params, a: lowrank_edit_input::Args<'_>, pool: &Pool) {
    edit_input(p, a, pool);
}

fn edit_input<A: Arithmetic>(p: &lowrank_edit_input::Params, a: lowrank_edit_input::Args<'_>, of: &A) {
    let lowrank_edit_input::Params { n_in, rank, w_at, drops, number } = *p;
    let lowrank_edit_input::Args { edits, theta, dtrace, dropout: settings, dx } = a;
    for (p, edit) in edits.chunks_exact(2).enumerate() {
        let dx = &mut dx[edit[0] as usize * n_in..][..n_in];
        let mut sums = of.sums_of(&vec![0.0; n_in]);
        for j in 0..rank {
            of.add_scaled(&mut sums, dtrace[2 * p * rank + j], &theta[w_at + j * n_in..][..n_in]);
        }
        let mut back = vec![0.0; n_in];
        of.store(&sums, &mut back);
        for (d, (dx, back)) in dx.iter_mut().zip(&back).enumerate() {
            let kept = if drops { settings.kept(number, edit[0], d) } else { 1.0 };
            *dx += edit[1] as f32 * (kept * back);
        }
    }
}

fn twin_params(p: &lowrank_edit_params::Params, a: lowrank_edit_params::Args<'_>) {
    edit_params(p, a, &Exact);
}

fn fast_params(p: &lowrank_edit_params::Params, a: lowrank_edit_params::Args<'_>, pool: &Pool) {
    edit_params(p, a, pool);
}

fn edit_params<A: Arithmetic>(p: &lowrank_edit_params::Params, a: lowrank_edit_params::Args<'_>, of: &A) {
    let lowrank_edit_params::Params {
        n_edits,
        n_embd,
        n_in,
        rank,
        w_at,
        b_at,
        p_at,
        c_at,
        learned,
        subtracts,
        free,
        onto,
    } = *p;
    let lowrank_edit_params::Args { edits, before, after, source, trace, dtrace, grad, drot } = a;
    let has_w = matches!(learned, Learned::State | Learned::Input);
    let begin = |there: &[f32]| if onto { of.sums_of(there) } else { of.sums_of(&vec![0.0; there.len()]) };
    let of_row = |values: &[f32], row: usize, j: usize| values[row * rank + j];
    for j in 0..rank {
        let w_row = if has_w { w_at + j * n_in..w_at + (j + 1) * n_in } else { 0..0 };
        let p_row = p_at + j * n_embd;
        let mut dw = begin(&grad[w_row.clone()]);
        let mut dproj = begin(if free { &grad[p_row..][..n_embd] } else { &drot[p_row..][..n_embd] });
        let [mut db, mut dc] = [b_at, c_at].map(|at| begin(at.map_or(&[], |at| &grad[at + j..=at + j])));
        for p in 0..n_edits {
            let count = edits[2 * p + 1] as f32;
            let (x, dh) = (&before[p * n_in..][..n_in], &after[p * n_embd..][..n_embd]);
            let u = of_row(trace, 2 * p + 1, j);
            let [dz, du] = [2 * p, 2 * p + 1].map(|row| of_row(dtrace, row, j));
            of.add_scaled(&mut dw, count * dz, x);
            of.add_scaled(&mut db, count, &[dz]);
            of.add_scaled(&mut dc, -count, &[du]);
            of.add_scaled(&mut dproj, count * u, dh);
            if subtracts {
                of.add_scaled(&mut dproj, -count * du, x);
            }
            if learned == Learned::Source {
                of.add_scaled(&mut dproj, count * dz, &source[p * n_embd..][..n_embd]);
            }
        }
        of.store(&dw, &mut grad[w_row]);
        of.store(&dproj, if free { &mut grad[p_row..][..n_embd] } else { &mut drot[p_row..][..n_embd] });
        for (at, sums) in [(b_at, &db), (c_at, &dc)] {
            at.into_iter().for_each(|at| of.store(sums, &mut grad[at + j..=at + j]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, Arithmetic, Exact, Learned, lowrank_edit, twin};

    const N_EMBD: usize = 6;

    /// h before and after an edit of rows 3 and 0 of five by W, b and two orthonormal rows of R.
    fn edited(w: &[f32], b: [f32; 2]) -> [Vec<f32>; 2] {
        let h: Vec<f32> = (0..5 * N_EMBD).map(|i| (i as f32).cos()).collect();
        let params = lowrank_edit::Params {
            n_embd: N_EMBD,
            n_in: N_EMBD,
            stride: N_EMBD,
            first: 0,
            rank: 2,
            w_at: 0,
            b_at: Some(w.len()),
            p_at: 0,
            c_at: None,
            act: Activation::Linear,
            learned: Learned::State,
            subtracts: true,
        };
        let mut after = h.clone();
        let args = lowrank_edit::Args {
            edits: &[3, 1, 0, 1],
            strength: &[1.0; 4],
            theta: &[w, &b].concat(),
            proj: &R,
            source: &[],
            h: &mut after,
            before: &mut [0.0; 2 * N_EMBD],
            trace: &mut [0.0; 8],
        };
        twin(&params, args);
        [h, after]
    }

    const R: [f32; 2 * N_EMBD] = [0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0];

    #[test]
    fn rows_that_no_edit_names_keep_their_bits() {
        let [before, after] = edited(&[0.3; 2 * N_EMBD], [1.0, -2.0]);
        let kept = [1, 2, 4].map(|row| row * N_EMBD..(row + 1) * N_EMBD);
        kept.into_iter().for_each(|row| assert_eq!(before[row.clone()], after[row]));
    }

    /// R·h′ = W·h + b: the subspace is set to what W and b say.
    #[test]
    fn the_subspace_takes_the_learned_source() {
        let w: Vec<f32> = (0..2 * N_EMBD).map(|i| (i as f32 * 0.9).sin()).collect();
        let [before, after] = edited(&w, [0.5, -0.25]);
        for row in [0, 3] {
            let [h, edited] = [&before, &after].map(|h| &h[row * N_EMBD..][..N_EMBD]);
            for (j, b) in [0.5, -0.25].into_iter().enumerate() {
                let inside = Exact.dot(&R[j * N_EMBD..][..N_EMBD], edited);
                assert!(
                    (inside - Exact.dot(&w[j * N_EMBD..][..N_EMBD], h) - b).abs() < 1e-5,
                    "row {row}, {j}"
                );
            }
        }
    }
}
