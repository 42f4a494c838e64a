//! Reading prompts: some passes of bounded length, the last of which ends with the last token of every prompt.

use super::generation::{GenerateOptions, Prompt};
use super::persona::Cast;
use super::sampler::Sampler;
use crate::backend::{Control, Part, Prepared};
use crate::error::Result;
use crate::model::{self, Cache, Model, Pass};
use crate::plan::Plan;
use crate::reft::position;
use crate::tensor::Readback;
use std::ops::Range;

/// Tokens in one pass: enough to fill a GPU.
const TOKENS_AT_ONCE: usize = 256;

/// A run of one prompt's tokens.
#[derive(Clone)]
struct Stretch {
    sequence: usize,
    range: Range<usize>,
}

/// Reads all prompts into the cache, and chooses and returns the first token of each.
pub(super) async fn prefill(
    model: &Model,
    prompts: &[Prompt],
    cache: &Cache,
    sampler: &mut Sampler,
    control: &dyn Control,
) -> Result<Readback> {
    let n_all = prompts.iter().map(|prompt| prompt.tokens.len()).sum::<usize>();
    let mut n_read = 0;
    let tail = (TOKENS_AT_ONCE / prompts.len()).max(1);
    let mut tails = Vec::with_capacity(prompts.len());
    for (sequence, prompt) in prompts.iter().enumerate() {
        let n_tokens = prompt.tokens.len();
        let head = n_tokens.saturating_sub(tail);
        for start in (0..head).step_by(TOKENS_AT_ONCE) {
            let range = start..(start + TOKENS_AT_ONCE).min(head);
            let part = Part::of(control, n_read, range.len(), n_all);
            n_read += range.len();
            pass(model, prompts, &[Stretch { sequence, range }], cache, None)?.run_with(&[], &part).await?;
        }
        tails.push(Stretch { sequence, range: head..n_tokens });
    }
    let part = Part::of(control, n_read, n_all - n_read, n_all);
    sampler.draw(&pass(model, prompts, &tails, cache, Some(sampler))?, &part).await
}

/// One pass over a whole prompt, however long, for measuring: nothing else is run.
///
/// # Errors
/// `Device` if the cache finds no room.
pub fn prefill_plan(model: &Model, prompt: &Prompt) -> Result<Prepared> {
    let n_tokens = prompt.tokens.len();
    let cache = Cache::new(model, 1, n_tokens)?;
    let sampler = Sampler::new(&model.backend, 1, &GenerateOptions::default())?;
    let whole = Stretch { sequence: 0, range: 0..n_tokens };
    pass(model, std::slice::from_ref(prompt), &[whole], &cache, Some(&sampler))
}

/// A pass over stretches of prompts; with a sampler, they are the prompts' ends and the next tokens are chosen.
fn pass(
    model: &Model,
    prompts: &[Prompt],
    stretches: &[Stretch],
    cache: &Cache,
    sampler: Option<&Sampler>,
) -> Result<Prepared> {
    let cast = cast(prompts, stretches);
    let n_tokens = stretches.iter().map(|stretch| stretch.range.len()).sum();
    let mut plan = Plan::new("prefill");
    let pass = Pass::new(&mut plan, n_tokens);
    let mut hooks = cast.hooks(&mut plan);
    let h = model::forward(&mut plan, model, &pass, Some(cache), &mut hooks);
    let ends = sampler.map(|sampler| {
        let ends = plan.kept("ends", &[stretches.len()]);
        let logits = model.logits(&mut plan, h, ends);
        sampler.plan(&mut plan, logits);
        ends
    });

    let bufs = hooks.bufs();
    let prepared = model.backend.prepare(plan)?;
    write_inputs(&prepared, &pass, prompts, stretches, cache);
    cast.write(&prepared, &bufs);
    if let Some(ends) = ends {
        prepared.tensor(ends).write(0, &last_rows(stretches));
    }
    Ok(prepared)
}

fn write_inputs(prepared: &Prepared, pass: &Pass, prompts: &[Prompt], stretches: &[Stretch], cache: &Cache) {
    let (mut tokens, mut place, mut span) = (Vec::new(), Vec::new(), Vec::new());
    for Stretch { sequence, range } in stretches {
        let first = (sequence * cache.n_rows) as u32;
        tokens.extend(&prompts[*sequence].tokens[range.clone()]);
        let n_unplaced = prompts[*sequence].n_unplaced();
        for row in range.clone() {
            let at = first + row as u32;
            place.push([position(row, n_unplaced), at]);
            span.push([first, at + 1]);
        }
    }
    prepared.tensor(pass.tokens).write(0, &tokens);
    prepared.tensor(pass.place).write(0, place.as_flattened());
    prepared.tensor(pass.span).write(0, span.as_flattened());
}

/// The row of each stretch's last token in the pass.
fn last_rows(stretches: &[Stretch]) -> Vec<u32> {
    let ends = stretches.iter().scan(0, |end, stretch| {
        *end += stretch.range.len() as u32;
        Some(*end - 1)
    });
    ends.collect()
}

/// Who edits the rows of this pass.
fn cast(prompts: &[Prompt], stretches: &[Stretch]) -> Cast {
    let mut cast = Cast::default();
    let mut first = 0;
    for Stretch { sequence, range } in stretches {
        let prompt = &prompts[*sequence];
        let n_virtual = prompt.n_virtual();
        let n_prompt = prompt.tokens.len() - n_virtual;
        cast.add(prompt, first, |persona, number, it| {
            persona.edits(number, it.rows(n_virtual, n_prompt, n_prompt)).within(range)
        });
        first += range.len();
    }
    cast
}
