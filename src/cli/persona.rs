//! Options of `generate` and `chat`: the interventions that apply, and how tokens are chosen.

use super::load_reft;
use clap::Args;
use std::path::PathBuf;
use std::rc::Rc;
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Persona};
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct PersonaOptions {
    /// Interventions to apply: a file that `train` saved.
    #[arg(long)]
    pub(super) reft: Option<PathBuf>,
    /// Interventions that need no training, as JSON: {"kind": "interchange", "layers": [4], "positions": "l1"}.
    #[arg(long, conflicts_with = "reft")]
    pub(super) untrained: Option<String>,
    /// Factor of the edits: 1 as trained, 0 none, -1 the other way.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    pub(super) strength: f32,
}

impl PersonaOptions {
    pub(super) fn load(&self, engine: &Engine) -> Result<Option<Persona>> {
        let reft = match (&self.reft, &self.untrained) {
            (Some(path), _) => load_reft(engine, path)?,
            (None, Some(json)) => {
                let config = serde_json::from_str(json)
                    .map_err(|error| Error::input(format!("--untrained: {error}")))?;
                engine.reft(&[config])?
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Persona { strength: self.strength, ..Persona::new(Rc::new(reft)) }))
    }
}

#[derive(Args)]
pub(super) struct SamplingOptions {
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

impl SamplingOptions {
    pub(super) fn generation(&self) -> GenerateOptions {
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
