//! A tensor for each of a plan's buffers; scratch buffers share by slots.

use super::Backend;
use crate::error::Result;
use crate::plan::{Plan, Source, assign_slots};
use crate::tensor::Tensor;

/// The memory of each buffer, in the plan's order.
pub(super) fn place_buffers(backend: &Backend, plan: &Plan) -> Result<Vec<Tensor>> {
    let slots = assign_slots(plan);
    let memory = slots.sizes.iter().enumerate();
    let memory: Vec<Tensor> = memory
        .map(|(slot, len)| backend.tensor(format!("scratch {slot}"), &[*len]))
        .collect::<Result<_>>()?;
    let nowhere = backend.tensor("unused", &[0])?;
    let place =
        plan.buffers().iter().zip(&slots.slot_of).map(|(buffer, slot)| match (&buffer.source, slot) {
            (Source::Tensor(tensor), _) => Ok(tensor.clone()),
            (Source::Kept, _) => backend.tensor(&buffer.label, &buffer.shape),
            (Source::Scratch, Some(slot)) => Ok(memory[*slot].clone()),
            (Source::Scratch, None) => Ok(nowhere.clone()),
        });
    place.collect()
}
