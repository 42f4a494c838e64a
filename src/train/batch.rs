//! Sequences of different lengths packed into one row of tokens, without padding.

use super::source::Source;
use super::states::Kept;
use crate::backend::Prepared;
use crate::error::{Error, Result};
use crate::kernel::NONE;
use crate::model::{Labels, Pass};
use crate::plan::Buf;
use crate::reft::{EditBufs, Intervention, Pooling, Reft, RowEdits, position, virtual_tokens};

/// One example as the model sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sequence {
    /// Virtual tokens, prompt and completion.
    pub tokens: Vec<u32>,
    /// How many are virtual.
    pub n_virtual: usize,
    /// How many of them have no position.
    pub n_unplaced: usize,
    /// What is to be foretold: the row whose logits foretell it, and the id.
    pub labels: Vec<(usize, u32)>,
    /// What each intervention edits.
    pub edits: Vec<RowEdits>,
    /// The text whose hidden states it is edited with, where there is one.
    pub source: Option<Source>,
    /// What the head is to say of it, where it is learned by a head.
    pub target: Target,
    /// The sum of its labels' losses without edits, in nats, where it is one of a pair of answers.
    pub reference: f32,
    /// What [`super::Trainer::keep_states`] keeps of it.
    pub kept: Option<Kept>,
}

/// What a head is to say of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Target {
    /// Nothing: it is learned by its labels, or by the other of its pair.
    #[default]
    None,
    /// One of the head's outputs.
    Class(u32),
    /// Any of the head's outputs, or none.
    Classes(Vec<u32>),
    /// The head's outputs themselves.
    Values(Vec<f32>),
}

impl Sequence {
    /// A prompt of `n_prompt` tokens with its completion, every token of which is a label.
    ///
    /// # Errors
    /// `Input` if prompt or completion is empty, or both together are longer than `n_ctx`.
    pub fn new(reft: &Reft, tokens: Vec<u32>, n_prompt: usize, n_ctx: usize) -> Result<Sequence> {
        let n_tokens = tokens.len();
        if n_prompt == 0 || n_prompt >= n_tokens {
            let which = if n_prompt == 0 { "prompt" } else { "completion" };
            return Err(Error::input(format!("the {which} is empty")));
        }
        let labels = (n_prompt..n_tokens).map(|at| (at - 1, tokens[at])).collect();
        Ok(Sequence::edited(reft, tokens, n_prompt, n_ctx)?.with_labels(labels))
    }

    /// The same with other labels, whose rows are counted from the prompt's first token.
    #[must_use]
    pub fn with_labels(self, labels: Vec<(usize, u32)>) -> Sequence {
        let labels = labels.into_iter().map(|(row, id)| (self.n_virtual + row, id)).collect();
        Sequence { labels, ..self }
    }

    /// The same without edits and virtual tokens.
    #[must_use]
    pub fn bare(&self) -> Sequence {
        let labels = self.labels.iter().map(|(row, id)| (row - self.n_virtual, *id)).collect();
        Sequence { tokens: self.tokens[self.n_virtual..].to_vec(), labels, ..Sequence::default() }
    }

    /// A text of which nothing is foretold; all of it is the prompt.
    ///
    /// # Errors
    /// `Input` if it is empty or longer than `n_ctx`.
    pub fn of_text(reft: &Reft, tokens: Vec<u32>, n_ctx: usize) -> Result<Sequence> {
        let n_prompt = tokens.len();
        match n_prompt {
            0 => Err(Error::input("the text is empty")),
            _ => Sequence::edited(reft, tokens, n_prompt, n_ctx),
        }
    }

    /// The first token that is edited or that a loss may read: what comes before is the bare model's.
    pub(super) fn first_used(&self, reft: &Reft) -> usize {
        let reads_all = reft.head.as_ref().is_some_and(|head| head.config.pooling == Pooling::Mean);
        if self.n_virtual > 0 || reads_all {
            return 0;
        }
        let edited = self.edits.iter().flat_map(|edits| edits.rows.iter().map(|[row, _]| *row as usize));
        let labelled = self.labels.iter().map(|(row, _)| *row);
        edited.chain(labelled).chain([self.tokens.len() - 1]).min().unwrap_or(0)
    }

