//! What can be learned: the kinds of example.

use crate::token::Message;
use serde::{Deserialize, Serialize};

/// What a generation begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// One thing said by the user; where the model has no chat template, the text itself.
    Text(String),
    /// A conversation, to be put through the model's chat template.
    Messages(Vec<Message>),
}

impl From<&str> for Input {
    fn from(text: &str) -> Input {
        Input::Text(text.to_owned())
    }
}

impl From<String> for Input {
    fn from(text: String) -> Input {
        Input::Text(text)
    }
}

/// Two texts that differ in what a vector is to steer.
#[derive(Clone, Debug, PartialEq)]
pub struct ContrastPair {
    /// What a positive strength leads to.
    pub positive: Input,
    /// What a negative strength leads to.
    pub negative: Input,
}

/// Something to be learned. What it is says what the task is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Example {
    /// An answer to a prompt.
    Answer(Answer),
    /// A conversation, of which the assistant's turns are learned.
    Conversation(Conversation),
    /// Of two answers, the better one.
    Preference(Preference),
    /// The class of a text, by a head.
    Labelled(Labelled),
    /// The classes of a text, none, one or several, by a head.
    Tagged(Tagged),
    /// Numbers that belong to a text, by a head.
    Scored(Scored),
    /// What is answered with hidden states of another text.
    Counterfactual(Counterfactual),
}

/// An answer to a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// What the user says, or the conversation up to the answer.
    pub prompt: Input,
    /// What the model is to answer.
    pub completion: String,
}

/// A conversation, of which the assistant's turns are learned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Conversation {
    /// Its turns.
    pub messages: Vec<Message>,
}

/// Of two answers, the better one: for a reward where the interventions have a head, else to make it likelier than without edits (DPO).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preference {
    /// What the user says, or the conversation up to the answers.
    pub prompt: Input,
    /// The better answer.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

/// A class of a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Class {
    /// Its number, from 0.
    Number(u32),
    /// Its name, where the head's classes have names.
    Name(String),
}

/// The class of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// Its class.
    pub label: Class,
}

/// The classes of a text: none, one or several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tagged {
    /// The text.
    pub text: String,
    /// Its classes.
    pub labels: Vec<Class>,
}

/// Numbers that belong to a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// The text.
    pub text: String,
    /// The numbers, one for each of the head's outputs.
    pub values: Vec<f32>,
}

/// What is answered to a text where the interventions put hidden states of another one: distributed alignment search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counterfactual {
    /// What the user says.
    pub base: String,
    /// What the user says in the other run, which is not edited.
    pub source: String,
    /// What the model is to answer to the base then, as far as it is learned: no end is put after it.
    pub expected: String,
}

impl Example {
    /// An answer to a prompt.
    pub fn answer(prompt: impl Into<String>, completion: impl Into<String>) -> Example {
        Example::Answer(Answer { prompt: Input::Text(prompt.into()), completion: completion.into() })
    }
}
