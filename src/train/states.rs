//! What is frozen is not computed again: the hidden states of all examples at the lowest edited place, kept on the device.
//!
//! Below the lowest edit everything is the bare model's, in every epoch the same. The states are computed once, example by example,
//! and the layers below are left out of every step.

use super::batch::{Batch, Sequence};
use crate::backend::{Control, Part};
use crate::error::Result;
use crate::kernel;
use crate::model::{self, Component, Hooks, Inputs, Model, Pass, Place};
use crate::plan::{Buf, Plan};
use crate::reft::Reft;
use crate::tensor::Tensor;

/// Hidden states of all tokens of some sequences, one after the other.
pub(super) struct States {
    /// [all tokens, D]
    tensor: Tensor,
    /// Where they are those of.
    place: Place,
}

impl States {
    /// The states of all sequences, which are told where theirs begin; none if they find no room in one binding, or nothing would be saved.
    pub(super) async fn collect(
        model: &Model,
        reft: &Reft,
        sequences: &mut [Sequence],
        control: &dyn Control,
    ) -> Result<Option<States>> {
        let (n_embd, lowest) = (model.dims.n_embd, reft.lowest());
        let n_tokens: usize = sequences.iter().map(|sequence| sequence.tokens.len()).sum();
        let bytes = 4 * (n_tokens * n_embd) as u64;
        // At a layer's output, or before the layer.
        let place = match lowest.component {
            Component::BlockOutput => lowest,
            _ => Place { component: Component::BlockInput, ..lowest },
        };
        let saves = place != Place { layer: 0, component: Component::BlockInput };
        if !saves || bytes > model.backend.max_tensor_bytes().min(MOST_BYTES) {
            return Ok(None);
        }
        let tensor = model.backend.tensor("states", &[n_tokens, n_embd])?;
        let mut first = 0;
        for sequence in sequences {
            let part = Part::of(control, first, sequence.tokens.len(), n_tokens);
            collect_one(model, place, sequence, first, &tensor, &part).await?;
            sequence.states_at = Some(first);
            first += sequence.tokens.len();
        }
        Ok(Some(States { tensor, place }))
    }

    /// Appends the states of the rows `index [T]` names, and the hooks at their own place where that is a layer's output; returns them
    /// with the layer that follows.
    pub(super) fn begin(&self, plan: &mut Plan, index: Buf, hooks: &mut dyn Hooks) -> (Buf, usize) {
        plan.at("states");
        let states = plan.tensor(&self.tensor);
        let h = kernel::gather_rows(plan, "h", index, states);
        match self.place.component {
            Component::BlockOutput => {
                plan.at(format!("layer {}", self.place.layer));
                hooks.edit(plan, self.place, h, Inputs::default());
                (h, self.place.layer + 1)
            }
            _ => (h, self.place.layer),
        }
    }
}

/// Memory that states may take.
const MOST_BYTES: u64 = 128 << 20;

/// Runs one sequence up to the place and puts its states into their rows.
async fn collect_one(
    model: &Model,
    place: Place,
    sequence: &Sequence,
    first: usize,
    to: &Tensor,
    control: &dyn Control,
) -> Result<()> {
    let batch = Batch::pack(&[sequence]);
    let mut plan = Plan::new("states");
    let pass = Pass::new(&mut plan, batch.tokens.len());
    let rows = plan.kept("rows", &[batch.tokens.len()]);
    let mut hooks = Keep { place, rows, to };
    model::forward(&mut plan, model, &pass, None, &mut hooks);
    plan.end_after_last("put_rows");
    let prepared = model.backend.prepare(plan)?;
    batch.write(&prepared, &pass, &[]);
    let to_rows: Vec<u32> = (first as u32..(first + batch.tokens.len()) as u32).collect();
    prepared.tensor(rows).write(0, &to_rows);
    prepared.run_with(&[], control).await.map(|_| ())
}

/// Puts the states at a place into their rows.
struct Keep<'a> {
    place: Place,
    rows: Buf,
    to: &'a Tensor,
}

impl Hooks for Keep<'_> {
    fn stands_at(&self, place: Place) -> bool {
        place == self.place
    }

    fn edit(&mut self, plan: &mut Plan, _: Place, h: Buf, _: Inputs) {
        let to = plan.tensor(self.to);
        kernel::put_rows(plan, self.rows, h, to);
    }
}
