//! How fast a model answers and learns on a machine, as its user meets it: by the loops of generation and training.
//!
//! [`plans`] measures single plans against what the machine reaches at best.

pub mod plans;

use crate::backend::NoControl;
use crate::clock::seconds;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::generate::{GenerateOptions, Prompt};
use crate::reft::{Layers, ReftConfig};
use crate::train::{Sequence, Task, TrainOptions, Trainer, Training};
use serde::Serialize;

/// Tokens of an answer: the first one ends the prefill, the others are decoded.
const ANSWER: usize = 64;
/// Runs whose median is a figure.
const RUNS: usize = 3;
/// Seconds after which a figure gets no further run.
const LONG: f64 = 3.0;
/// Answers that may end before [`ANSWER`] tokens in one run.
const ENDED: usize = 16;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Tokens of the prompt, and of the training batch.
    pub tokens: usize,
    /// Sequences among which the training batch is divided.
    pub sequences: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The machine's name.
    pub device: String,
    /// `gpu` or `cpu`.
    pub backend: &'static str,
    /// The model's name, architecture and formats.
    pub model: String,
    /// Tokens of the prompt, and of the training batch.
    pub tokens: usize,
    /// Sequences of the training batch.
    pub sequences: usize,
    /// Tokens of the prompt by the seconds from the call to the first token of the answer.
    pub prefill_tokens_per_second: f64,
    /// Tokens after the first one by the seconds from it to the last one.
    pub decode_tokens_per_second: f64,
    /// A training step: LoReFT of rank 4 in the middle layer at the last prompt token; the last third of each sequence is learned.
    pub step_ms: f64,
    /// The same from the second epoch on, where the states below the edit are kept.
    pub kept_step_ms: f64,
    /// Bytes of all tensors, at the most.
    pub tensor_bytes: u64,
}

/// Measures a model. Each figure is the median of three runs, or of fewer where they are long.
///
/// # Errors
/// `Input` if the context does not hold prompt and answer, or the batch cannot be divided; `Unsupported` for a model that says
/// nothing; `Device` if the device was lost.
pub async fn run(engine: &Engine, options: &BenchOptions) -> Result<Report> {
    let BenchOptions { tokens, sequences } = *options;
    check(options, engine.info().n_ctx)?;
    let info = engine.info();
    let backend = &engine.model().backend;
    backend.restart_peak();
    let [first, rest] = answer_seconds(engine, tokens).await?;
    let step = step_seconds(engine, options, false).await?;
    let kept = step_seconds(engine, options, true).await?;
    Ok(Report {
        device: backend.name(),
        backend: backend.kind(),
        model: format!("{} {} {}", info.name, info.architecture, info.formats.join("+")),
        tokens,
        sequences,
        prefill_tokens_per_second: tokens as f64 / first,
        decode_tokens_per_second: 1.0 / rest,
        step_ms: 1e3 * step,
        kept_step_ms: 1e3 * kept,
        tensor_bytes: backend.peak(),
    })
}

fn check(options: &BenchOptions, n_ctx: usize) -> Result<()> {
    let BenchOptions { tokens, sequences } = *options;
    let most = n_ctx.saturating_sub(ANSWER);
    if !(3..=most).contains(&tokens) {
        return Err(Error::input(format!(
            "tokens {tokens}: expected 3 to {most}, so that the context of {n_ctx} holds an answer of {ANSWER}, too"
        )));
    }
    if sequences == 0 || tokens / sequences < 3 {
        return Err(Error::input(format!(
            "sequences {sequences}: expected 1 to {}, so that each has three of the {tokens} tokens",
            tokens / 3
        )));
    }
    Ok(())
}

/// Seconds to the first token of an answer, and for each token after it.
async fn answer_seconds(engine: &Engine, n_prompt: usize) -> Result<[f64; 2]> {
    answer(engine, n_prompt.min(8), 2, 0).await?; // compiles
    let (mut firsts, mut rests) = (Vec::new(), Vec::new());
    let start = seconds();
    while wants_more(&rests, start) {
        let (mut n_rest, mut rest) = (0, 0.0);
        for attempt in 0..ENDED {
            let seed = rests.len() * ENDED + attempt;
            let times = answer(engine, n_prompt, ANSWER - n_rest, seed).await?;
            firsts.push(times.first);
            n_rest += times.n_rest;
            rest += times.rest;
            if n_rest + 1 >= ANSWER {
                break;
            }
        }
        if n_rest == 0 {
            return Err(Error::unsupported(format!(
                "{}: {ENDED} answers had no second token; expected a model that goes on",
                engine.info().name
            )));
        }
        rests.push(rest / n_rest as f64);
    }
    Ok([median(firsts), median(rests)])
}

