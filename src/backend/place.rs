//! A tensor for each of a plan's buffers; scratch buffers share by slots.

use super::Backend;
use crate::error::Result;
use crate::plan::{Plan, Slots, Source, assign_slots};
use crate::tensor::Tensor;
use std::cmp::Reverse;

/// Memory for the scratch buffers of plans that never run at the same time. It holds what the largest of them need, so that a new plan
/// takes no memory of its own.
#[derive(Default)]
pub struct Scratch {
    /// The largest first.
    tensors: Vec<Tensor>,
}

impl Scratch {
    /// Whether a plan finds room without more memory.
    pub fn holds(&self, plan: &Plan) -> bool {
        let Slots { sizes, .. } = assign_slots(plan);
        largest_first(&sizes).iter().enumerate().all(|(rank, slot)| self.has(rank, sizes[*slot]))
    }

    fn has(&self, rank: usize, len: usize) -> bool {
        self.tensors.get(rank).is_some_and(|tensor| tensor.len() >= len)
    }

    /// A tensor for each slot. The n-th largest slot gets the n-th largest tensor, which is made anew where it is too small.
    fn place(&mut self, backend: &Backend, sizes: &[usize]) -> Result<Vec<Tensor>> {
        let order = largest_first(sizes);
        let small: Vec<usize> =
            (0..order.len()).filter(|rank| !self.has(*rank, sizes[order[*rank]])).collect();
        let nowhere = backend.tensor("unused", &[0])?;
        for rank in &small {
            match self.tensors.get_mut(*rank) {
                Some(tensor) => *tensor = nowhere.clone(), // frees it before a larger one is made
                None => self.tensors.push(nowhere.clone()),
            }
        }
        for rank in small {
            self.tensors[rank] = backend.tensor(format!("scratch {rank}"), &[sizes[order[rank]]])?;
        }
        let mut placed = vec![nowhere; sizes.len()];
        for (slot, tensor) in order.into_iter().zip(&self.tensors) {
            placed[slot] = tensor.clone();
        }
        Ok(placed)
    }
}

fn largest_first(sizes: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|slot| Reverse(sizes[*slot]));
    order
}

/// The memory of each buffer, in the plan's order.
pub(super) fn place_buffers(backend: &Backend, plan: &Plan, scratch: &mut Scratch) -> Result<Vec<Tensor>> {
    let slots = assign_slots(plan);
    let memory = scratch.place(backend, &slots.sizes)?;
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

#[cfg(test)]
mod tests {
    use super::Scratch;
    use crate::backend::Backend;

    #[test]
    fn slots_take_the_tensors_of_a_plan_before_where_they_fit() {
        let backend = Backend::cpu();
        let mut scratch = Scratch::default();
        let sizes = |scratch: &Scratch| scratch.tensors.iter().map(|tensor| tensor.len()).collect::<Vec<_>>();
        let placed = |scratch: &mut Scratch, slots: &[usize]| {
            let tensors = scratch.place(&backend, slots).expect("small tensors");
            tensors.iter().map(|tensor| tensor.len()).collect::<Vec<_>>()
        };
        assert_eq!(placed(&mut scratch, &[10, 30, 20]), [10, 30, 20]);
        assert_eq!(placed(&mut scratch, &[5, 25]), [20, 30], "nothing is new");
        assert_eq!(
            placed(&mut scratch, &[40, 7, 8, 9]),
            [40, 7, 10, 20],
            "the largest grows, a fourth is new"
        );
        assert_eq!(sizes(&scratch), [40, 20, 10, 7]);
        assert_eq!(backend.memory(), 4 * (40 + 20 + 10 + 7), "no tensor that was too small is left");
    }
}
