//! The CPU's side: a step is a call of its kernel's fast form, or of its twin where there is none.

use super::account::{Account, Taken};
use super::control::{Control, cancelled};
use super::event_loop::EventLoop;
use crate::error::Result;
use crate::kernel::{Call, Operation, Pool, Words};
use crate::plan::{Plan, Role, Slab, Step};
use crate::quant::Weight;
use crate::tensor::{Memory, Readback, Tensor};
use std::cell::{Ref, RefCell, RefMut};
use std::ops::Range;

/// Bytes that the CPU's memory holds at most: in a browser the wasm heap's 4 GiB.
pub(super) const MAX_BYTES: u64 = if cfg!(target_arch = "wasm32") { 4 << 30 } else { u64::MAX };

/// The CPU, and the threads that compute on it. Clones share them.
#[derive(Clone)]
pub struct Cpu {
    /// None runs the twins, on one thread.
    pool: Option<Pool>,
    account: Account,
}

impl Cpu {
    pub(super) fn new(pool: Option<Pool>) -> Cpu {
        Cpu { pool, account: Account::default() }
    }

    /// The instruction set and the number of threads, as in `cpu, avx2, 2 threads`.
    pub(super) fn name(&self) -> String {
        let Some(pool) = &self.pool else { return "twins".to_owned() };
        let threads = pool.threads();
        format!("cpu, {}, {threads} thread{}", pool.instructions(), if threads == 1 { "" } else { "s" })
    }

    pub(super) fn tensor(&self, label: String, shape: &[usize]) -> Tensor {
        let len: usize = shape.iter().product();
        let _taken = self.account.take(4 * len as u64);
        Tensor::new(label, shape, CpuMemory { words: RefCell::new(vec![0; len]), _taken })
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Runs all steps, in order.
    pub(super) fn run(&self, plan: &Plan, operations: &[&Operation], tensors: &[Tensor]) {
        for (step, operation) in plan.steps().iter().zip(operations) {
            self.run_step(plan, step, operation, tensors);
        }
    }

    /// Runs all steps, in order, and asks `control` before each.
    pub(super) async fn run_with(
        &self,
        plan: &Plan,
        operations: &[&Operation],
        tensors: &[Tensor],
        control: &dyn Control,
    ) -> Result<()> {
        let (total, mut done) = (plan.work(), 0);
        let mut events = EventLoop::new();
        for (number, (step, operation)) in plan.steps().iter().zip(operations).enumerate() {
            events.turn().await;
            control.progress(done as f64 / total.max(1) as f64);
            if plan.may_end_before(number) && control.cancelled() {
                return Err(cancelled());
            }
            self.run_step(plan, step, operation, tensors);
            done += step.work(plan);
        }
        control.progress(1.0);
        Ok(())
    }

    fn run_step(&self, plan: &Plan, step: &Step, operation: &Operation, tensors: &[Tensor]) {
        let mut args: Vec<Borrowed<'_>> = (step.args.iter().zip(step.kernel.args))
            .map(|(buf, arg)| {
                let len = plan.buffers()[buf.index()].len();
                Borrowed::new(&tensors[buf.index()], arg.role, len)
            })
            .collect();
        let weight = step.weight.as_ref().map(BorrowedSlab::new);
        let call = Call {
            params: &step.params,
            args: args.iter_mut().map(Borrowed::words).collect(),
            weight: weight.as_ref().map(BorrowedSlab::weight),
        };
        match (operation.fast, &self.pool) {
            (Some(fast), Some(pool)) => fast(call, pool),
            _ => (operation.twin)(call),
        }
    }
}

struct CpuMemory {
    words: RefCell<Vec<u32>>,
    _taken: Taken,
}

impl Memory for CpuMemory {
    fn write(&self, at: usize, words: &[u32]) {
        self.words.borrow_mut()[at..at + words.len()].copy_from_slice(words);
    }

    fn read(&self, words: Range<usize>) -> Readback {
        Readback::ready(self.words.borrow()[words].to_vec())
    }

    fn probe(&self) -> Readback {
        Readback::ready(Vec::new())
    }
}

fn words(tensor: &Tensor) -> Ref<'_, [u32]> {
    Ref::map(tensor.memory::<CpuMemory>().words.borrow(), Vec::as_slice)
}

fn words_mut(tensor: &Tensor) -> RefMut<'_, [u32]> {
    RefMut::map(tensor.memory::<CpuMemory>().words.borrow_mut(), Vec::as_mut_slice)
}

/// The memory of an argument during a step.
enum Borrowed<'a> {
    Read(Ref<'a, [u32]>),
    Write(RefMut<'a, [u32]>),
}

impl Borrowed<'_> {
    /// The first `len` words: steps share memory that may be larger than the buffer.
    fn new(tensor: &Tensor, role: Role, len: usize) -> Borrowed<'_> {
        match role {
            Role::In => Borrowed::Read(Ref::map(words(tensor), |words| &words[..len])),
            Role::InOut | Role::Out => {
                Borrowed::Write(RefMut::map(words_mut(tensor), |words| &mut words[..len]))
            }
        }
    }

    fn words(&mut self) -> Words<'_> {
        match self {
            Borrowed::Read(words) => Words::Read(words),
            Borrowed::Write(words) => Words::Write(words),
        }
    }
}

/// The memory of a weight matrix during a step.
struct BorrowedSlab<'a> {
    slab: &'a Slab,
    qs: Ref<'a, [u32]>,
    scales: Option<Ref<'a, [u32]>>,
}

impl BorrowedSlab<'_> {
    fn new(slab: &Slab) -> BorrowedSlab<'_> {
        BorrowedSlab { slab, qs: words(&slab.qs), scales: slab.scales.as_ref().map(words) }
    }

    fn weight(&self) -> Weight<'_> {
        let Slab { format, rows, cols, .. } = *self.slab;
        Weight { format, qs: &self.qs, scales: self.scales.as_deref().unwrap_or(&[]), rows, cols }
    }
}