    /// Tokens of the prompt; of a text of which nothing is foretold all of them.
    fn n_prompt(&self) -> usize {
        let n_read = self.labels.first().map_or(self.tokens.len(), |(row, _)| row + 1);
        n_read - self.n_virtual
    }

    fn edited(reft: &Reft, tokens: Vec<u32>, n_prompt: usize, n_ctx: usize) -> Result<Sequence> {
        let (n_virtual, n_unplaced, n_tokens) = (reft.n_virtual(), reft.n_unplaced(), tokens.len());
        if n_virtual + n_tokens > n_ctx {
            let n_tokens = n_virtual + n_tokens;
            return Err(Error::input(format!("{n_tokens} tokens: the context holds {n_ctx}")));
        }
        let edit = |it: &Intervention| RowEdits::new(it, it.rows(n_virtual, n_prompt, n_tokens), 1.0, None);
        let edits = reft.interventions.iter().map(edit).collect();
        let tokens = virtual_tokens(n_virtual).chain(tokens).collect();
        Ok(Sequence { tokens, n_virtual, n_unplaced, edits, ..Sequence::default() })
    }
}

/// Fails if some parameters would never move, as the interventions that have them edit no token of any sequence. Where all prompts have
/// one token, the intervention of its second end may rest: the one of its first learns.
///
/// # Errors
/// `Input` with the positions and the lengths of the prompts.
pub(crate) fn check_edited(reft: &Reft, sequences: &[Sequence]) -> Result<()> {
    let edits = |owner: usize, sequence: &Sequence| {
        let mut edits = reft.interventions.iter().zip(&sequence.edits);
        let n_prompt = sequence.n_prompt();
        edits.any(|(it, edits)| {
            it.owner == owner && (!edits.rows.is_empty() || it.positions.is_taken(n_prompt))
        })
    };
    let mut trained = reft.owners().filter(|(_, it)| it.kind.is_trained());
    let idle = trained.find(|(owner, _)| !sequences.iter().any(|sequence| edits(*owner, sequence)));
    let Some((_, it)) = idle else { return Ok(()) };
    let lengths = sequences.iter().map(Sequence::n_prompt);
    let (least, most) = (lengths.clone().min().unwrap_or(0), lengths.max().unwrap_or(0));
    let lengths = if least == most { most.to_string() } else { format!("{least} to {most}") };
    Err(Error::input(format!(
        "positions {:?} in layer {}: no token of any example is edited, so that nothing would be learned; the prompts have {lengths} tokens, counted from 0",
        it.positions.word(),
        it.place.layer
    )))
}

impl Target {
    /// As `n` words of a task's targets.
    pub(super) fn words(&self, n: usize) -> Vec<u32> {
        match self {
            Target::None => vec![0; n],
            Target::Class(class) => vec![*class],
            Target::Classes(classes) => {
                let holds = |class: usize| f32::from(classes.contains(&(class as u32)));
                (0..n).map(|class| holds(class).to_bits()).collect()
            }
            Target::Values(values) => values.iter().map(|value| value.to_bits()).collect(),
        }
    }
}

/// The sizes of a batch: batches of one shape share a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Tokens in all.
    pub n_tokens: usize,
    /// Labels in all.
    pub n_labels: usize,
    /// How many of them are virtual.
    pub n_virtual: usize,
    /// Edited rows of each intervention.
    pub n_edits: Vec<usize>,
    /// Whether each intervention's edits are as strong in all dimensions of its subspace.
    pub is_even: Vec<bool>,
    /// Sequences.
    pub n_sequences: usize,
}

/// Packed sequences, as words of the plan's inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Ids.
    pub tokens: Vec<u32>,
    /// Position within its sequence, and row of keys and values, of each token.
    pub place: Vec<[u32; 2]>,
    /// The rows that each token sees: first, end.
    pub span: Vec<[u32; 2]>,
    /// The rows that see each token: first, end.
    pub reach: Vec<[u32; 2]>,
    /// For each label, its row and id.
    pub labels: Vec<[u32; 2]>,
    /// What each intervention edits.
    pub edits: Vec<RowEdits>,
    /// The last row of each sequence.
    pub ends: Vec<u32>,
    /// The rows of each sequence that are not virtual tokens: first, end.
    pub texts: Vec<[u32; 2]>,
    /// The labels of each sequence: first, end.
    pub ranges: Vec<[u32; 2]>,
    /// What a head is to say of each sequence.
    pub targets: Vec<Target>,
    /// The sum of each sequence's losses without edits.
    pub references: Vec<f32>,
    /// The row of each token among the states that are kept, if those of all sequences are.
    pub(super) states: Option<Vec<u32>>,
}

