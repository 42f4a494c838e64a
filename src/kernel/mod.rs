//! Operations, one file each: how it joins a plan, and its twin in plain Rust. A gradient stands under its forward.
//!
//! Shapes and equations are told once, at the top of `shaders/<name>.wgsl`.

mod activate;
mod add;
mod attention;
mod bench_fma;
mod boundary;
mod broadcast_row;
mod cap;
mod copy;
mod cross_entropy;
mod declare;
mod dense;
mod detect;
mod dropout;
mod embed;
mod gather_rows;
mod glu;
mod glu_gate;
mod learned_rows;
mod losses;
mod lowrank_edit;
mod magnitude;
mod matmul;
mod matrix_exp;
mod mean_rows;
mod mix_rows;
mod optimizer;
mod qk_norm;
mod rms_norm;
mod rope_qkv;
mod rotation;
mod sample;
mod scale_rows;

use crate::plan::Kernel;
use webreft_simd::linear;

pub use activate::{Activation, activate, activate_backward};
pub use add::{add, add_onto};
pub use attention::{Heads, attention, attention_backward};
pub use bench_fma::{FMAS_A_ROUND, bench_fma};
pub use boundary::{boundary, boundary_backward};
pub use broadcast_row::broadcast_row;
pub use cap::cap;
pub use copy::{copy, copy_from};
pub use cross_entropy::cross_entropy;
pub use declare::{Call, Operation, Words};
pub use dense::{Dense, Rows, dense, dense_backward, dense_backward_into, dense_into};
pub use detect::{Detected, Detection, detect, detect_backward, unit_row};
pub use dropout::{Dropout, DropoutSettings, Drops, dropout};
pub use embed::embed;
pub use gather_rows::{NONE, gather_rows, put_rows};
pub use glu::{glu, glu_backward};
pub use glu_gate::{glu_gate, glu_gate_backward, mul_up};
pub use learned_rows::{LearnedRows, learned_rows, learned_rows_backward};
pub use losses::{binary_cross_entropy, preference, reward_loss, squared_error, token_loss};
pub use lowrank_edit::{
    Edit, EditGradient, EditInputs, EditTrace, Learned, lowrank_edit, lowrank_edit_backward,
    lowrank_edit_input,
};
pub use magnitude::{Magnitude, magnitude, magnitude_backward, row_norms, spread};
pub use matmul::{matmul, matmul_backward};
pub use mean_rows::{mean_rows, mean_rows_backward};
pub use mix_rows::{Mix, mix_rows, mix_rows_backward};
pub use optimizer::{GradNorm, Hyper, Optimizer, OptimizerSettings, accumulate, grad_norm, optimizer};
pub use qk_norm::{QkNorm, qk_norm, qk_norm_backward};
pub use rms_norm::{add_rms_norm, rms_norm, rms_norm_backward};
pub use rope_qkv::{Rope, rope_qkv, rope_qkv_backward};
pub use rotation::{OrthogonalMap, Rotation, rotation, rotation_backward};
pub use sample::{Choice, SampleSettings, sample};
pub use scale_rows::{Scale, ScaleInputs, scale_rows, scale_rows_backward};
pub use webreft_simd::Pool;

/// Every operation there is; tests walk this list.
pub static KERNELS: &[&Operation] = &[
    &activate::ACTIVATE,
    &activate::ACTIVATE_BACKWARD,
    &add::ADD,
    &add::ADD_ONTO,
    &attention::ATTENTION,
    &attention::ATTENTION_BACKWARD_KV,
    &attention::ATTENTION_BACKWARD_Q,
    &bench_fma::BENCH_FMA,
    &boundary::BOUNDARY,
    &boundary::BOUNDARY_BACKWARD,
    &broadcast_row::BROADCAST_ROW,
    &cap::CAP,
    &copy::COPY,
    &copy::COPY_FROM,
    &cross_entropy::CROSS_ENTROPY,
    &dense::DENSE,
    &dense::DENSE_BACKWARD,
    &dense::DENSE_PARAMS,
    &detect::DETECT,
    &detect::DETECT_BACKWARD,
    &detect::TOP_MEAN,
    &detect::TOP_MEAN_BACKWARD,
    &detect::UNIT_ROW,
    &dropout::DROPOUT,
    &embed::EMBED,
    &gather_rows::GATHER_ROWS,
    &gather_rows::PUT_ROWS,
    &glu::GLU,
    &glu::GLU_BACKWARD,
    &glu_gate::GLU_GATE,
    &glu_gate::GLU_GATE_BACKWARD,
    &glu_gate::MUL_UP,
    &learned_rows::LEARNED_ROWS,
    &learned_rows::LEARNED_ROWS_BACKWARD,
    &losses::BINARY_CROSS_ENTROPY,
    &losses::PREFERENCE,
    &losses::REWARD_LOSS,
    &losses::SQUARED_ERROR,
    &losses::TOKEN_LOSS,
    &lowrank_edit::LOWRANK_EDIT,
    &lowrank_edit::LOWRANK_EDIT_BACKWARD,
    &lowrank_edit::LOWRANK_EDIT_INPUT,
    &lowrank_edit::LOWRANK_EDIT_PARAMS,
    &magnitude::MAGNITUDE,
    &magnitude::MAGNITUDE_BACKWARD,
    &magnitude::ROW_NORMS,
    &matmul::MATMUL,
    &matmul::MATMUL_BACKWARD,
    &matmul::MATVEC,
    &matrix_exp::PRODUCT,
    &matrix_exp::SKEW,
    &matrix_exp::SKEW_BACKWARD,
    &mean_rows::MEAN_ROWS,
    &mean_rows::MEAN_ROWS_BACKWARD,
    &mix_rows::MIX_ROWS,
    &mix_rows::MIX_ROWS_BACKWARD,
    &optimizer::ACCUMULATE,
    &optimizer::GRAD_NORM,
    &optimizer::OPTIMIZER,
    &qk_norm::QK_NORM,
    &qk_norm::QK_NORM_BACKWARD,
    &rms_norm::ADD_RMS_NORM,
    &rms_norm::RMS_NORM,
    &rms_norm::RMS_NORM_BACKWARD,
    &rope_qkv::ROPE_QKV,
    &rope_qkv::ROPE_QKV_BACKWARD,
    &rotation::ROTATION,
    &rotation::ROTATION_BACKWARD,
    &sample::SAMPLE,
    &scale_rows::SCALE_ROWS,
    &scale_rows::SCALE_ROWS_BACKWARD,
];

