//! The loop of generation: steps are submitted ahead of what is read, and text comes out as it is whole.

use super::decode::Decode;
use super::persona::Persona;
use super::prefill::prefill;
use super::sampler::Sampler;
use super::stop::StopFilter;
use crate::backend::{Backend, Control, NoControl, Prepared};
use crate::error::{Error, Result};
use crate::model::{Cache, Model};
use crate::reft::virtual_tokens;
use crate::tensor::Readback;
use crate::token::{TextStream, Tokenizer};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Steps submitted before the first of them is read: reading is never on the way of computing. No more submits are ever in flight.
const STEPS_AHEAD: usize = 2;

/// How to generate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GenerateOptions {
    /// Tokens of an answer at most.
    pub max_tokens: usize,
    /// What logits are divided by; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Only the k likeliest tokens stay; 0 keeps all.
    pub top_k: u32,
    /// Only the fewest tokens that have this probability together stay; 1 keeps all.
    pub top_p: f32,
    /// Only tokens with at least this share of the likeliest one's probability stay; 0 keeps all.
    pub min_p: f32,
    /// The same seed gives the same answer on the same device.
    pub seed: u32,
    /// Texts that end an answer; they are not part of it.
    pub stop: Vec<String>,
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            max_tokens: 128,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            stop: vec![],
        }
    }
}

impl GenerateOptions {
    fn check(&self) -> Result<()> {
        let ranges = [
            ("temperature", self.temperature, 0.0..=100.0),
            ("topP", self.top_p, f32::MIN_POSITIVE..=1.0),
            ("minP", self.min_p, 0.0..=1.0),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(Error::input(format!(
                    "{name} {value}: expected {} to {}",
                    range.start(),
                    range.end()
                )));
            }
        }
        match self.max_tokens {
            0 => Err(Error::input("maxTokens 0: expected at least 1")),
            _ => Ok(()),
        }
    }
}

/// What one sequence begins with, and who edits it.
#[derive(Clone)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Who edits it, in this order at one place; nobody for the model as it is.
    pub personas: Vec<Persona>,
}

impl Prompt {
    /// Virtual tokens before it: one persona's, for there is one place for them.
    pub(super) fn n_virtual(&self) -> usize {
        self.personas.iter().map(|persona| persona.reft.n_virtual()).max().unwrap_or(0)
    }

    /// How many of the virtual tokens have no position.
    pub(super) fn n_unplaced(&self) -> usize {
        self.personas.iter().map(|persona| persona.reft.n_unplaced()).max().unwrap_or(0)
    }

    fn check(&self) -> Result<()> {
        let n_virtual = self.personas.iter().filter(|persona| persona.reft.n_virtual() > 0).count();
        if n_virtual > 1 {
            return Err(Error::input(format!(
                "{n_virtual} personas with virtual tokens on one prompt: expected at most one"
            )));
        }
        self.personas.iter().try_for_each(|persona| persona.check(self.tokens.len()))
    }

    /// The same with the places of virtual tokens in front.
    fn with_virtual_tokens(&self) -> Prompt {
        let tokens = virtual_tokens(self.n_virtual()).chain(self.tokens.iter().copied());
        Prompt { tokens: tokens.collect(), personas: self.personas.clone() }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended it, or a stop string did.
    Stop,
    /// It has as many tokens as were asked for, or the context is full.
    Length,
}

/// One token of one answer, with the text that became whole by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// The answer it belongs to, counted from 0.
    pub sequence: usize,
    /// The token.
    pub id: u32,
    /// Whole characters; empty where a character or a stop string may still be incomplete.
    pub text: String,
    /// Set with the last token of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
}

/// A generation under way.
pub struct Generation {
    answers: Vec<Answer>,
    stops: Vec<u32>,
    sampler: Sampler,
    decode: Decode,
    prompts: Vec<Prompt>,
    cache: Cache,
    in_flight: VecDeque<Readback>,
    /// Tokens that are read and not given out yet.
    ready: Option<Vec<u32>>,
    /// The tokens read last.
    last: Vec<u32>,
    steps_ahead: usize,
    n_submitted: usize,
    n_most: usize,
}

/// One answer as it is read.
struct Answer {
    text: TextStream,
    filter: StopFilter,
    n_tokens: usize,
    n_most: usize,
    done: bool,
}

impl Generation {
    /// Reads the prompts. `control` hears how far that is, and may end it.
    ///
    /// # Errors
    /// `Input` if there is no prompt, one is empty or leaves no room in the context, or an option makes no sense; `Device` if
    /// the device is lost or full; `Aborted` if `control` ended it.
    pub async fn start(
        model: &Model,
        tokenizer: &Tokenizer,
        prompts: &[Prompt],
        options: &GenerateOptions,
        control: &dyn Control,
    ) -> Result<Generation> {
        options.check()?;
        prompts.iter().try_for_each(Prompt::check)?;
        let prompts: Vec<Prompt> = prompts.iter().map(Prompt::with_virtual_tokens).collect();
        let rooms = prompts.iter().map(|prompt| room(model, prompt)).collect::<Result<Vec<_>>>()?;
        let limits: Vec<usize> = rooms.iter().map(|room| options.max_tokens.min(*room)).collect();
        let ends = prompts.iter().zip(&limits).map(|(prompt, most)| prompt.tokens.len() + most);
        let n_rows = ends.max().ok_or_else(|| Error::input("prompts: expected at least one"))?;

        let cache = Cache::new(model, prompts.len(), n_rows)?;
        let mut sampler = Sampler::new(&model.backend, prompts.len(), options)?;
        let first = prefill(model, &prompts, &cache, &mut sampler, control).await?;
        let in_flight = VecDeque::from([first]);
        let positions = prompts.iter().map(|prompt| prompt.tokens.len() as u32).collect();
        let decode = Decode::new(model, &prompts, &cache, &sampler, positions)?;
        let answer = |n_most: &usize| Answer::new(*n_most, &options.stop);
        Ok(Generation {
            answers: limits.iter().map(answer).collect(),
            stops: tokenizer.ends().collect(),
            sampler,
            decode,
            prompts,
            cache,
            in_flight,
            ready: None,
            last: Vec::new(),
            steps_ahead: if matches!(model.backend, Backend::Cpu(_)) { 1 } else { STEPS_AHEAD },
            n_submitted: 1,
            n_most: limits.into_iter().max().unwrap_or(0),
        })
    }

