//! Who edits a sequence: interventions, how strongly, and in which dimensions.

use super::generation::Prompt;
use crate::backend::Prepared;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::reft::{CountedRow, EditBufs, Edits, Intervention, Reft, RowEdits};
use std::rc::Rc;

/// Interventions on one sequence.
#[derive(Clone)]
pub struct Persona {
    /// The interventions.
    pub reft: Rc<Reft>,
    /// What edits are multiplied by: 1 as trained, 0 not at all, −1 the other way.
    pub strength: f32,
    /// The dimensions of each subspace that are edited; all of them if none is given.
    pub subspace: Option<Vec<usize>>,
    /// For each intervention that reads hidden states of another run a row for each row that it edits; else empty.
    /// `Engine::sources` reads them off a text.
    pub sources: Vec<Vec<f32>>,
}

impl Persona {
    /// Interventions as they were trained.
    pub fn new(reft: Rc<Reft>) -> Persona {
        Persona { reft, strength: 1.0, subspace: None, sources: Vec::new() }
    }

    /// Fails on what the interventions cannot do to a prompt of `n_prompt` tokens.
    pub(super) fn check(&self, n_prompt: usize) -> Result<()> {
        for (number, it) in self.reft.interventions.iter().enumerate() {
            let n_dims = it.strengths();
            if let Some(dim) = self.subspace.iter().flatten().find(|dim| **dim >= n_dims) {
                return Err(Error::input(format!("subspace: dimension {dim} of {n_dims}, counted from 0")));
            }
            if it.kind.reads_source() && it.positions.beyond_prompt() {
                return Err(Error::input(format!(
                    "{} reads hidden states of another run: expected positions of the prompt, got {}",
                    it.kind.name, it.positions
                )));
            }
            let n_rows = it.rows(0, n_prompt, n_prompt).len();
            if it.kind.reads_source() && n_rows > 0 && self.sources.is_empty() {
                return Err(Error::input(format!(
                    "{} reads hidden states of another run: give its persona a source",
                    it.kind.name
                )));
            }
            it.check_source(n_rows, self.sources.get(number).map_or(0, Vec::len))?;
        }
        if !self.strength.is_finite() {
            return Err(Error::input(format!("strength {}: expected a number", self.strength)));
        }
        Ok(())
    }

    /// What one of the interventions does to these rows of the sequence.
    pub(super) fn edits(&self, number: usize, rows: Vec<CountedRow>) -> RowEdits {
        let it = &self.reft.interventions[number];
        let source = self.sources.get(number).filter(|_| !rows.is_empty()); // it is the prompt's, and read there
        let edits = RowEdits::new(it, rows, self.strength, self.subspace.as_deref());
        RowEdits { source: source.cloned().unwrap_or_default(), ..edits }
    }
}

/// The edits of a pass over some sequences, by Reft and intervention: each Reft once, whoever uses it.
#[derive(Default)]
pub(super) struct Cast {
    refts: Vec<(Rc<Reft>, Vec<RowEdits>)>,
}

impl Cast {
    /// Adds the edits of one sequence whose rows begin at `first` in the pass; `edit` tells what an intervention of a persona does.
    pub(super) fn add(
        &mut self,
        prompt: &Prompt,
        first: usize,
        edit: impl Fn(&Persona, usize, &Intervention) -> RowEdits,
    ) {
        for persona in &prompt.personas {
            let reft = &persona.reft;
            let at = self.refts.iter().position(|(known, _)| Rc::ptr_eq(known, reft)).unwrap_or_else(|| {
                self.refts.push((reft.clone(), vec![RowEdits::default(); reft.interventions.len()]));
                self.refts.len() - 1
            });
            for (number, (it, edits)) in reft.interventions.iter().zip(&mut self.refts[at].1).enumerate() {
                edits.extend(&edit(persona, number, it), first as u32);
            }
        }
    }

    /// The edits as hooks.
    pub(super) fn hooks(&self, plan: &mut Plan) -> Edits<'_> {
        let counts = |edits: &Vec<RowEdits>| edits.iter().map(|edits| edits.rows.len()).collect();
        let refts: Vec<_> = self.refts.iter().map(|(reft, edits)| (&**reft, counts(edits))).collect();
        Edits::new(plan, &refts)
    }

    /// Writes what is edited to the buffers of [`Cast::hooks`].
    pub(super) fn write(&self, prepared: &Prepared, bufs: &[EditBufs]) {
        for (bufs, edits) in bufs.iter().zip(self.refts.iter().flat_map(|(_, edits)| edits)) {
            bufs.write(prepared, edits);
        }
    }
}
