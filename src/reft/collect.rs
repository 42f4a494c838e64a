//! Hidden states as they are: pyvene's `CollectIntervention`, and the sources of interchange.

use super::kinds::KINDS;
use super::{Intervention, Reft};
use crate::backend::{Control, NoControl};
use crate::error::{Error, Result};
use crate::kernel;
use crate::model::{self, Hooks, Inputs, Model, Pass, Place, Window};
use crate::plan::{Buf, Plan};

/// Hidden states to be taken out of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub place: Place,
    /// Their columns.
    pub window: Window,
    /// Their rows, one for each token; there may be none.
    pub rows: Vec<u32>,
}

impl Reft {
    /// What the interventions read of another run of `n_source` tokens, where they edit so many rows each: at `positions` of it, or where
    /// there are none at those that their own name in it.
    ///
    /// # Errors
    /// `Input` if none of the interventions reads another run, the source is empty or longer than `n_ctx`, or has not as many tokens at
    /// its positions as are edited.
    pub fn wanted(
        &self,
        [n_source, n_ctx]: [usize; 2],
        positions: Option<&str>,
        n_edited: impl Iterator<Item = usize>,
    ) -> Result<Vec<Wanted>> {
        if !(1..=n_ctx).contains(&n_source) {
            return Err(Error::input(format!("source: expected 1 to {n_ctx} tokens, got {n_source}")));
        }
        if !self.interventions.iter().any(|it| it.kind.reads_source()) {
            let known = KINDS.into_iter().filter(|kind| kind.reads_source()).map(|kind| kind.name);
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(Error::input(format!(
                "source: none of these interventions reads another run; those that do: {known}"
            )));
        }
        let wanted = |(it, n_edited): (&Intervention, usize)| it.wanted(n_source, positions, n_edited);
        self.interventions.iter().zip(n_edited).map(wanted).collect()
    }
}

impl Intervention {
    fn wanted(&self, n_source: usize, positions: Option<&str>, n_edited: usize) -> Result<Wanted> {
        let mut rows = Vec::new();
        if self.kind.reads_source() {
            let positions = match positions {
                Some(text) => self.positions.part_of(text).map_err(|error| error.at("source"))?,
                None => self.positions.clone(),
            };
            rows = positions.rows(n_source, n_source).into_iter().map(|[row, _]| row).collect();
            if rows.len() != n_edited {
                return Err(Error::input(format!(
                    "source: expected {n_edited} of its {n_source} tokens at {positions}, as many as {} edits, got {}; give another source, or \
                     other positions of it",
                    self.kind.name,
                    rows.len()
                )));
            }
        }
        let place = Place { layer: self.source_layer, ..self.place };
        Ok(Wanted { place, window: self.window(), rows })
    }
}

/// The hidden states [P, D] of one sequence for each that is wanted, all from one run of the bare model.
///
/// # Errors
/// `Device` if the device was lost or finds no room.
pub async fn collect(model: &Model, tokens: &[u32], wanted: &[Wanted]) -> Result<Vec<Vec<f32>>> {
    collect_with(model, tokens, wanted, &NoControl).await
}

/// As [`collect`]; `control` may end it.
///
/// # Errors
/// As [`collect`]; `Aborted` if `control` ended it.
pub async fn collect_with(
    model: &Model,
    tokens: &[u32],
    wanted: &[Wanted],
    control: &dyn Control,
) -> Result<Vec<Vec<f32>>> {
    let mut collected = vec![Vec::new(); wanted.len()];
    let n_tokens = tokens.len() as u32;
    let mut plan = Plan::new("collect");
    let pass = Pass::new(&mut plan, tokens.len());
    let takes = wanted.iter().enumerate().filter(|(_, wanted)| !wanted.rows.is_empty());
    let takes: Vec<Take> = takes
        .map(|(number, wanted)| Take {
            number,
            wanted,
            index: plan.kept("rows", &[wanted.rows.len()]),
            states: None,
        })
        .collect();
    if takes.is_empty() {
        return Ok(collected);
    }
    let mut hooks = Collect { takes };
    model::forward(&mut plan, model, &pass, None, &mut hooks);
    plan.end_after_last("gather_rows");

    let prepared = model.backend.prepare(plan)?;
    let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
    write(pass.tokens, tokens);
    write(pass.place, (0..n_tokens).map(|row| [row, row]).collect::<Vec<_>>().as_flattened());
    write(pass.span, (0..n_tokens).map(|row| [0, row + 1]).collect::<Vec<_>>().as_flattened());
    for take in &hooks.takes {
        write(take.index, &take.wanted.rows);
    }
    prepared.run_with(&[], control).await?;
    for Take { number, wanted, states, .. } in hooks.takes {
        let states = prepared.tensor(states.expect("a pass meets every place"));
        let [_, stride] = states.shape()[..] else { unreachable!("rows of hidden states") };
        let Window { first, width } = wanted.window;
        let states = states.read().f32().await?;
        collected[number] =
            states.chunks_exact(stride).flat_map(|row| &row[first..][..width]).copied().collect();
    }
    Ok(collected)
}

/// Takes rows of what stands at some places.
struct Collect<'a> {
    takes: Vec<Take<'a>>,
}

struct Take<'a> {
    number: usize,
    wanted: &'a Wanted,
    index: Buf,
    states: Option<Buf>,
}

impl Hooks for Collect<'_> {
    fn stands_at(&self, place: Place) -> bool {
        self.takes.iter().any(|take| take.wanted.place == place)
    }

    fn edit(&mut self, plan: &mut Plan, place: Place, h: Buf, _: Inputs) {
        for take in self.takes.iter_mut().filter(|take| take.wanted.place == place) {
            let states = kernel::gather_rows(plan, "states", take.index, h);
            plan.keep(states);
            take.states = Some(states);
        }
    }
}
