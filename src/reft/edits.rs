//! Interventions as hooks of a pass: the edits on the way up, and on the way down their gradients.

use super::{Arithmetic, CountedRow, Dropped, Intervention, Reft};
use crate::backend::Prepared;
use crate::kernel::{self, Detected, Drops, EditGradient, EditInputs, EditTrace, Learned, ScaleInputs};
use crate::model::{Hooks, Input, Inputs, Place};
use crate::plan::{Buf, Plan};
use crate::tensor::Tensor;
use std::ops::Range;

/// The rows that one intervention edits in a pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowEdits {
    /// Row, and how often it counts in gradients, or which virtual token it is; no row twice.
    pub rows: Vec<CountedRow>,
    /// How much of the edit is made: for each row, each dimension of the subspace.
    pub strength: Vec<f32>,
    /// For each row a hidden state of another run [P, D], where the kind reads one.
    pub source: Vec<f32>,
    /// For each sequence of a batch the first and the end of its rows.
    pub spans: Vec<[u32; 2]>,
}

impl RowEdits {
    /// Edits of these rows, as strong as asked for; in some dimensions of the subspace only, where `subspace` lists them.
    pub fn new(
        intervention: &Intervention,
        rows: Vec<CountedRow>,
        strength: f32,
        subspace: Option<&[usize]>,
    ) -> RowEdits {
        let full = strength * intervention.scale;
        let of_row: Vec<f32> = (0..intervention.strengths())
            .map(|j| if subspace.is_none_or(|listed| listed.contains(&j)) { full } else { 0.0 })
            .collect();
        RowEdits { strength: of_row.repeat(rows.len()), rows, ..RowEdits::default() }
    }

    /// Whether each row's edit is as strong in all dimensions of the subspace.
    pub fn is_even(&self) -> bool {
        let width = self.strength.len() / self.rows.len().max(1);
        self.strength.chunks_exact(width.max(1)).all(|row| row.iter().all(|m| *m == row[0]))
    }

    /// Those whose rows lie in a stretch of the sequence, counted from its start.
    #[must_use]
    pub fn within(&self, stretch: &Range<usize>) -> RowEdits {
        let n_rows = self.rows.len().max(1);
        let widths = [self.strength.len() / n_rows, self.source.len() / n_rows];
        let mut within = RowEdits::default();
        for (number, [row, count]) in self.rows.iter().enumerate() {
            if stretch.contains(&(*row as usize)) {
                within.rows.push([row - stretch.start as u32, *count]);
                within.strength.extend(&self.strength[number * widths[0]..][..widths[0]]);
                within.source.extend(&self.source[number * widths[1]..][..widths[1]]);
            }
        }
        within
    }

    /// Appends those of another sequence, whose rows begin at `first` in the pass.
    pub fn extend(&mut self, other: &RowEdits, first: u32) {
        let begin = self.rows.len() as u32;
        self.rows.extend(other.rows.iter().map(|[row, count]| [first + row, *count]));
        self.spans.push([begin, self.rows.len() as u32]);
        self.strength.extend(&other.strength);
        self.source.extend(&other.source);
    }
}

/// Where gradients go, laid out as `theta` and `rot`.
#[derive(Clone)]
pub struct Gradients {
    /// Of the trained parameters.
    pub theta: Tensor,
    /// Of the rotations.
    pub rot: Tensor,
}

/// The buffers of what one intervention edits in a pass.
#[derive(Clone, Copy)]
pub struct EditBufs {
    rows: Buf,
    strength: Buf,
    source: Option<Buf>,
    /// Where edits are as strong as what is detected in their sequences.
    spans: Option<Buf>,
}

impl EditBufs {
    /// Writes what is edited.
    pub fn write(&self, prepared: &Prepared, edits: &RowEdits) {
        let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
        write(self.rows, edits.rows.as_flattened());
        write(self.strength, bytemuck::cast_slice(&edits.strength));
        if let Some(source) = self.source {
            write(source, bytemuck::cast_slice(&edits.source));
        }
        if let Some(spans) = self.spans {
            write(spans, edits.spans.as_flattened());
        }
    }
}

/// The interventions of some [`Reft`]s, on one pass.
pub struct Edits<'a> {
    sites: Vec<Site<'a>>,
    gradients: Option<Gradients>,
    /// What a step drops, in training.
    dropout: Option<Tensor>,
    /// The interventions whose parameters have gradients in this pass already: sharers add to them.
    begun: Vec<usize>,
}

struct Site<'a> {
    reft: &'a Reft,
    number: usize,
    bufs: EditBufs,
    made: Made,
}

/// What an edit leaves for its gradient.
enum Made {
    Nothing,
    LowRank {
        inputs: EditInputs,
        trace: EditTrace,
        gradient: Option<EditGradient>,
        /// The scaling by magnitudes that comes after it, where they are learned.
        scaled: Option<Scaled>,
        /// What its strength follows from, where it detects.
        detected: Option<Detected>,
    },
    Scaled(Scaled),
}

