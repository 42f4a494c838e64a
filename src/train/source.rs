//! Counterfactual pairs: a sequence that is edited with hidden states of a run on another text, its source. With a trained rotation
//! this is distributed alignment search (Geiger et al. 2023, arXiv:2303.02536).
//!
//! The source is run as the bare model runs it, as in pyvene, so its states are the same in every step: they are collected once.

use super::batch::Sequence;
use crate::backend::{Control, NoControl};
use crate::error::Result;
use crate::model::Model;
use crate::reft::{Reft, Wanted, collect_with};

/// The text whose hidden states a sequence is edited with.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// What each intervention reads of it, in the order of the rows that it edits; nothing where it reads no other run.
    pub wanted: Vec<Wanted>,
}

impl Sequence {
    /// The same with hidden states of a run on `tokens`, all of which are a prompt, at the interventions' positions in it;
    /// [`Sequence::collect_source`] fills them in.
    ///
    /// # Errors
    /// As [`Reft::wanted`].
    pub fn with_source(self, reft: &Reft, tokens: Vec<u32>, n_ctx: usize) -> Result<Sequence> {
        let n_edited = self.edits.iter().map(|edits| edits.rows.len());
        let wanted = reft.wanted([tokens.len(), n_ctx], None, n_edited)?;
        Ok(Sequence { source: Some(Source { tokens, wanted }), ..self })
    }

    /// Runs the source, if there is one, and keeps what the interventions read of it.
    ///
    /// # Errors
    /// `Device` if the device was lost or finds no room.
    pub async fn collect_source(&mut self, model: &Model) -> Result<()> {
        self.collect_source_with(model, &NoControl).await
    }

    /// As [`Sequence::collect_source`]; `control` may end it.
    pub(super) async fn collect_source_with(&mut self, model: &Model, control: &dyn Control) -> Result<()> {
        let Some(Source { tokens, wanted }) = &self.source else { return Ok(()) };
        let states = collect_with(model, tokens, wanted, control).await?;
        self.edits.iter_mut().zip(states).for_each(|(edits, states)| edits.source = states);
        Ok(())
    }

    /// Whether there is a source that was not run.
    pub(super) fn awaits_source(&self) -> bool {
        let wanted = self.source.iter().flat_map(|source| &source.wanted);
        self.edits
            .iter()
            .zip(wanted)
            .any(|(edits, wanted)| !wanted.rows.is_empty() && edits.source.is_empty())
    }
}
