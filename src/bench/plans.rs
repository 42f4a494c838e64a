//! How fast single plans run on a machine, against what the same machine reaches in a plain copy and in plain multiply-adds.
//!
//! Each figure is the best of several runs.

use super::middle;
use crate::backend::{Backend, NoControl, Prepared};
use crate::clock::seconds;
use crate::engine::Engine;
use crate::error::Result;
use crate::generate::{self, GenerateOptions, Generation, Persona, Prompt};
use crate::kernel::{self, FMAS_A_ROUND, Hyper};
use crate::plan::{Buf, Plan};
use crate::train::{Sequence, Trainer};
use serde::Serialize;
use std::rc::Rc;

/// Runs of which the best counts.
const ROUNDS: usize = 5;
/// Seconds after which plans get no further run.
const LONG: f64 = 2.0;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The machine.
    pub adapter: String,
    /// The model's name and formats.
    pub model: String,
    /// A plain copy, read and written, in GB/s.
    pub copy_gb_s: f64,
    /// Plain multiply-adds, two operations each, in GFLOP/s.
    pub fma_gflop_s: f64,
    /// One token of one sequence, near the end of the context measured.
    pub decode: Phase,
    /// A whole prompt.
    pub prefill: Phase,
    /// One LoReFT step: rank 4, one layer in the middle, last prompt token.
    pub train: Phase,
    /// The weight products of that step alone, in milliseconds.
    pub train_matmuls_ms: f64,
    /// The same step with the hidden states at the lowest edit kept from the first epoch, in milliseconds.
    pub train_kept_ms: f64,
    /// One token with a LoReFT of rank 4 in one layer that edits prompts only, in milliseconds.
    pub decode_edited_prompt_ms: f64,
    /// One token with the same LoReFT on every token, in milliseconds.
    pub decode_edited_ms: f64,
    /// One token without, measured in turns with the two above, in milliseconds.
    pub decode_plain_ms: f64,
    /// Bytes of all buffers on the device, at the most.
    pub gpu_bytes: u64,
}

/// One kind of pass.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Tokens in a pass.
    pub tokens: usize,
    /// Milliseconds of the best pass.
    pub ms: f64,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// Dispatches in a pass.
    pub dispatches: usize,
    /// Bytes that its steps must read and write.
    pub bytes: u64,
    /// Floating-point operations of its weight products.
    pub operations: u64,
    /// Bytes a second as a share of the plain copy's.
    pub share_of_copy: f64,
    /// Operations a second as a share of plain multiply-adds'.
    pub share_of_fma: f64,
}

/// Measures a model. `n_tokens` is the length of the prompt and of the training batch.
///
/// # Errors
/// `Input` if the context does not hold `n_tokens`, `Device` if the device was lost.
pub async fn run(engine: &Engine, n_tokens: usize) -> Result<Report> {
    let backend = &engine.model().backend;
    let bench = Bench { copy_gb_s: copy_ceiling(backend).await?, fma_gflop_s: fma_ceiling(backend).await? };
    let tokens: Vec<u32> = (0..n_tokens as u32).map(|i| i * 7919 % engine.info().n_vocab as u32).collect();
    let mut gpu_bytes = 0;

    let prompt = [Prompt { tokens: tokens.clone(), personas: vec![] }];
    let options = GenerateOptions { max_tokens: 1, ..Default::default() };
    let generation = engine.generate_with(&prompt, &options, &NoControl).await?;
    let [ms] = best_ms([generation.step_plan()], 8).await?;
    let decode = bench.phase(generation.step_plan(), 1, ms);
    gpu_bytes = backend.memory().max(gpu_bytes);
    let edited = async |positions: &str| {
        let personas = vec![Persona::new(Rc::new(engine.reft(&[middle(engine, positions)])?))];
        engine.generate_with(&[Prompt { tokens: tokens.clone(), personas }], &options, &NoControl).await
    };
    let [on_prompt, on_all] = [edited("l1").await?, edited("all").await?];
    let plans = [&generation, &on_prompt, &on_all].map(Generation::step_plan);
    let mut decodes = [f64::MAX; 3];
    for _ in 0..4 {
        for (best, ms) in decodes.iter_mut().zip(best_ms(plans, 8).await?) {
            *best = best.min(ms);
        }
    }
    drop((generation, on_prompt, on_all));

    let prepared = generate::prefill_plan(engine.model(), &prompt[0])?;
    let [ms] = best_ms([&prepared], 1).await?;
    let prefill = bench.phase(&prepared, n_tokens, ms);
    gpu_bytes = backend.memory().max(gpu_bytes);
    drop(prepared);

    let reft = engine.reft(&[middle(engine, "l1")])?;
    let mut trainer = Trainer::new(backend, &reft)?;
    let sequence = Sequence::new(&reft, tokens, n_tokens.div_ceil(2), engine.info().n_ctx)?;
    let hyper = Hyper::with_rate(1e-3);
    trainer.step_with(engine.model(), &reft, &[&sequence], &hyper, &NoControl).await?.mean().await?;
    let step = trainer.last_plan().expect("a step was made");
    let matmuls = backend.prepare(step.plan().weights_only())?;
    let mut keeping = Trainer::new(backend, &reft)?;
    let mut kept = [sequence.clone()];
    keeping.keep_states(engine.model(), &reft, &mut kept, &NoControl).await?;
    keeping.step_with(engine.model(), &reft, &[&kept[0]], &hyper, &NoControl).await?.mean().await?;
    let kept = keeping.last_plan().expect("a step was made");
    let [ms, train_matmuls_ms, train_kept_ms] = best_ms([step, &matmuls, kept], 1).await?;
    let train = bench.phase(step, n_tokens, ms);
    gpu_bytes = backend.memory().max(gpu_bytes);

    let info = engine.info();
    Ok(Report {
        adapter: backend.name(),
        model: format!("{} {} {}", info.name, info.architecture, info.formats.join("+")),
        copy_gb_s: bench.copy_gb_s,
        fma_gflop_s: bench.fma_gflop_s,
        decode,
        prefill,
        train,
        train_matmuls_ms,
        train_kept_ms,
        decode_plain_ms: decodes[0],
        decode_edited_prompt_ms: decodes[1],
        decode_edited_ms: decodes[2],
        gpu_bytes,
    })
}

