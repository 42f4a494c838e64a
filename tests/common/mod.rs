//! What the tests of kernels share: random contents, and plans made alike on every backend.

#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub(crate) mod case;

use pollster::block_on;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use webreft::backend::{Backend, Prepared};
use webreft::plan::{Buf, Matrix, Plan, Role, Slab};
use webreft::quant::Format;

/// Numbers that are the same on every machine.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Evenly in [−1, 1).
    pub(crate) fn real(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0
    }

    pub(crate) fn reals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.real()).collect()
    }

    /// So many values of a format, within about ±1.
    pub(crate) fn blocks(&mut self, format: &Format, n: usize) -> Vec<u8> {
        if format.quantizes() {
            return format.quantize(&self.reals(n));
        }
        let mut bytes = vec![0; n / format.block_values * format.block_bytes];
        self.0.fill_bytes(&mut bytes);
        format.tame(&mut bytes, 1.0);
        bytes
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.next_u32() as usize % n
    }

    /// The numbers below n, in some order.
    pub(crate) fn shuffled(&mut self, n: usize) -> Vec<u32> {
        let mut all: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            all.swap(i, self.below(i + 1));
        }
        all
    }
}

/// A plan in the making. The same calls give the same contents on every backend.
pub(crate) struct Make<'a> {
    pub(crate) backend: &'a Backend,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
}

impl<'a> Make<'a> {
    pub(crate) fn new(backend: &'a Backend) -> Make<'a> {
        Make { backend, plan: Plan::new("test"), random: Random::new(17) }
    }

    pub(crate) fn words(&mut self, label: &str, shape: &[usize], words: &[u32]) -> Buf {
        let tensor = self.backend.tensor_of(label, shape, words).expect("a small tensor");
        self.plan.tensor(&tensor)
    }

    pub(crate) fn values(&mut self, label: &str, shape: &[usize], values: &[f32]) -> Buf {
        self.words(label, shape, bytemuck::cast_slice(values))
    }

    /// Evenly in [−1, 1).
    pub(crate) fn reals(&mut self, label: &str, shape: &[usize]) -> Buf {
        let values = self.random.reals(shape.iter().product());
        self.values(label, shape, &values)
    }

    /// A weight matrix with a slab for each of `rows`.
    pub(crate) fn matrix(&mut self, format: &'static Format, rows: &[usize], cols: usize) -> Matrix {
        let mut first_row = 0;
        let mut slabs = Vec::new();
        for &rows in rows {
            let packed = format.repack(&self.random.blocks(format, rows * cols));
            let tensor = |label, words: &[u32]| {
                self.backend.tensor_of(label, &[words.len()], words).expect("a small tensor")
            };
            let qs = tensor("w.qs", &packed.qs);
            let scales = (format.scale_bytes > 0).then(|| tensor("w.scales", &packed.scales));
            slabs.push(Slab { label: "w".to_owned(), format, first_row, rows, cols, qs, scales });
            first_row += rows;
        }
        Matrix { rows: first_row, cols, slabs }
    }

    /// Every buffer that a step writes.
    pub(crate) fn written(&self) -> Vec<Buf> {
        let mut written = Vec::new();
        for step in self.plan.steps() {
            for (buf, arg) in step.args.iter().zip(step.kernel.args) {
                if arg.role != Role::In && !written.contains(buf) {
                    written.push(*buf);
                }
            }
        }
        written
    }

    /// Runs the plan and keeps all that its steps write.
    pub(crate) fn run(mut self) -> Prepared {
        for buf in self.written() {
            self.plan.keep(buf);
        }
        let prepared = self.backend.prepare(self.plan).expect("a small plan");
        prepared.run().expect("a plan that runs");
        prepared
    }
}

pub(crate) fn read_words(prepared: &Prepared, buf: Buf) -> Vec<u32> {
    block_on(prepared.tensor(buf).read().words()).expect("a readback")
}

pub(crate) fn read(prepared: &Prepared, buf: Buf) -> Vec<f32> {
    bytemuck::cast_vec(read_words(prepared, buf))
}

/// Three sequences packed into one row of tokens, each query seeing its own sequence up to itself: for each query the
/// run of keys that it sees, and for each key the run of queries that see it.
pub(crate) fn packed_spans(n_tokens: usize) -> [Vec<u32>; 2] {
    let starts = [0, n_tokens / 3, n_tokens / 2, n_tokens];
    let sequence = |t: usize| (0..3).rev().find(|s| starts[*s] <= t).expect("the first starts at 0");
    let span = (0..n_tokens).flat_map(|t| [starts[sequence(t)] as u32, t as u32 + 1]);
    let reach = (0..n_tokens).flat_map(|t| [t as u32, starts[sequence(t) + 1] as u32]);
    [span.collect(), reach.collect()]
}