/// The operation of a kernel of a plan.
///
/// # Panics
/// If it is not in [`KERNELS`].
pub fn operation(kernel: &Kernel) -> &'static Operation {
    let found = KERNELS.iter().find(|operation| operation.kernel.name == kernel.name);
    found.unwrap_or_else(|| panic!("{} is not among the kernels", kernel.name))
}

/// Sums and maxima over a workgroup.
const REDUCE: &str = wgsl!("lib/reduce.wgsl");

/// Scores under a cap.
const CAP: &str = wgsl!("lib/cap.wgsl");

/// Softmax over a row of logits.
const SOFTMAX: &str = wgsl!("lib/softmax.wgsl");

/// A number out of a counter.
const PCG: &str = wgsl!("lib/pcg.wgsl");

/// PCG-RXS-M-XS (O'Neill 2014): a number in which every bit hangs on every bit of the given one.
fn pcg(number: u32) -> u32 {
    let state = number.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

/// cap · tanh(s / cap); s if there is no cap, 0.
fn capped(s: f32, cap: f32) -> f32 {
    if cap == 0.0 { s } else { cap * (s / cap).tanh() }
}

/// The derivative of [`capped`] where it gave `s`.
fn cap_slope(s: f32, cap: f32) -> f32 {
    if cap == 0.0 { 1.0 } else { 1.0 - s / cap * (s / cap) }
}

/// The greatest of a row of logits and Σ eˡ over it, as multiples of e to the greatest.
fn highest_and_mass(logits: &[f32]) -> [f32; 2] {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    [highest, sum(logits.iter().map(|l| (l - highest).exp()))]
}

/// The sum of f32 values, in f64: thousands of f32 additions lose digits that a test can see.
fn sum(values: impl Iterator<Item = f32>) -> f32 {
    values.map(f64::from).sum::<f64>() as f32
}

/// Σ a·b, rounded once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    wide_dot(a, b) as f32
}

/// Σ a·b in f64, in eight running sums that the compiler can vectorize. Each product is exact.
fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| product(*a, *b)).sum();
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += product(a[i], b[i]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// A row of running sums, kept in f64 and rounded once.
struct Sums(Vec<f64>);

impl Sums {
    fn zeros(width: usize) -> Sums {
        Sums(vec![0.0; width])
    }

    /// Sums that begin with these values.
    fn of(values: &[f32]) -> Sums {
        Sums(values.iter().copied().map(f64::from).collect())
    }

    /// += s · x
    fn add_scaled(&mut self, s: f32, x: &[f32]) {
        let s = f64::from(s);
        for (sum, x) in self.0.iter_mut().zip(x) {
            *sum += s * f64::from(*x);
        }
    }

    /// Rounds the sums into `y`.
    fn store(&self, y: &mut [f32]) {
        for (y, sum) in y.iter_mut().zip(&self.0) {
            *y = *sum as f32;
        }
    }
}

/// How a kernel on the CPU multiplies and sums rows: its twin exactly, its fast form in the machine's vectors.
trait Arithmetic {
    /// A row of running sums.
    type Sums;

    /// Σ a·b
    fn dot(&self, a: &[f32], b: &[f32]) -> f32;

    /// Sums that begin with these values.
    fn sums_of(&self, values: &[f32]) -> Self::Sums;

    /// sums += s · x
    fn add_scaled(&self, sums: &mut Self::Sums, s: f32, x: &[f32]);

    /// Puts the sums into `y`.
    fn store(&self, sums: &Self::Sums, y: &mut [f32]);
}

/// In f64, rounded once.
struct Exact;

impl Arithmetic for Exact {
    type Sums = Sums;

    fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        dot(a, b)
    }

    fn sums_of(&self, values: &[f32]) -> Sums {
        Sums::of(values)
    }

    fn add_scaled(&self, sums: &mut Sums, s: f32, x: &[f32]) {
        sums.add_scaled(s, x);
    }

    fn store(&self, sums: &Sums, y: &mut [f32]) {
        sums.store(y);
    }
}

/// In f32.
impl Arithmetic for Pool {
    type Sums = Vec<f32>;

    fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        linear::dot(self, a, b)
    }

    fn sums_of(&self, values: &[f32]) -> Vec<f32> {
        values.to_vec()
    }

    fn add_scaled(&self, sums: &mut Vec<f32>, s: f32, x: &[f32]) {
        linear::add_scaled(self, sums, s, x);
    }

    fn store(&self, sums: &Vec<f32>, y: &mut [f32]) {
        y.copy_from_slice(sums);
    }
}

/// y += s · x
fn add_scaled(y: &mut [f32], s: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += s * x;
    }
}