impl Batch {
    /// Packs sequences, one after the other.
    pub fn pack(sequences: &[&Sequence]) -> Batch {
        let n_interventions = sequences.first().map_or(0, |sequence| sequence.edits.len());
        let kept = sequences.iter().all(|sequence| sequence.kept.is_some());
        let states = kept.then(Vec::new);
        let edits = vec![RowEdits::default(); n_interventions];
        let mut batch = Batch { edits, states, ..Batch::default() };
        sequences.iter().for_each(|sequence| batch.push(sequence));
        batch
    }

    fn push(&mut self, sequence: &Sequence) {
        let start = self.tokens.len() as u32;
        let kept = sequence.kept.filter(|_| self.states.is_some());
        let skipped = kept.map_or(0, |kept| kept.skipped);
        let tokens = &sequence.tokens[skipped..];
        let end = start + tokens.len() as u32;
        self.tokens.extend(tokens);
        // Where keys are kept, rows of keys are theirs.
        let first_key = kept.filter(|kept| kept.has_keys).map_or(start, |kept| kept.first as u32);
        for (at, row) in (skipped..).zip(start..end) {
            let key = first_key + at as u32;
            self.place.push([position(at, sequence.n_unplaced), key]);
            self.span.push([first_key, key + 1]);
            self.reach.push([row, end]);
        }
        let first_label = self.labels.len() as u32;
        let row_of = |row: usize| start + (row - skipped) as u32;
        self.labels.extend(sequence.labels.iter().map(|(row, id)| [row_of(*row), *id]));
        for (all, edits) in self.edits.iter_mut().zip(&sequence.edits) {
            all.extend(&edits.within(&(skipped..sequence.tokens.len())), start);
        }
        if let (Some(states), Some(kept)) = (&mut self.states, kept) {
            let first = (kept.first + skipped) as u32;
            states.extend(first..first + tokens.len() as u32);
        }
        self.ends.push(end - 1);
        self.texts.push([start + sequence.n_virtual as u32, end]);
        self.ranges.push([first_label, self.labels.len() as u32]);
        self.targets.push(sequence.target.clone());
        self.references.push(sequence.reference);
    }

    /// Its sizes.
    pub fn shape(&self) -> Shape {
        Shape {
            n_tokens: self.tokens.len(),
            n_virtual: self.tokens.len()
                - self.texts.iter().map(|[start, end]| (end - start) as usize).sum::<usize>(),
            n_labels: self.labels.len(),
            n_edits: self.edits.iter().map(|edits| edits.rows.len()).collect(),
            is_even: self.edits.iter().map(RowEdits::is_even).collect(),
            n_sequences: self.ends.len(),
        }
    }

    /// Writes the tokens to a pass, and what is edited to the buffers of the interventions.
    pub fn write(&self, prepared: &Prepared, pass: &Pass, edits: &[EditBufs]) {
        let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
        write(pass.tokens, &self.tokens);
        write(pass.place, self.place.as_flattened());
        write(pass.span, self.span.as_flattened());
        edits.iter().zip(&self.edits).for_each(|(bufs, edits)| bufs.write(prepared, edits));
    }

    /// Writes what is to be foretold, and where.
    pub(super) fn write_labels(&self, prepared: &Prepared, labels: &Labels) {
        let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
        write(labels.ids, &self.labels.iter().map(|label| label[1]).collect::<Vec<_>>());
        for group in &labels.groups {
            let n = prepared.tensor(group.rows).shape()[0];
            let part = &self.labels[group.first..group.first + n];
            let rows: Vec<u32> = part.iter().map(|label| label[0]).collect();
            write(group.rows, &rows);
            write(group.places, &self.places(&rows));
        }
    }

    /// For each row its place among `rows`, or [`NONE`]. No row is there twice.
    pub(super) fn places(&self, rows: &[u32]) -> Vec<u32> {
        let mut places = vec![NONE; self.tokens.len()];
        for (at, row) in rows.iter().enumerate() {
            places[*row as usize] = at as u32;
        }
        places
    }
}