/// What a scaling leaves for its gradient.
struct Scaled {
    inputs: ScaleInputs,
    /// The rows as they were.
    before: Buf,
}

impl<'a> Edits<'a> {
    /// Buffers for the rows that each intervention of each Reft edits: so many as `counts` says.
    pub fn new(plan: &mut Plan, refts: &[(&'a Reft, Vec<usize>)]) -> Edits<'a> {
        let mut sites = Vec::new();
        for (reft, counts) in refts {
            for (number, (it, count)) in reft.interventions.iter().zip(counts).enumerate() {
                let bufs = EditBufs {
                    rows: plan.kept("edits", &[*count, 2]),
                    strength: plan.kept("strength", &[*count, it.strengths()]),
                    source: it.kind.reads_source().then(|| plan.kept("source", &[*count, it.sizes.n_embd])),
                    spans: None,
                };
                sites.push(Site { reft, number, bufs, made: Made::Nothing });
            }
        }
        Edits { sites, gradients: None, dropout: None, begun: Vec::new() }
    }

    /// As in training on so many sequences: kinds that detect are as strong as what they detect in each.
    #[must_use]
    pub fn detecting(mut self, plan: &mut Plan, n_sequences: usize) -> Edits<'a> {
        for site in self.sites.iter_mut().filter(|site| site.intervention().kind.detects()) {
            site.bufs.spans = Some(plan.kept("spans", &[n_sequences, 2]));
        }
        self
    }

    /// Where [`Hooks::edit_backward`] leaves the gradients of the parameters.
    #[must_use]
    pub fn with_gradients(mut self, gradients: &Gradients) -> Edits<'a> {
        self.gradients = Some(gradients.clone());
        self
    }

    /// Drops numbers as the words in this tensor say: of the edited rows (pyreft), or of the input that an edit reads (peft's LoRA).
    #[must_use]
    pub fn with_dropout(mut self, settings: &Tensor) -> Edits<'a> {
        self.dropout = Some(settings.clone());
        self
    }

    /// The buffers to be written, in order of Refts and their interventions.
    pub fn bufs(&self) -> Vec<EditBufs> {
        self.sites.iter().map(|site| site.bufs).collect()
    }
}

