//! `webreft chat`: a conversation.

use super::output::{print, print_json, warn};
use super::persona::{PersonaOptions, SamplingOptions};
use super::{ModelOptions, load_reft};
use clap::Args;
use serde_json::json;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;
use std::rc::Rc;
use webreft::engine::{Engine, Input};
use webreft::generate::{GenerateOptions, Persona};
use webreft::token::Message;
use webreft::{Error, Result};

const HELP: &str = "\
/reft FILE      apply interventions; /reft off takes them away
/strength N     scale the edits: 1 as trained, 0 none, -1 the other way
/reset          begin a new conversation
/help           print this
/quit           end
";

#[derive(Args)]
pub(super) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// What the model is to be like: the system prompt.
    #[arg(long)]
    system: Option<String>,
    #[command(flatten)]
    persona: PersonaOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
}

pub(super) fn run(options: &Options, json: bool) -> Result<()> {
    let engine = options.model.load()?;
    if !engine.info().chat {
        return Err(Error::unsupported("the model has no chat template: use `webreft generate`"));
    }
    let persona = options.persona.load(&engine)?;
    let (strength, sampling) = (options.persona.strength, options.sampling.generation());
    let system = options.system.iter().map(|text| message("system", text)).collect::<Vec<_>>();
    let mut chat = Chat { engine, persona, strength, sampling, messages: system.clone(), system, json };
    chat.hold()
}

/// A conversation.
struct Chat {
    engine: Engine,
    persona: Option<Persona>,
    strength: f32,
    sampling: GenerateOptions,
    system: Vec<Message>,
    messages: Vec<Message>,
    json: bool,
}

impl Chat {
    /// Answers line by line until the input ends.
    fn hold(&mut self) -> Result<()> {
        let asks = io::stdin().is_terminal() && !self.json;
        if asks {
            print(&format!("{}. /help lists commands, Ctrl-D ends.\n", self.engine.info().name));
        }
        let mut lines = io::stdin().lock().lines();
        loop {
            if asks {
                print("> ");
            }
            let Some(line) = lines.next() else { return Ok(()) };
            let line = line.map_err(|error| Error::input(format!("standard input: {error}")))?;
            let done = match line.trim() {
                "" => continue,
                "/quit" => return Ok(()),
                command if command.starts_with('/') => self.obey(command),
                text => self.answer(text),
            };
            if let Err(error) = done {
                warn(error);
            }
        }
    }

    fn obey(&mut self, line: &str) -> Result<()> {
        let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (command, argument.trim()) {
            ("/help", _) => eprint!("{HELP}"),
            ("/reset", _) => self.messages.clone_from(&self.system),
            ("/reft", "") => return Err(Error::input("/reft: expected the name of a file, or off")),
            ("/reft", "off") => self.persona = None,
            ("/reft", path) => {
                let reft = load_reft(&self.engine, Path::new(path))?;
                self.persona = Some(Persona { strength: self.strength, ..Persona::new(Rc::new(reft)) });
            }
            ("/strength", number) => self.scale(number)?,
            (other, _) => {
                return Err(Error::input(format!(
                    "{other} is not known (known: /reft, /strength, /reset, /help, /quit)"
                )));
            }
        }
        Ok(())
    }

    fn scale(&mut self, number: &str) -> Result<()> {
        let strength = number.parse().ok().filter(|strength: &f32| strength.is_finite());
        self.strength =
            strength.ok_or_else(|| Error::input(format!("/strength {number:?}: expected a number")))?;
        if let Some(persona) = &mut self.persona {
            persona.strength = self.strength;
        }
        Ok(())
    }

    /// Prints the answer as it comes. What fails is no part of the conversation.
    fn answer(&mut self, text: &str) -> Result<()> {
        let before = self.messages.len();
        self.messages.push(message("user", text));
        match self.generate() {
            Ok(answer) => {
                self.messages.push(message("assistant", &answer));
                Ok(())
            }
            Err(error) => {
                self.messages.truncate(before);
                Err(error)
            }
        }
    }

    fn generate(&self) -> Result<String> {
        let personas = self.persona.iter().cloned().collect();
        let prompt = self.engine.prompt(&Input::Messages(self.messages.clone()), personas)?;
        let mut generation = self.engine.generate(&[prompt], &self.sampling)?;
        let mut answer = String::new();
        while let Some(pieces) = pollster::block_on(generation.next(self.engine.tokenizer()))? {
            for piece in pieces {
                if !self.json {
                    print(&piece.text);
                }
                answer += &piece.text;
            }
        }
        match self.json {
            true => print_json(&json!({ "role": "assistant", "content": answer })),
            false => print("\n"),
        }
        Ok(answer)
    }
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}