/// How long an answer took.
struct AnswerTimes {
    /// Seconds to its first token.
    first: f64,
    /// Tokens after it.
    n_rest: usize,
    /// Seconds for them.
    rest: f64,
}

async fn answer(engine: &Engine, n_prompt: usize, max_tokens: usize, seed: usize) -> Result<AnswerTimes> {
    let prompt = Prompt { tokens: tokens(engine, n_prompt, seed), personas: vec![] };
    let options = GenerateOptions { max_tokens, ..GenerateOptions::default() };
    let start = seconds();
    let mut generation = engine.generate_with(&[prompt], &options, &NoControl).await?;
    generation.next(engine.tokenizer()).await?;
    let (first, mut n_rest) = (seconds(), 0);
    while generation.next(engine.tokenizer()).await?.is_some() {
        n_rest += 1;
    }
    Ok(AnswerTimes { first: first - start, n_rest, rest: seconds() - first })
}

/// Seconds of a training step; `kept` says whether the states below the edit are.
async fn step_seconds(engine: &Engine, options: &BenchOptions, kept: bool) -> Result<f64> {
    let model = engine.model();
    let reft = engine.reft(&[middle(engine, "l1")])?;
    // In one epoch nothing is kept. The first step makes the plan.
    let (epochs, batches) = if kept { (RUNS + 1, 1) } else { (1, RUNS + 1) };
    let lengths = lengths(options);
    let sequences = (0..batches).flat_map(|_| &lengths).enumerate().map(|(seed, &length)| {
        Sequence::new(&reft, tokens(engine, length, seed), length - length / 3, model.n_ctx)
    });
    let train = TrainOptions { epochs, batch_size: options.sequences, ..TrainOptions::default() };
    let mut training = Training::new(sequences.collect::<Result<_>>()?, Task::Language, &train)?;
    let mut trainer = Trainer::new(&model.backend, &reft)?;
    training.next(model, &reft, &mut trainer).await?;
    let (mut runs, start) = (Vec::new(), seconds());
    while wants_more(&runs, start) {
        let before = seconds();
        if training.next(model, &reft, &mut trainer).await?.is_none() {
            break;
        }
        runs.push(seconds() - before);
    }
    Ok(median(runs))
}

/// The batch's tokens, divided among its sequences as evenly as may be. All batches are alike, so that they share a plan.
fn lengths(&BenchOptions { tokens, sequences }: &BenchOptions) -> Vec<usize> {
    (0..sequences).map(|i| (i + 1) * tokens / sequences - i * tokens / sequences).collect()
}

/// Tokens from all over the vocabulary.
fn tokens(engine: &Engine, n: usize, seed: usize) -> Vec<u32> {
    (0..n).map(|i| ((i + 13 * seed) * 7919 % engine.info().n_vocab) as u32).collect()
}

/// A LoReFT of rank 4 in the middle layer.
fn middle(engine: &Engine, positions: &str) -> ReftConfig {
    let layers = Layers::List(vec![engine.info().n_layer / 2]);
    ReftConfig { layers, positions: positions.to_owned(), ..ReftConfig::default() }
}

fn wants_more(runs: &[f64], start: f64) -> bool {
    runs.is_empty() || (runs.len() < RUNS && seconds() - start < LONG)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (below, above) = ((values.len() - 1) / 2, values.len() / 2);
    (values[below] + values[above]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::{BenchOptions, check, lengths, median};

    #[test]
    fn a_batch_is_divided_evenly_and_whole() {
        assert_eq!(lengths(&BenchOptions { tokens: 64, sequences: 1 }), [64]);
        assert_eq!(lengths(&BenchOptions { tokens: 11, sequences: 3 }), [3, 4, 4]);
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two_there() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_what_can() {
        assert!(check(&BenchOptions { tokens: 64, sequences: 21 }, 128).is_ok());
        for (tokens, sequences, n_ctx, expected) in [
            (65, 1, 128, "tokens 65: expected 3 to 64"),
            (2, 1, 128, "tokens 2: expected 3 to 64"),
            (64, 22, 128, "sequences 22: expected 1 to 21"),
            (64, 0, 128, "sequences 0: expected 1 to 21"),
        ] {
            let error = check(&BenchOptions { tokens, sequences }, n_ctx).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
