//! A square rotation R = B·expm(A) from free parameters, and the gradient back to them: torch's `matrix_exp` map.
//!
//! With A = (tril(X) − tril(X)ᵀ) / 2ˢ, E = expm(A) − 1 is a sum of powers, made from the last one on, and then squared s times,
//! always without the 1, which would swallow the digits of a small E:
//!
//! ```text
//! F_n = A/n    F_k = (A + A·F_{k+1})/k    E₀ = F₁    E_{i+1} = 2·E_i + E_i·E_i    R = B + B·E_s
//! ```

use super::declare::kernel;
use super::dot;
use super::rotation::Rotation;
use crate::plan::{Buf, Plan, record};

kernel! {
    /// out ← keep · out + alpha · a·b + beta · c, of square matrices.
    PRODUCT: product {
        wgsl: [wgsl!("product.wgsl")],
        params {
            n_embd: usize,
            a_at: usize,
            a_row: usize,
            a_col: usize,
            b_at: usize,
            b_row: usize,
            b_col: usize,
            c_at: usize,
            out_at: usize,
            alpha: f32,
            beta: f32,
            keep: f32,
        }
        args { a: In<f32>, b: In<f32>, c: In<f32>, out: InOut<f32> }
        twin: twin_product,
    }
}

kernel! {
    /// A skew-symmetric matrix of the free parameters.
    SKEW: skew {
        wgsl: [wgsl!("skew.wgsl")],
        params Skew
        args { theta: In<f32>, skew: Out<f32> }
        twin: twin_skew,
    }
}

kernel! {
    /// The gradient of `skew`.
    SKEW_BACKWARD: skew_backward {
        wgsl: [wgsl!("skew_backward.wgsl")],
        params Skew
        args { dskew: In<f32>, grad: InOut<f32> }
        twin: twin_skew_backward,
    }
}

record! {
    /// The free parameters X [D, D] in `theta` and `grad`, and what A is of them.
    struct Skew {
        n_embd: usize,
        x_at: usize,
        scale: f32,
    }
}

impl Skew {
    fn new(it: &Rotation) -> Skew {
        Skew { n_embd: it.n_embd, x_at: it.x_at, scale: SCALE }
    }
}

/// Powers of A in the sum, and squarings: the rest of the sum is below rounding for |A| up to 32.
const N_POWERS: usize = 8;
const N_SQUARINGS: usize = 6;
const SCALE: f32 = 1.0 / (1 << N_SQUARINGS) as f32;

/// A square matrix [D, D] within a buffer, as it is or transposed.
#[derive(Clone, Copy)]
struct Square {
    buf: Buf,
    at: usize,
    is_transposed: bool,
}

impl Square {
    fn of(buf: Buf, at: usize) -> Square {
        Square { buf, at, is_transposed: false }
    }

    fn transposed(self) -> Square {
        Square { is_transposed: !self.is_transposed, ..self }
    }

    /// Where it begins, and how far apart rows and columns are.
    fn strides(self, n: usize) -> [usize; 3] {
        if self.is_transposed { [self.at, 1, n] } else { [self.at, n, 1] }
    }
}

impl From<Buf> for Square {
    fn from(buf: Buf) -> Square {
        Square::of(buf, 0)
    }
}

/// out ← keep · out + alpha · a·b + beta · c
#[derive(Clone, Copy)]
struct Product {
    a: Square,
    b: Square,
    alpha: f32,
    c: Square,
    beta: f32,
    keep: f32,
}

impl Product {
    /// alpha · a·b + beta · c
    fn new(
        alpha: f32,
        a: impl Into<Square>,
        b: impl Into<Square>,
        beta: f32,
        c: impl Into<Square>,
    ) -> Product {
        Product { a: a.into(), b: b.into(), alpha, c: c.into(), beta, keep: 0.0 }
    }

    /// Written to matrices of `n` rows.
    fn plan(self, plan: &mut Plan, n: usize, out: impl Into<Square>) {
        let out = out.into();
        let ([a_at, a_row, a_col], [b_at, b_row, b_col]) = (self.a.strides(n), self.b.strides(n));
        let params = product::Params {
            n_embd: n,
            a_at,
            a_row,
            a_col,
            b_at,
            b_row,
            b_col,
            c_at: self.c.at,
            out_at: out.at,
            alpha: self.alpha,
            beta: self.beta,
            keep: self.keep,
        };
        let bufs = product::Bufs { a: self.a.buf, b: self.b.buf, c: self.c.buf, out: out.buf };
        plan.dispatch(&PRODUCT, params, bufs, [n.div_ceil(64), n, 1]);
    }

    /// In a new buffer.
    fn made(self, plan: &mut Plan, label: String, n: usize) -> Buf {
        let out = plan.scratch(label, &[n, n]);
        self.plan(plan, n, out);
        out
    }
}

/// What is wanted of the way up on the way down: A, F₂ … F_n, E₀ … E_s.
struct Trace {
    skew: Buf,
    powers: Vec<Buf>,
    squares: Vec<Buf>,
}

