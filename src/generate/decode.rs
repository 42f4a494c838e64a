//! One token of each sequence: a plan made once, of which each step rewrites only a few words.

use super::generation::Prompt;
use super::sampler::Sampler;
use crate::backend::Prepared;
use crate::error::Result;
use crate::model::{self, Cache, Model, Pass};
use crate::plan::{Buf, Plan};
use crate::reft::{Edits, Reft};
use std::rc::Rc;

pub(super) struct Decode {
    prepared: Prepared,
    place: Buf,
    span: Buf,
    /// The position that each sequence's next token gets.
    positions: Vec<u32>,
    n_rows: u32,
}

impl Decode {
    pub(super) fn new(model: &Model, prompts: &[Prompt], cache: &Cache, sampler: &Sampler) -> Result<Decode> {
        let n_sequences = prompts.len();
        let mut plan = Plan::new("decode", model.backend.target());
        let pass = Pass {
            tokens: plan.tensor(&sampler.tokens),
            place: plan.kept("place", &[n_sequences, 2]),
            span: plan.kept("span", &[n_sequences, 2]),
        };
        let refts = refts_beyond_prompt(prompts);
        let counts = refts.iter().map(|(reft, rows)| (&**reft, vec![rows.len(); reft.interventions.len()]));
        let mut hooks = Edits::new(&mut plan, &counts.collect::<Vec<_>>());
        let h = model::forward(&mut plan, model, &pass, Some(cache), &mut hooks);
        let all = plan.kept("ends", &[n_sequences]);
        let logits = model.logits(&mut plan, h, all);
        sampler.plan(&mut plan, logits);

        let edit_bufs = hooks.rows();
        let prepared = model.backend.prepare(plan)?;
        prepared.tensor(all).write(0, &(0..n_sequences as u32).collect::<Vec<_>>());
        let rows = refts.iter().flat_map(|(reft, rows)| reft.interventions.iter().map(move |_| rows));
        for (buf, rows) in edit_bufs.into_iter().zip(rows) {
            prepared.tensor(buf).write(0, rows.as_flattened());
        }
        let positions = prompts.iter().map(|prompt| prompt.tokens.len() as u32).collect();
        Ok(Decode { prepared, place: pass.place, span: pass.span, positions, n_rows: cache.n_rows as u32 })
    }

    /// Submits a step: the tokens chosen last are read, and the next are chosen.
    pub(super) fn step(&mut self, sampler: &mut Sampler) -> Result<()> {
        let firsts = (0..).step_by(self.n_rows as usize);
        let rows: Vec<(u32, u32)> = firsts.zip(self.positions.iter().copied()).collect();
        let place: Vec<[u32; 2]> =
            rows.iter().map(|(first, position)| [*position, first + position]).collect();
        let span: Vec<[u32; 2]> =
            rows.iter().map(|(first, position)| [*first, first + position + 1]).collect();
        self.prepared.tensor(self.place).write(0, place.as_flattened());
        self.prepared.tensor(self.span).write(0, span.as_flattened());
        sampler.advance();
        self.positions.iter_mut().for_each(|position| *position += 1);
        self.prepared.run()
    }

    /// The plan, for measuring.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}

/// The Refts that edit tokens after the prompt, each with the rows of its sequences.
fn refts_beyond_prompt(prompts: &[Prompt]) -> Vec<(Rc<Reft>, Vec<[u32; 2]>)> {
    let mut all: Vec<(Rc<Reft>, Vec<[u32; 2]>)> = Vec::new();
    for (row, prompt) in (0..).zip(prompts) {
        let Some(reft) = prompt.reft.as_ref().filter(|reft| reft.positions.beyond_prompt()) else { continue };
        match all.iter_mut().find(|(known, _)| Rc::ptr_eq(known, reft)) {
            Some((_, rows)) => rows.push([row, 1]),
            None => all.push((reft.clone(), vec![[row, 1]])),
        }
    }
    all
}
