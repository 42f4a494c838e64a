//! The CPU's side: a step is a call of its kernel's fast form, or of its twin where there is none.

use super::Tensor;
use crate::kernel::{Call, Operation, Pool, Words};
use crate::plan::{Plan, Role, Slab, Step};
use crate::quant::Weight;
use std::cell::{Ref, RefMut};

/// Runs all steps, in order.
pub(super) fn run(plan: &Plan, operations: &[&Operation], tensors: &[Tensor]) {
    for (step, operation) in plan.steps().iter().zip(operations) {
        run_step(plan, step, operation, tensors);
    }
}

fn run_step(plan: &Plan, step: &Step, operation: &Operation, tensors: &[Tensor]) {
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
    match operation.fast {
        Some(fast) => fast(call, &Pool),
        None => (operation.twin)(call),
    }
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
            Role::In => Borrowed::Read(Ref::map(tensor.words(), |words| &words[..len])),
            Role::InOut | Role::Out => {
                Borrowed::Write(RefMut::map(tensor.words_mut(), |words| &mut words[..len]))
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
        BorrowedSlab { slab, qs: slab.qs.words(), scales: slab.scales.as_ref().map(Tensor::words) }
    }

    fn weight(&self) -> Weight<'_> {
        let Slab { format, rows, cols, .. } = *self.slab;
        Weight { format, qs: &self.qs, scales: self.scales.as_deref().unwrap_or(&[]), rows, cols }
    }
}
