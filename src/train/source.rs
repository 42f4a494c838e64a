//! Counterfactual pairs: a sequence that is edited with hidden states of a run on another text, its source. With a trained rotation
//! this is distributed alignment search (Geiger et al. 2023, arXiv:2303.02536).
//!
//! The source is run as the bare model runs it, as in pyvene, so its states are the same in every step: they are collected once.

use super::batch::Sequence;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::reft::{Reft, collect};

/// The text whose hidden states a sequence is edited with.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// For each intervention the rows that it reads, in the order of the rows that it edits; none where it reads no other run.
    pub rows: Vec<Vec<u32>>,
}

impl Sequence {
    /// The same with hidden states of a run on `tokens`, all of which are a prompt, at the interventions' positions in it;
    /// [`Sequence::collect_source`] fills them in.
    ///
    /// # Errors
    /// `Input` if no intervention reads another run, the text is empty or longer than `n_ctx`, or an intervention edits more or fewer
    /// tokens than its positions name in the source.
    pub fn with_source(self, reft: &Reft, tokens: Vec<u32>, n_ctx: usize) -> Result<Sequence> {
        let n = tokens.len();
        if !reft.interventions.iter().any(|it| it.kind.reads_source()) {
            return Err(Error::input("a source, but no intervention reads one: use a kind like dii_lowrank"));
        }
        if n == 0 || n > n_ctx {
            return Err(Error::input(format!("source of {n} tokens: expected 1 to {n_ctx}")));
        }
        let mut rows = Vec::with_capacity(reft.interventions.len());
        for (it, edits) in reft.interventions.iter().zip(&self.edits) {
            let named = if it.kind.reads_source() { it.positions.rows(n, n) } else { Vec::new() };
            if it.kind.reads_source() && named.len() != edits.rows.len() {
                return Err(Error::input(format!(
                    "positions {}: {} tokens of the base and {} of the source; expected as many",
                    it.positions,
                    edits.rows.len(),
                    named.len()
                )));
            }
            rows.push(named.into_iter().map(|[row, _]| row).collect());
        }
        Ok(Sequence { source: Some(Source { tokens, rows }), ..self })
    }

    /// Runs the source, if there is one, and keeps what the interventions read of it.
    ///
    /// # Errors
    /// `Device` if the device was lost or finds no room.
    pub async fn collect_source(&mut self, model: &Model, reft: &Reft) -> Result<()> {
        let Some(Source { tokens, rows }) = &self.source else { return Ok(()) };
        for ((it, edits), rows) in reft.interventions.iter().zip(&mut self.edits).zip(rows) {
            if !rows.is_empty() {
                edits.source = collect(model, tokens, it.place, it.window(), rows).await?;
            }
        }
        Ok(())
    }

    /// Whether there is a source that was not run.
    pub(super) fn awaits_source(&self) -> bool {
        let rows = self.source.iter().flat_map(|source| &source.rows);
        self.edits.iter().zip(rows).any(|(edits, rows)| !rows.is_empty() && edits.source.is_empty())
    }
}
