//! `webreft generate`: answers to prompts.

use super::output::{print, print_json};
use super::persona::{PersonaOptions, SamplingOptions};
use super::{ModelOptions, read};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use webreft::data;
use webreft::engine::{Engine, Input, Source};
use webreft::generate::{Generation, Persona, Piece, Prompt};
use webreft::{Error, Result};

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// A prompt; may be given several times.
    #[arg(long, conflicts_with = "prompts", required_unless_present = "prompts")]
    prompt: Vec<String>,
    /// A file of prompts: JSON lines, a JSON array, CSV or TSV with the field `prompt`.
    #[arg(long)]
    prompts: Option<PathBuf>,
    #[command(flatten)]
    persona: PersonaOptions,
    /// Text that the bare model reads for interventions that take hidden states of another run, such as interchange.
    #[arg(long)]
    source: Option<String>,
    /// Tokens of the source that are read; the interventions' own positions by default.
    #[arg(long, requires = "source")]
    source_positions: Option<String>,
    /// Prompts answered at once.
    #[arg(long, default_value_t = 8)]
    batch: usize,
    #[command(flatten)]
    sampling: SamplingOptions,
}

impl Options {
    fn prompts(&self) -> Result<Vec<Input>> {
        match &self.prompts {
            Some(path) => data::read_prompts(&read(path)?).map_err(|error| error.at(path.display())),
            None => Ok(self.prompt.iter().map(|prompt| prompt.as_str().into()).collect()),
        }
    }

    fn source(&self) -> Option<Source> {
        let input = Input::Text(self.source.clone()?);
        Some(Source { input, positions: self.source_positions.clone() })
    }
}

pub(super) fn run(options: &Options, json: bool) -> Result<()> {
    let prompts = options.prompts()?;
    let engine = options.model.load()?;
    let persona = options.persona.load(&engine)?;
    if persona.is_none() && options.source.is_some() {
        return Err(Error::input("--source: expected --reft or --untrained, which reads it"));
    }
    let labelled = prompts.len() > 1;
    for prompts in prompts.chunks(options.batch.max(1)) {
        let generation = pollster::block_on(begin(&engine, prompts, persona.as_ref(), options))?;
        match json {
            true => print_lines(&engine, prompts, generation)?,
            false => print_texts(&engine, prompts, generation, labelled)?,
        }
    }
    Ok(())
}

async fn begin(
    engine: &Engine,
    inputs: &[Input],
    persona: Option<&Persona>,
    options: &Options,
) -> Result<Generation> {
    let source = options.source();
    let mut prompts = Vec::with_capacity(inputs.len());
    for input in inputs {
        prompts.push(prompt(engine, input, persona, source.as_ref()).await?);
    }
    engine.generate(&prompts, &options.sampling.generation())
}

async fn prompt(
    engine: &Engine,
    input: &Input,
    persona: Option<&Persona>,
    source: Option<&Source>,
) -> Result<Prompt> {
    let mut prompt = engine.prompt(input, vec![])?;
    if let Some(persona) = persona {
        let mut persona = persona.clone();
        if let Some(source) = source {
            persona.sources = engine.sources(&persona.reft, source, prompt.tokens.len()).await?;
        }
        prompt.personas.push(persona);
    }
    Ok(prompt)
}

#[derive(Serialize)]
struct Line<'a> {
    prompt: &'a Input,
    text: String,
}

fn print_lines(engine: &Engine, prompts: &[Input], mut generation: Generation) -> Result<()> {
    let mut texts = vec![String::new(); prompts.len()];
    while let Some(pieces) = pollster::block_on(generation.next(engine.tokenizer()))? {
        pieces.iter().for_each(|piece| texts[piece.sequence] += &piece.text);
    }
    prompts.iter().zip(texts).for_each(|(prompt, text)| print_json(&Line { prompt, text }));
    Ok(())
}

fn print_texts(engine: &Engine, prompts: &[Input], mut generation: Generation, labelled: bool) -> Result<()> {
    let mut answers =
        Answers { prompts, labelled, texts: vec![String::new(); prompts.len()], ..Answers::default() };
    answers.whole = vec![false; prompts.len()];
    while let Some(pieces) = pollster::block_on(generation.next(engine.tokenizer()))? {
        pieces.iter().for_each(|piece| answers.take(piece));
    }
    Ok(())
}

/// Answers printed one under the other: one as it comes, the others when it is whole.
#[derive(Default)]
struct Answers<'a> {
    prompts: &'a [Input],
    labelled: bool,
    /// Text of each answer that is not printed.
    texts: Vec<String>,
    whole: Vec<bool>,
    /// The answer that is printed as it comes, and whether its label is printed.
    now: usize,
    begun: bool,
}

impl Answers<'_> {
    fn take(&mut self, piece: &Piece) {
        self.texts[piece.sequence] += &piece.text;
        self.whole[piece.sequence] |= piece.finish.is_some();
        while self.now < self.texts.len() {
            if self.labelled && !self.begun {
                print(&format!("[{}]\n", label(&self.prompts[self.now])));
            }
            self.begun = true;
            print(&std::mem::take(&mut self.texts[self.now]));
            if !self.whole[self.now] {
                return;
            }
            print(if self.labelled { "\n\n" } else { "\n" });
            (self.now, self.begun) = (self.now + 1, false);
        }
    }
}

/// The prompt, or what was said last.
fn label(prompt: &Input) -> &str {
    match prompt {
        Input::Text(text) => text,
        Input::Messages(messages) => messages.last().map_or("", |message| &message.content),
    }
}
