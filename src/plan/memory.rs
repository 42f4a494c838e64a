//! Which scratch buffers may share memory: two whose lives do not overlap.
//!
//! WebGPU forbids one buffer being read and written by the same dispatch through two bindings, so sharing goes by whole
//! buffers ("slots") and never by parts of one.

use super::{Plan, Role, Source};

/// Where scratch buffers live.
pub struct Slots {
    /// For each buffer of the plan, the slot it lives in, if it is scratch.
    pub slot_of: Vec<Option<usize>>,
    /// For each slot, its size in words.
    pub sizes: Vec<usize>,
}

/// Gives each scratch buffer a slot, first fit by size, reusing slots whose buffers are past their last use.
///
/// # Panics
/// If a step reads a scratch buffer that no step before it wrote, though it has elements.
pub fn assign_slots(plan: &Plan) -> Slots {
    let last_use = last_uses(plan);
    let mut slots = Slots { slot_of: vec![None; plan.buffers().len()], sizes: Vec::new() };
    let mut free: Vec<usize> = Vec::new();
    for (number, step) in plan.steps().iter().enumerate() {
        for (buf, arg) in step.args.iter().zip(step.kernel.args) {
            let buffer = &plan.buffers()[buf.index()];
            if matches!(buffer.source, Source::Scratch) && slots.slot_of[buf.index()].is_none() {
                assert!(
                    arg.role != Role::In || buffer.is_empty(),
                    "{}: {} ({}) was never written",
                    step.kernel.name,
                    arg.name,
                    buffer.label
                );
                slots.slot_of[buf.index()] = Some(take_slot(&mut free, &mut slots.sizes, buffer.len()));
            }
        }
        for buf in &step.args {
            if last_use[buf.index()] == Some(number)
                && let Some(slot) = slots.slot_of[buf.index()]
                && !free.contains(&slot)
            {
                free.push(slot);
            }
        }
    }
    slots
}

fn last_uses(plan: &Plan) -> Vec<Option<usize>> {
    let mut last = vec![None; plan.buffers().len()];
    for (number, step) in plan.steps().iter().enumerate() {
        for buf in &step.args {
            last[buf.index()] = Some(number);
        }
    }
    last
}

/// The smallest free slot that is large enough, else the largest free one made larger, else a new one.
fn take_slot(free: &mut Vec<usize>, sizes: &mut Vec<usize>, len: usize) -> usize {
    let fitting =
        free.iter().enumerate().filter(|(_, slot)| sizes[**slot] >= len).min_by_key(|(_, s)| sizes[**s]);
    let largest = || free.iter().enumerate().max_by_key(|(_, slot)| sizes[**slot]);
    match fitting.or_else(largest).map(|(at, _)| at) {
        Some(at) => {
            let slot = free.swap_remove(at);
            sizes[slot] = sizes[slot].max(len);
            slot
        }
        None => {
            sizes.push(len);
            sizes.len() - 1
        }
    }
}