    /// The next token of each answer that is not at its end; none when all are.
    ///
    /// # Errors
    /// `Device` if the device was lost.
    pub async fn next(&mut self, tokenizer: &Tokenizer) -> Result<Option<Vec<Piece>>> {
        self.next_with(tokenizer, &NoControl).await
    }

    /// As [`Generation::next`]; `control` may end the step. What is asked for next goes on where the step began.
    ///
    /// # Errors
    /// `Aborted` if `control` ended it, `Device` if the device was lost.
    pub async fn next_with(
        &mut self,
        tokenizer: &Tokenizer,
        control: &dyn Control,
    ) -> Result<Option<Vec<Piece>>> {
        if self.answers.iter().all(|answer| answer.done) {
            self.in_flight.clear();
            return Ok(None);
        }
        while self.in_flight.len() < self.steps_ahead && self.n_submitted < self.n_most {
            let tokens = self.decode.step(&mut self.sampler, control).await?;
            self.in_flight.push_back(tokens);
            self.n_submitted += 1;
        }
        let ids = match self.ready.take() {
            Some(ids) => ids,
            None => match self.in_flight.pop_front() {
                Some(readback) => readback.words().await?,
                None => return Ok(None),
            },
        };
        self.last.clone_from(&ids);
        let stops = &self.stops;
        let answers = self.answers.iter_mut().zip(ids).enumerate().filter(|(_, (answer, _))| !answer.done);
        let pieces = answers.map(|(sequence, (answer, id))| answer.take(sequence, id, tokenizer, stops));
        Ok(Some(pieces.collect()))
    }

    /// From the next token on, others edit a sequence: nothing is read or loaded again. Tokens that were chosen ahead and not given out
    /// are taken back. Edits of the prompt stay as they were made.
    ///
    /// # Errors
    /// `Input` for a sequence that there is not or personas that cannot be, `Device` if the device was lost.
    pub async fn switch(&mut self, model: &Model, sequence: usize, personas: Vec<Persona>) -> Result<()> {
        let n_sequences = self.prompts.len();
        let prompt = self.prompts.get_mut(sequence).ok_or_else(|| {
            Error::input(format!("sequence {sequence}: there are {n_sequences}, counted from 0"))
        })?;
        let n_prompt = prompt.tokens.len() - prompt.n_virtual();
        personas.iter().try_for_each(|persona| persona.check(n_prompt))?;
        prompt.personas = personas;
        if self.last.is_empty() {
            let Some(first) = self.in_flight.pop_front() else { return Ok(()) };
            self.last = first.words().await?;
            self.ready = Some(self.last.clone());
        }
        let n_back = self.in_flight.len();
        self.in_flight.clear();
        self.n_submitted -= n_back;
        self.sampler.take_back(n_back as u32, &self.last);
        let positions = self.decode.positions(n_back as u32);
        self.decode = Decode::new(model, &self.prompts, &self.cache, &self.sampler, positions)?;
        Ok(())
    }

    /// Answers under way or ended.
    pub fn n_answers(&self) -> usize {
        self.answers.len()
    }

    /// The plan of one step, for measuring.
    pub fn step_plan(&self) -> &Prepared {
        self.decode.prepared()
    }
}

/// Tokens that an answer to this prompt may have.
fn room(model: &Model, prompt: &Prompt) -> Result<usize> {
    match prompt.tokens.len() {
        0 => Err(Error::input("the prompt is empty")),
        n if n >= model.n_ctx => Err(Error::input(format!(
            "the prompt has {n} tokens: the context holds {}, the answer's too",
            model.n_ctx
        ))),
        n => Ok(model.n_ctx - n),
    }
}

impl Answer {
    fn new(n_most: usize, stop: &[String]) -> Answer {
        Answer {
            text: TextStream::default(),
            filter: StopFilter::new(stop),
            n_tokens: 0,
            n_most,
            done: false,
        }
    }

    fn take(&mut self, sequence: usize, id: u32, tokenizer: &Tokenizer, ends: &[u32]) -> Piece {
        self.n_tokens += 1;
        let ended = ends.contains(&id);
        let whole = if ended { String::new() } else { self.text.push(tokenizer.piece(id, false)) };
        let (mut text, stopped) = self.filter.push(&whole);
        let finish = match (ended || stopped, self.n_tokens == self.n_most) {
            (true, _) => Some(Finish::Stop),
            (false, true) => Some(Finish::Length),
            (false, false) => None,
        };
        if finish.is_some() && !stopped {
            let (rest, stopped) = self.filter.push(&self.text.finish());
            text += &rest;
            text += &if stopped { String::new() } else { self.filter.finish() };
        }
        self.done = finish.is_some();
        Piece { sequence, id, text, finish }
    }
}
