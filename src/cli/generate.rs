//! `webreft generate`: answers to prompts.

use super::{ModelOptions, load_reft, print_line, read_lines};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::rc::Rc;
use webreft::engine::{Engine, Input, Source};
use webreft::generate::{GenerateOptions, Persona, Prompt};
use webreft::reft::Reft;
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// A prompt.
    #[arg(long, conflicts_with = "prompts")]
    prompt: Option<String>,
    /// JSON lines with "prompt".
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// Interventions to apply: a file that `train` saved.
    #[arg(long)]
    reft: Option<PathBuf>,
    /// Interventions that need no training, as JSON: {"kind": "interchange", "layers": [4], "positions": "l1"}.
    #[arg(long, conflicts_with = "reft")]
    untrained: Option<String>,
    /// What the bare model reads for interventions that take hidden states of another run, such as interchange.
    #[arg(long)]
    source: Option<String>,
    /// The tokens of the source that are read; those of the interventions' own positions if not given.
    #[arg(long, requires = "source")]
    source_positions: Option<String>,
    /// Prompts answered at once.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 128)]
    max_tokens: usize,
    /// 0 always takes the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Only the k likeliest tokens; 0 keeps all.
    #[arg(long, default_value_t = 0)]
    top_k: u32,
    /// Only the likeliest tokens with this probability together.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Only tokens with this share of the likeliest one's probability.
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
    /// The same seed gives the same answers.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Text that ends an answer; may be given several times.
    #[arg(long)]
    stop: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    prompt: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    prompt: &'a str,
    text: String,
}

impl Options {
    fn prompts(&self) -> Result<Vec<String>> {
        match (&self.prompt, &self.prompts) {
            (Some(prompt), _) => Ok(vec![prompt.clone()]),
            (None, Some(path)) => Ok(read_lines::<Line>(path)?.into_iter().map(|line| line.prompt).collect()),
            (None, None) => Err(Error::input("give --prompt or --prompts")),
        }
    }

    fn reft(&self, engine: &Engine) -> Result<Option<Rc<Reft>>> {
        let reft = match (&self.reft, &self.untrained) {
            (Some(path), _) => load_reft(engine, path)?,
            (None, Some(json)) => {
                let config = serde_json::from_str(json)
                    .map_err(|error| Error::input(format!("--untrained: {error}")))?;
                engine.reft(&[config])?
            }
            (None, None) if self.source.is_some() => {
                return Err(Error::input("--source: give --reft or --untrained, which reads it"));
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Rc::new(reft)))
    }

    fn source(&self) -> Option<Source> {
        let input = Input::Text(self.source.clone()?);
        Some(Source { input, positions: self.source_positions.clone() })
    }

    fn generation(&self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            seed: self.seed,
            stop: self.stop.clone(),
        }
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let prompts = options.prompts()?;
    let engine = options.model.load()?;
    let reft = options.reft(&engine)?;
    for prompts in prompts.chunks(options.batch.max(1)) {
        let texts = pollster::block_on(answer(&engine, prompts, reft.as_ref(), options))?;
        for (prompt, text) in prompts.iter().zip(texts) {
            print_line(&Answer { prompt, text });
        }
    }
    Ok(())
}

async fn answer(
    engine: &Engine,
    texts: &[String],
    reft: Option<&Rc<Reft>>,
    options: &Options,
) -> Result<Vec<String>> {
    let source = options.source();
    let mut prompts = Vec::with_capacity(texts.len());
    for text in texts {
        prompts.push(prompt(engine, text, reft, source.as_ref()).await?);
    }
    let mut generation = engine.generate(&prompts, &options.generation())?;
    let mut texts = vec![String::new(); generation.n_answers()];
    while let Some(pieces) = generation.next(engine.tokenizer()).await? {
        pieces.iter().for_each(|piece| texts[piece.sequence] += &piece.text);
    }
    Ok(texts)
}

async fn prompt(
    engine: &Engine,
    text: &str,
    reft: Option<&Rc<Reft>>,
    source: Option<&Source>,
) -> Result<Prompt> {
    let mut prompt = engine.prompt(&Input::Text(text.to_owned()), vec![])?;
    if let Some(reft) = reft {
        let mut persona = Persona::new(reft.clone());
        if let Some(source) = source {
            persona.sources = engine.sources(reft, source, prompt.tokens.len()).await?;
        }
        prompt.personas.push(persona);
    }
    Ok(prompt)
}