impl<'a> Site<'a> {
    fn intervention(&self) -> &'a Intervention {
        &self.reft.interventions[self.number]
    }

    fn place(&self) -> Place {
        self.intervention().place
    }

    fn theta(&self, plan: &mut Plan) -> Buf {
        plan.tensor(&self.reft.theta)
    }

    /// What it drops, if that is of this part.
    fn drops(&self, plan: &mut Plan, part: Dropped, dropout: Option<&Tensor>) -> Option<Drops> {
        let settings = dropout.filter(|_| self.intervention().drops() == Some(part))?;
        Some(Drops { settings: plan.tensor(settings), number: self.number })
    }

    fn edit(&mut self, plan: &mut Plan, h: Buf, inputs: Inputs, dropout: Option<&Tensor>) {
        let EditBufs { rows, strength, source, spans } = self.bufs;
        self.made = match &self.intervention().arithmetic {
            Arithmetic::LowRank { edit, boundary, magnitude, .. } => {
                let (theta, rot) = (self.theta(plan), plan.tensor(&self.reft.rot));
                let whole = ScaleInputs { rows, strength, theta: rot, bias: inputs.bias };
                let detected =
                    spans.map(|spans| kernel::detect(plan, edit, [rows, spans, strength, theta], h));
                let strength = match (boundary, magnitude, &detected) {
                    (Some(at), ..) => kernel::boundary(plan, *at, strength, theta),
                    (.., Some(detected)) => detected.masked,
                    (_, Some(it), _) => {
                        let base = plan.tensor(&self.reft.base);
                        kernel::spread(plan, it, edit.rank, strength, base)
                    }
                    _ => strength,
                };
                let mut source = match edit.learned {
                    Learned::Input => inputs.matrix,
                    Learned::SublayerInput => inputs.sublayer,
                    _ => source,
                };
                if let (Some(drops), Some(x)) = (self.drops(plan, Dropped::Input, dropout), &mut source) {
                    *x = kernel::copy(plan, "dropped", *x); // others read it whole
                    kernel::dropout(plan, drops, rows, *x, [0, edit.n_in]);
                }
                let inputs = EditInputs { rows, strength, theta, rot, source };
                let trace = kernel::lowrank_edit(plan, edit, &inputs, h);
                if let Some(drops) = self.drops(plan, Dropped::Row, dropout) {
                    kernel::dropout(plan, drops, rows, h, [edit.first, edit.n_embd]);
                }
                let scaled = magnitude.map(|it| {
                    let before = kernel::scale_rows(plan, &it.scaling(edit), &whole, h);
                    Scaled { inputs: whole, before }
                });
                Made::LowRank { inputs, trace, gradient: None, scaled, detected }
            }
            Arithmetic::Mix(mix) => {
                kernel::mix_rows(plan, mix, [rows, strength], source, h);
                Made::Nothing
            }
            Arithmetic::Scale(scale) => {
                let inputs = ScaleInputs { rows, strength, theta: self.theta(plan), bias: None };
                let before = kernel::scale_rows(plan, scale, &inputs, h);
                Made::Scaled(Scaled { inputs, before })
            }
            Arithmetic::Rows(it) => {
                let learned = plan.tensor(if it.encoded { &self.reft.rot } else { &self.reft.theta });
                kernel::learned_rows(plan, it, [rows, strength, learned], h);
                Made::Nothing
            }
        };
    }

    fn edit_backward(
        &mut self,
        plan: &mut Plan,
        dh: Buf,
        gradients: &Gradients,
        dropout: Option<&Tensor>,
        onto: bool,
    ) {
        let EditBufs { rows, strength, .. } = self.bufs;
        let theta = self.theta(plan);
        let [grad, drot] = [&gradients.theta, &gradients.rot].map(|tensor| plan.tensor(tensor));
        let drops = self.drops(plan, Dropped::Row, dropout);
        match (&self.intervention().arithmetic, &mut self.made) {
            (
                Arithmetic::LowRank { edit, boundary, magnitude, detection, .. },
                Made::LowRank { inputs, trace, gradient, scaled, detected },
            ) => {
                if let Some((it, Scaled { inputs, before })) = magnitude.as_ref().zip(scaled.as_ref()) {
                    let of = it.scaling(edit);
                    kernel::scale_rows_backward(plan, &of, inputs, *before, [dh, drot], onto);
                }
                if let Some(drops) = drops {
                    kernel::dropout(plan, drops, rows, dh, [edit.first, edit.n_embd]);
                }
                let made = kernel::lowrank_edit_backward(plan, edit, inputs, trace, dh, [grad, drot], onto);
                if let Some(at) = boundary {
                    let bufs = [rows, inputs.strength, theta, grad];
                    kernel::boundary_backward(plan, *at, bufs, trace, made, onto);
                }
                if let Some((at, detected)) = detection.zip(detected.as_ref()) {
                    let (of, to) = ([rows, theta], [dh, grad, drot]);
                    kernel::detect_backward(plan, (edit, at), of, (trace, made), detected, to);
                }
                *gradient = Some(made);
            }
            (Arithmetic::Mix(mix), _) => kernel::mix_rows_backward(plan, mix, [rows, strength], dh),
            (Arithmetic::Scale(scale), Made::Scaled(Scaled { inputs, before })) => {
                kernel::scale_rows_backward(plan, scale, inputs, *before, [dh, grad], onto);
            }
            (Arithmetic::Rows(it), _) => {
                let to = if it.encoded { drot } else { grad };
                kernel::learned_rows_backward(plan, it, [rows, strength], [dh, to]);
            }
            _ => unreachable!("the edit stands in the forward pass"),
        }
    }

    /// Adds to the gradient of an input what comes back from the edit, if that is what it reads.
    fn input_backward(&self, plan: &mut Plan, input: Input, dinput: Buf, dropout: Option<&Tensor>) {
        let Made::LowRank { inputs, gradient: Some(gradient), .. } = &self.made else { return };
        let edit = self.intervention().edit().expect("a low-rank edit");
        let reads = match edit.learned {
            Learned::Input => Some(Input::Matrix),
            Learned::SublayerInput => Some(Input::Sublayer),
            _ => None,
        };
        if reads == Some(input) {
            let drops = self.drops(plan, Dropped::Input, dropout);
            kernel::lowrank_edit_input(plan, edit, inputs, *gradient, drops, dinput);
        }
    }
}

impl Hooks for Edits<'_> {
    fn stands_at(&self, place: Place) -> bool {
        self.sites.iter().any(|site| site.place() == place)
    }

    fn lowest(&self) -> Option<Place> {
        let trained = self.sites.iter().filter(|site| site.intervention().kind.is_trained());
        trained.map(Site::place).min()
    }

    fn edit(&mut self, plan: &mut Plan, place: Place, h: Buf, inputs: Inputs) {
        for site in self.sites.iter_mut().filter(|site| site.place() == place) {
            site.edit(plan, h, inputs, self.dropout.as_ref());
        }
    }

    fn edit_backward(&mut self, plan: &mut Plan, place: Place, dh: Buf) {
        let gradients = self.gradients.as_ref().expect("a place for gradients");
        for site in self.sites.iter_mut().rev().filter(|site| site.place() == place) {
            let owner = site.intervention().owner;
            let onto = self.begun.contains(&owner);
            site.edit_backward(plan, dh, gradients, self.dropout.as_ref(), onto);
            self.begun.push(owner);
        }
    }

    fn input_backward(&mut self, plan: &mut Plan, place: Place, input: Input, dinput: Buf) {
        for site in self.sites.iter().filter(|site| site.place() == place) {
            site.input_backward(plan, input, dinput, self.dropout.as_ref());
        }
    }
}
