//! Hidden states of a text as they are: pyvene's `CollectIntervention`.

use super::{Engine, Input};
use crate::backend::Control;
use crate::error::{Error, Result};
use crate::reft::{Components, Intervention, Layers, Reft, ReftConfig, Wanted, collect_with};
use serde::Deserialize;

/// Where hidden states are read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StatesAt {
    /// The layers, counted from 0, or `all`.
    pub layers: Layers,
    /// The parts of a layer, as interventions have them.
    pub component: Components,
    /// The heads, where the component is one of heads.
    pub heads: Vec<usize>,
    /// The tokens, in the words of [`Positions`](crate::reft::Positions): all if not given.
    pub positions: String,
}

impl Default for StatesAt {
    fn default() -> StatesAt {
        let ReftConfig { layers, component, .. } = ReftConfig::default();
        StatesAt { layers, component, heads: Vec::new(), positions: "all".to_owned() }
    }
}

/// Hidden states at one place.
#[derive(Clone, Debug, PartialEq)]
pub struct HiddenStates {
    /// The layer, counted from 0.
    pub layer: usize,
    /// The part of it, by pyvene's name.
    pub component: &'static str,
    /// The head, where it is one.
    pub head: Option<usize>,
    /// The tokens, counted from 0: N of them.
    pub positions: Vec<u32>,
    /// Numbers of each token: W.
    pub width: usize,
    /// The states [N, W].
    pub values: Vec<f32>,
}

impl Engine {
    /// The hidden states of a text at some places, from one run of the bare model.
    ///
    /// # Errors
    /// `Input` if there is no such place, a text has no token at the positions, or it's empty or longer than the context; as
    /// [`Engine::prompt`]; `Device` if the device was lost or is full, `Aborted` if `control` ended the run.
    pub async fn hidden_states(
        &self,
        input: &Input,
        places: &[StatesAt],
        control: &dyn Control,
    ) -> Result<Vec<HiddenStates>> {
        let refts = places.iter().map(|at| self.readers(at)).collect::<Result<Vec<_>>>()?;
        let readers: Vec<&Intervention> = refts.iter().flat_map(|reft| &reft.interventions).collect();
        let tokens = self.tokens_of(input)?;
        let wanted = readers.iter().map(|it| wanted(it, tokens.len())).collect::<Result<Vec<_>>>()?;
        let states = collect_with(self.model(), &tokens, &wanted, control).await?;
        let read = readers.into_iter().zip(wanted).zip(states);
        Ok(read
            .map(|((it, Wanted { place, window, rows }), values)| HiddenStates {
                layer: place.layer,
                component: place.component.name(),
                head: it.head,
                positions: rows,
                width: window.width,
                values,
            })
            .collect())
    }

    /// An input's tokens, if the context holds them. A conversation that ends with the assistant's turn is not asked to go on.
    pub(super) fn tokens_of(&self, input: &Input) -> Result<Vec<u32>> {
        let tokens = self.encode(&self.render_as(input, !ends_with_assistant(input), &self.chat)?);
        let n_ctx = self.model().n_ctx;
        match tokens.len() {
            0 => Err(Error::input("the text is empty")),
            n if n > n_ctx => Err(Error::input(format!("{n} tokens: the context holds {n_ctx}"))),
            _ => Ok(tokens),
        }
    }

    /// Interventions that stand where states are read; they are never applied.
    pub(super) fn readers(&self, at: &StatesAt) -> Result<Reft> {
        let StatesAt { layers, component, heads, positions } = at.clone();
        let kind = "zero".to_owned();
        self.reft(&[ReftConfig {
            kind,
            layers,
            component,
            heads,
            positions,
            tied: true,
            ..ReftConfig::default()
        }])
    }
}

/// What an intervention would edit of a text.
pub(super) fn wanted(it: &Intervention, n_tokens: usize) -> Result<Wanted> {
    let rows: Vec<u32> = it.rows(0, n_tokens, n_tokens).into_iter().map(|[row, _]| row).collect();
    match rows.is_empty() {
        false => Ok(Wanted { place: it.place, window: it.window(), rows }),
        true => Err(Error::input(format!(
            "positions {:?}: none of the text's {n_tokens} tokens, which are counted from 0",
            it.positions.word()
        ))),
    }
}

fn ends_with_assistant(input: &Input) -> bool {
    let Input::Messages(messages) = input else { return false };
    messages.last().is_some_and(|message| message.role == "assistant")
}
