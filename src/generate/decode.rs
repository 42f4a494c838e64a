//! One token of each sequence: a plan made once, of which each step rewrites only a few words.

use super::generation::Prompt;
use super::persona::Cast;
use super::sampler::Sampler;
use crate::backend::{Control, Prepared};
use crate::error::Result;
use crate::model::{self, Cache, Model, Pass};
use crate::plan::{Buf, Plan};
use crate::tensor::Readback;

pub(super) struct Decode {
    prepared: Prepared,
    place: Buf,
    span: Buf,
    /// The position that each sequence's next token gets.
    positions: Vec<u32>,
    n_rows: u32,
}

impl Decode {
    pub(super) fn new(
        model: &Model,
        prompts: &[Prompt],
        cache: &Cache,
        sampler: &Sampler,
        positions: Vec<u32>,
    ) -> Result<Decode> {
        let n_sequences = prompts.len();
        let mut plan = Plan::new("decode");
        let pass = Pass {
            tokens: plan.tensor(&sampler.tokens),
            place: plan.kept("place", &[n_sequences, 2]),
            span: plan.kept("span", &[n_sequences, 2]),
        };
        let mut cast = Cast::default();
        for (row, prompt) in prompts.iter().enumerate() {
            cast.add(prompt, row, |persona, number, it| {
                let rows = if it.positions.beyond_prompt() { vec![[0, 1]] } else { Vec::new() };
                persona.edits(number, rows)
            });
        }
        let mut hooks = cast.hooks(&mut plan);
        let h = model::forward(&mut plan, model, &pass, Some(cache), &mut hooks);
        let all = plan.kept("ends", &[n_sequences]);
        let logits = model.logits(&mut plan, h, all);
        sampler.plan(&mut plan, logits);

        let bufs = hooks.bufs();
        let prepared = model.backend.prepare(plan)?;
        prepared.tensor(all).write(0, &(0..n_sequences as u32).collect::<Vec<_>>());
        cast.write(&prepared, &bufs);
        Ok(Decode { prepared, place: pass.place, span: pass.span, positions, n_rows: cache.n_rows as u32 })
    }

    /// Submits a step: the tokens chosen last are read, and the next are chosen and returned. A step that fails can be made again.
    pub(super) async fn step(&mut self, sampler: &mut Sampler, control: &dyn Control) -> Result<Readback> {
        let firsts = (0..).step_by(self.n_rows as usize);
        let rows: Vec<(u32, u32)> = firsts.zip(self.positions.iter().copied()).collect();
        let place: Vec<[u32; 2]> =
            rows.iter().map(|(first, position)| [*position, first + position]).collect();
        let span: Vec<[u32; 2]> =
            rows.iter().map(|(first, position)| [*first, first + position + 1]).collect();
        self.prepared.tensor(self.place).write(0, place.as_flattened());
        self.prepared.tensor(self.span).write(0, span.as_flattened());
        let tokens = sampler.draw(&self.prepared, control).await?;
        self.positions.iter_mut().for_each(|position| *position += 1);
        Ok(tokens)
    }

    /// The position that each sequence's next token gets when so many steps are taken back.
    pub(super) fn positions(&self, n_back: u32) -> Vec<u32> {
        self.positions.iter().map(|position| position - n_back).collect()
    }

    /// The plan, for measuring.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared
    }
}