/// Appends E = expm(A) − 1.
fn exponential(plan: &mut Plan, it: &Rotation, theta: Buf) -> Trace {
    let n = it.n_embd;
    let skew = plan.scratch("skew", &[n, n]);
    plan.dispatch(&SKEW, Skew::new(it), skew::Bufs { theta, skew }, [n.div_ceil(64), n, 1]);
    // F_n is A/n: F_{n−1} takes it from A itself.
    let (last, before) = (N_POWERS as f32, (N_POWERS - 1) as f32);
    let first = Product::new((last * before).recip(), skew, skew, before.recip(), skew);
    let mut powers = vec![first.made(plan, format!("f{}", N_POWERS - 1), n)];
    for k in (1..N_POWERS - 1).rev() {
        let share = (k as f32).recip();
        let power = Product::new(share, skew, powers[powers.len() - 1], share, skew);
        powers.push(power.made(plan, format!("f{k}"), n));
    }
    let mut squares = vec![powers.pop().expect("at least one power")];
    for number in 1..=N_SQUARINGS {
        let e = squares[number - 1];
        squares.push(Product::new(1.0, e, e, 2.0, e).made(plan, format!("e{number}"), n));
    }
    Trace { skew, powers, squares }
}

/// Writes R [D, D], transposed as all rotations are, from X in `theta` and the fixed base.
pub(super) fn matrix_exp(plan: &mut Plan, it: &Rotation, [theta, base, rot]: [Buf; 3]) {
    let trace = exponential(plan, it, theta);
    let (e, base) = (Square::from(trace.squares[N_SQUARINGS]), Square::of(base, it.base_at));
    Product::new(1.0, e.transposed(), base, 1.0, base).plan(plan, it.n_embd, Square::of(rot, it.r_at));
}

/// Writes dX into `grad` from dR in `drot`.
pub(super) fn matrix_exp_backward(plan: &mut Plan, it: &Rotation, [theta, base, drot, grad]: [Buf; 4]) {
    let n = it.n_embd;
    let trace = exponential(plan, it, theta);
    let (base, drot) = (Square::of(base, it.base_at), Square::of(drot, it.r_at));
    let mut d = Product::new(1.0, base, drot.transposed(), 0.0, base).made(plan, "de".to_owned(), n);
    for e in trace.squares[..N_SQUARINGS].iter().rev() {
        let e = Square::from(*e).transposed();
        let half = Product::new(1.0, d, e, 2.0, d).made(plan, "de".to_owned(), n);
        d = Product::new(1.0, e, d, 1.0, half).made(plan, "de".to_owned(), n);
    }
    // dA is the sum over k of dF_k·(1 + F_{k+1})ᵀ/k, and of the last, F_n = A/n, dF_n/n.
    let skew = Square::from(trace.skew);
    let dskew = plan.scratch("dskew", &[n, n]);
    let last = (N_POWERS as f32).recip();
    let nexts = trace.powers.iter().rev().map(|power| (Square::from(*power), 1.0)).chain([(skew, last)]);
    for (k, (next, of_next)) in (1..N_POWERS).zip(nexts) {
        let share = (k as f32).recip();
        let part = Product::new(share * of_next, d, next.transposed(), share, d);
        Product { keep: if k == 1 { 0.0 } else { 1.0 }, ..part }.plan(plan, n, dskew);
        let down = Product::new(share, skew.transposed(), d, 0.0, d);
        if k + 1 < N_POWERS {
            d = down.made(plan, "df".to_owned(), n);
        } else {
            Product { alpha: share * last, keep: 1.0, ..down }.plan(plan, n, dskew);
        }
    }
    plan.dispatch(&SKEW_BACKWARD, Skew::new(it), skew_backward::Bufs { dskew, grad }, [n.div_ceil(64), n, 1]);
}

fn twin_product(p: &product::Params, a: product::Args<'_>) {
    let product::Params {
        n_embd: n,
        a_at,
        a_row,
        a_col,
        b_at,
        b_row,
        b_col,
        c_at,
        out_at,
        alpha,
        beta,
        keep,
    } = *p;
    let product::Args { a, b, c, out } = a;
    let row_of = |i: usize| (0..n).map(|k| a[a_at + i * a_row + k * a_col]).collect::<Vec<_>>();
    let rows: Vec<Vec<f32>> = (0..n).map(row_of).collect();
    for j in 0..n {
        let column: Vec<f32> = (0..n).map(|k| b[b_at + k * b_row + j * b_col]).collect();
        for (i, row) in rows.iter().enumerate() {
            let cell = i * n + j;
            let kept = if keep == 0.0 { 0.0 } else { keep * out[out_at + cell] };
            out[out_at + cell] = kept + alpha * dot(row, &column) + beta * c[c_at + cell];
        }
    }
}

fn twin_skew(p: &Skew, a: skew::Args<'_>) {
    let Skew { n_embd: n, x_at, scale } = *p;
    let skew::Args { theta, skew } = a;
    for (i, j) in (0..n).flat_map(|i| (0..n).map(move |j| (i, j))) {
        skew[i * n + j] = match i.cmp(&j) {
            std::cmp::Ordering::Greater => scale * theta[x_at + j * n + i],
            std::cmp::Ordering::Less => -scale * theta[x_at + i * n + j],
            std::cmp::Ordering::Equal => 0.0,
        };
    }
}

fn twin_skew_backward(p: &Skew, a: skew_backward::Args<'_>) {
    let Skew { n_embd: n, x_at, scale } = *p;
    let skew_backward::Args { dskew, grad } = a;
    for (j, i) in (0..n).flat_map(|j| (0..n).map(move |i| (j, i))) {
        let below = i > j;
        grad[x_at + j * n + i] = if below { scale * (dskew[i * n + j] - dskew[j * n + i]) } else { 0.0 };
    }
}
