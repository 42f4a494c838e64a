//! What is frozen is not computed again: it is kept on the device for all examples.
//!
//! Below the lowest edit everything is the bare model's, in every epoch the same: the hidden states at this place are computed once,
//! example by example, and the layers below are left out of every step. Above it, what comes before a sequence's first edited token is the
//! bare model's, too, as no token sees a later one: of these tokens the keys and values are kept, and steps begin at the first token that
//! is edited or that the loss reads.

use super::batch::{Batch, Sequence};
use crate::backend::{Control, Part, Scratch};
use crate::error::Result;
use crate::kernel;
use crate::model::{self, Cache, Component, Hooks, Inputs, Model, NoHooks, Pass, Place};
use crate::plan::{Buf, Plan};
use crate::reft::Reft;
use crate::tensor::Tensor;

/// What is kept of some sequences, whose tokens stand one after the other.
pub(super) struct States {
    /// The hidden states [all tokens, D].
    tensor: Tensor,
    /// Where they are those of.
    place: Place,
    /// Keys and values of all layers above; the rows of tokens that steps compute are theirs to write.
    pub(super) cache: Option<Cache>,
}

/// What is kept of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The row of its first token.
    pub first: usize,
    /// Whether keys and values are kept.
    pub has_keys: bool,
    /// Its first tokens that steps leave out, as their keys and values are kept.
    pub skipped: usize,
}

impl States {
    /// Collects what can be kept of all sequences, and notes in each where it is; none if it finds no room, or nothing would be saved.
    pub(super) async fn collect(
        model: &Model,
        reft: &Reft,
        sequences: &mut [Sequence],
        scratch: &mut Scratch,
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
        let mut states = States { tensor, place, cache: None };
        let skipped: Vec<usize> = sequences.iter().map(|sequence| sequence.first_used(reft)).collect();
        if skipped.iter().any(|n| *n > 0) {
            states.cache = states.room_for_keys(model, n_tokens)?;
        }
        let mut first = 0;
        for (sequence, skipped) in sequences.iter_mut().zip(skipped) {
            sequence.kept = None;
            let has_keys = states.cache.is_some();
            let skipped = if has_keys { skipped } else { 0 };
            let part = Part::of(control, first, sequence.tokens.len(), n_tokens);
            states.collect_one(model, sequence, first, scratch, &part).await?;
            if skipped > 0 {
                states.collect_keys(model, first, skipped, scratch, &part).await?;
            }
            sequence.kept = Some(Kept { first, has_keys, skipped });
            first += sequence.tokens.len();
        }
        Ok(Some(states))
    }

    /// The lowest layer that is computed in steps.
    fn first_layer(&self) -> usize {
        match self.place.component {
            Component::BlockOutput => self.place.layer + 1,
            _ => self.place.layer,
        }
    }

    /// Memory for the keys and values of so many tokens, if there is room.
    fn room_for_keys(&self, model: &Model, n_tokens: usize) -> Result<Option<Cache>> {
        let bytes = 4 * (n_tokens * model.dims.kv_width()) as u64;
        let n_layers = (model.dims.n_layer - self.first_layer()) as u64;
        let fits = bytes <= model.backend.max_tensor_bytes() && 2 * n_layers * bytes <= MOST_BYTES_OF_KEYS;
        match n_layers > 0 && fits {
            true => Cache::from_layer(model, self.first_layer(), 1, n_tokens).map(Some),
            false => Ok(None),
        }
    }

    /// Appends the states of the rows `index [T]` names, and the hooks at their own place where that is a layer's output; returns them
    /// with the layer that follows.
    pub(super) fn begin(&self, plan: &mut Plan, index: Buf, hooks: &mut dyn Hooks) -> (Buf, usize) {
        plan.at("states");
        let states = plan.tensor(&self.tensor);
        let h = kernel::gather_rows(plan, "h", index, states);
        if self.place.component == Component::BlockOutput && hooks.stands_at(self.place) {
            plan.at(format!("layer {}", self.place.layer));
            hooks.edit(plan, self.place, h, Inputs::default());
        }
        (h, self.first_layer())
    }

    /// Runs one sequence up to the place and puts its states into their rows.
    async fn collect_one(
        &self,
        model: &Model,
        sequence: &Sequence,
        first: usize,
        scratch: &mut Scratch,
        control: &dyn Control,
    ) -> Result<()> {
        let batch = Batch::pack(&[sequence]);
        let n_tokens = batch.tokens.len();
        let mut plan = Plan::new("states");
        let pass = Pass::new(&mut plan, n_tokens);
        let rows = plan.kept("rows", &[n_tokens]);
        let mut hooks = Keep { place: self.place, rows, to: &self.tensor };
        model::forward(&mut plan, model, &pass, None, &mut hooks);
        plan.end_after_last("put_rows");
        let prepared = model.backend.prepare_in(scratch, plan)?;
        batch.write(&prepared, &pass, &[]);
        prepared.tensor(rows).write(0, &rows_from(first, n_tokens));
        prepared.run_with(&[], control).await.map(|_| ())
    }

    /// Runs the first `n_tokens` of a sequence from their states on, for their keys and values.
    async fn collect_keys(
        &self,
        model: &Model,
        first: usize,
        n_tokens: usize,
        scratch: &mut Scratch,
        control: &dyn Control,
    ) -> Result<()> {
        let mut plan = Plan::new("keys");
        let pass = Pass::new(&mut plan, n_tokens);
        let index = plan.kept("state_rows", &[n_tokens]);
        let start = self.begin(&mut plan, index, &mut NoHooks);
        model::forward_from(&mut plan, model, &pass, self.cache.as_ref(), &mut NoHooks, start);
        plan.end_after_last("rope_qkv");
        let prepared = model.backend.prepare_in(scratch, plan)?;
        let rows = rows_from(first, n_tokens);
        let places: Vec<[u32; 2]> = (0..).zip(&rows).map(|(position, row)| [position, *row]).collect();
        let spans: Vec<[u32; 2]> = rows.iter().map(|row| [first as u32, row + 1]).collect();
        prepared.tensor(index).write(0, &rows);
        prepared.tensor(pass.place).write(0, places.as_flattened());
        prepared.tensor(pass.span).write(0, spans.as_flattened());
        prepared.run_with(&[], control).await.map(|_| ())
    }
}

/// Memory that states may take.
const MOST_BYTES: u64 = 128 << 20;

/// Memory that keys and values may take.
const MOST_BYTES_OF_KEYS: u64 = 256 << 20;

fn rows_from(first: usize, n: usize) -> Vec<u32> {
    (first as u32..(first + n) as u32).collect()
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