/// What the machine reaches at best.
struct Bench {
    copy_gb_s: f64,
    fma_gflop_s: f64,
}

impl Bench {
    fn phase(&self, prepared: &Prepared, tokens: usize, ms: f64) -> Phase {
        let (bytes, operations) = (prepared.plan().bytes(), prepared.plan().operations());
        Phase {
            tokens,
            ms,
            tokens_per_second: 1e3 * tokens as f64 / ms,
            dispatches: prepared.plan().steps().len(),
            bytes,
            operations,
            share_of_copy: bytes as f64 / ms / 1e6 / self.copy_gb_s,
            share_of_fma: operations as f64 / ms / 1e6 / self.fma_gflop_s,
        }
    }
}

/// Milliseconds of the best run of each plan; `runs` of one are submitted before one is waited for. The plans take turns, so
/// that what else the machine has to do falls on all of them alike.
async fn best_ms<const N: usize>(plans: [&Prepared; N], runs: usize) -> Result<[f64; N]> {
    let mut best = [f64::MAX; N];
    let begin = seconds();
    for round in 0..=ROUNDS {
        if round > 1 && seconds() - begin > LONG {
            break;
        }
        for (prepared, best) in plans.iter().zip(&mut best) {
            let last = prepared.plan().steps().last().expect("there are steps");
            let last = *last.args.last().expect("it writes something");
            let start = seconds();
            for _ in 0..runs {
                prepared.run()?;
            }
            prepared.tensor(last).sync().await?;
            if round > 0 {
                *best = best.min(1e3 * (seconds() - start) / runs as f64); // the first run compiles
            }
        }
    }
    Ok(best)
}

async fn copy_ceiling(backend: &Backend) -> Result<f64> {
    let shape = [4096, 4096];
    let mut plan = Plan::new("copy");
    let x = plan.kept("x", &shape);
    kernel::copy(&mut plan, "y", x);
    let [ms] = best_ms([&backend.prepare(plan)?], 1).await?;
    Ok((2 * 4 * shape[0] * shape[1]) as f64 / ms / 1e6)
}

async fn fma_ceiling(backend: &Backend) -> Result<f64> {
    let (n, rounds) = (1 << 20, 256);
    let mut plan = Plan::new("multiply-add");
    let y: Buf = plan.kept("y", &[n]);
    kernel::bench_fma(&mut plan, y, rounds);
    let [ms] = best_ms([&backend.prepare(plan)?], 1).await?;
    Ok((2 * FMAS_A_ROUND * rounds) as f64 * n as f64 / ms / 1e6)
}
