//! The CPU's side: a step is a call of its kernel's fast form, or of its twin where there is none.

use super::account::{Account, Taken};
use super::control::{Control, cancelled};
use super::event_loop::EventLoop;
use super::fail::FailAt;
use crate::error::Result;
use crate::kernel::{Call, Operation, Pool, Words};
use crate::plan::{Plan, Role, Slab, Step};
use crate::quant::Weight;
use crate::tensor::{Memory, Readback, Tensor};
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::ready;
use std::ops::Range;
use std::rc::Rc;

/// Bytes that the CPU's memory holds at most: in a browser the wasm heap's 4 GiB.
pub(super) const MAX_BYTES: u64 = if cfg!(target_arch = "wasm32") { 4 << 30 } else { u64::MAX };

/// Operations after which a run may be ended, and a browser's worker hears messages: about 50 ms.
const PIECE: u64 = if cfg!(target_arch = "wasm32") { 500_000_000 } else { 5_000_000_000 };

/// Rows of a product that are not taken apart: weights are decoded once for so many.
const PRODUCT_ROWS: usize = 256;

/// The CPU, and the threads that compute on it. Clones share them.
#[derive(Clone)]
pub struct Cpu {
    /// None runs the twins, on one thread.
    pool: Option<Pool>,
    account: Account,
    events: Rc<EventLoop>,
    /// Operations of a piece.
    piece: Rc<Cell<u64>>,
    fail_at: FailAt,
}

impl Cpu {
    pub(super) fn new(pool: Option<Pool>) -> Cpu {
        let (events, piece) = (Rc::new(EventLoop::new()), Rc::new(Cell::new(PIECE)));
        Cpu { pool, account: Account::default(), events, piece, fail_at: FailAt::default() }
    }

    /// Lets the k-th allocation, step or readback from now on fail, 0 none: for tests of what a device's faults do to those above it.
    /// Returns how many were left before; 0 where it has failed, or none was to.
    pub fn fail_at(&self, k: u64) -> u64 {
        self.fail_at.set(k)
    }

    /// Sets how many operations are done before a run may be ended: for tests of short pieces.
    pub fn cut(&self, operations: u64) {
        self.piece.set(operations);
    }

    /// The instruction set and the number of threads, as in `cpu, avx2, 2 threads`.
    pub(super) fn name(&self) -> String {
        let Some(pool) = &self.pool else { return "twins".to_owned() };
        let threads = pool.threads();
        format!("cpu, {}, {threads} thread{}", pool.instructions(), if threads == 1 { "" } else { "s" })
    }

    pub(super) fn tensor(&self, label: String, shape: &[usize]) -> Result<Tensor> {
        self.fail_at.count(&label)?;
        let len: usize = shape.iter().product();
        let _taken = self.account.take(4 * len as u64);
        let (words, fail_at) = (RefCell::new(vec![0; len]), self.fail_at.clone());
        Ok(Tensor::new(label, shape, CpuMemory { words, fail_at, _taken }))
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Runs all steps, in order.
    pub(super) fn run(&self, plan: &Plan, operations: &[&Operation], tensors: &[Tensor]) -> Result<()> {
        self.fail_at.count("run")?;
        for (step, operation) in plan.steps().iter().zip(operations) {
            self.run_step(plan, step, operation, tensors, None);
        }
        Ok(())
    }

    /// Runs all steps, in order, and asks `control` before each, and within those that are long.
    pub(super) async fn run_with(
        &self,
        plan: &Plan,
        operations: &[&Operation],
        tensors: &[Tensor],
        control: &dyn Control,
    ) -> Result<()> {
        let (total, mut done) = (plan.work(), 0);
        for (number, (step, operation)) in plan.steps().iter().zip(operations).enumerate() {
            let pieces = self.pieces(plan, step, operation);
            let work = step.work(plan);
            for (before, rows) in pieces.iter().enumerate() {
                self.events.turn().await;
                let done = done + work * before as u64 / pieces.len() as u64;
                control.progress(done as f64 / total.max(1) as f64);
                if plan.may_end_before(number + before.min(1)) {
                    if control.cancelled() {
                        return Err(cancelled());
                    }
                    self.fail_at.count("run")?;
                }
                self.run_step(plan, step, operation, tensors, rows.clone());
            }
            done += work;
        }
        control.progress(1.0);
        Ok(())
    }

    /// Rows that are computed at a time; none for all of them.
    fn pieces(&self, plan: &Plan, step: &Step, operation: &Operation) -> Vec<Option<Range<usize>>> {
        let first = operation.by_row.first().filter(|_| self.pool.is_some());
        let Some(rows) = first.map(|name| plan.buffers()[step.arg(name).index()].shape[0]) else {
            return vec![None];
        };
        let fewest = if step.weight.is_some() { PRODUCT_ROWS } else { 1 };
        let n_pieces = (step.work(plan) / self.piece.get()).min((rows / fewest) as u64);
        if n_pieces < 2 {
            return vec![None];
        }
        let at_once = rows.div_ceil(n_pieces as usize);
        (0..rows).step_by(at_once).map(|start| Some(start..rows.min(start + at_once))).collect()
    }

    /// Runs a step, or some rows of it.
    fn run_step(
        &self,
        plan: &Plan,
        step: &Step,
        operation: &Operation,
        tensors: &[Tensor],
        rows: Option<Range<usize>>,
    ) {
        let mut args: Vec<Borrowed<'_>> = (step.args.iter().zip(step.kernel.args))
            .map(|(buf, arg)| {
                let buffer = &plan.buffers()[buf.index()];
                let rows = rows.as_ref().filter(|_| operation.by_row.contains(&arg.name));
                let words = rows.map_or(0..buffer.len(), |rows| {
                    let width = buffer.len() / buffer.shape[0];
                    rows.start * width..rows.end * width
                });
                Borrowed::new(&tensors[buf.index()], arg.role, words)
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
    fail_at: FailAt,
    _taken: Taken,
}

impl Memory for CpuMemory {
    fn write(&self, at: usize, words: &[u32]) {
        self.words.borrow_mut()[at..at + words.len()].copy_from_slice(words);
    }

    fn read(&self, words: Range<usize>) -> Readback {
        match self.fail_at.count("readback") {
            Ok(()) => Readback::ready(self.words.borrow()[words].to_vec()),
            Err(error) => Readback::new(ready(Err(error))),
        }
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
    /// These words: steps share memory that may be larger than the buffer.
    fn new(tensor: &Tensor, role: Role, range: Range<usize>) -> Borrowed<'_> {
        match role {
            Role::In => Borrowed::Read(Ref::map(words(tensor), |words| &words[range])),
            Role::InOut | Role::Out => {
                Borrowed::Write(RefMut::map(words_mut(tensor), |words| &mut words[range]))
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
