//! Hidden states as they are: pyvene's `CollectIntervention`, and the sources of interchange.

use crate::error::Result;
use crate::kernel;
use crate::model::{self, Hooks, Inputs, Model, Pass, Place, Window};
use crate::plan::{Buf, Plan};

/// The hidden states [P, D] of one sequence at the given rows, at `place` and in the columns of `window`.
///
/// # Errors
/// `Device` if the device was lost or finds no room.
pub async fn collect(
    model: &Model,
    tokens: &[u32],
    place: Place,
    window: Window,
    rows: &[u32],
) -> Result<Vec<f32>> {
    let n_tokens = tokens.len() as u32;
    let mut plan = Plan::new("collect", model.backend.target());
    let pass = Pass::new(&mut plan, tokens.len());
    let index = plan.kept("rows", &[rows.len()]);
    let mut hooks = Collect { place, index, states: None };
    model::forward(&mut plan, model, &pass, None, &mut hooks);
    let states = hooks.states.expect("a pass meets every place");
    plan.keep(states);
    plan.end_after_last("gather_rows");
    let [_, stride] = plan.shape(states);

    let prepared = model.backend.prepare(plan)?;
    let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
    write(pass.tokens, tokens);
    write(pass.place, (0..n_tokens).map(|row| [row, row]).collect::<Vec<_>>().as_flattened());
    write(pass.span, (0..n_tokens).map(|row| [0, row + 1]).collect::<Vec<_>>().as_flattened());
    write(index, rows);
    prepared.run()?;
    let states = prepared.tensor(states).read().f32().await?;
    let columns = states.chunks_exact(stride).map(|row| &row[window.first..][..window.width]);
    Ok(columns.flatten().copied().collect())
}

/// Takes rows of what stands at a place.
struct Collect {
    place: Place,
    index: Buf,
    states: Option<Buf>,
}

impl Hooks for Collect {
    fn stands_at(&self, place: Place) -> bool {
        place == self.place
    }

    fn edit(&mut self, plan: &mut Plan, _: Place, h: Buf, _: Inputs) {
        self.states = Some(kernel::gather_rows(plan, "states", self.index, h));
    }
}
