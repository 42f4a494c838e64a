//! What is learned: the next tokens, a class, classes of which several hold, a number, a reward, or which of two answers is better.

use super::batch::{Batch, Sequence, Shape, Target};
use super::pool::Pool;
use super::reps;
use crate::backend::Prepared;
use crate::data::Problems;
use crate::error::{Error, Result};
use crate::kernel;
use crate::model::{Labels, Model};
use crate::plan::{Buf, Plan};
use crate::reft::{Gradients, Head, Reft};

/// What is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Task {
    /// The labelled tokens: cross-entropy, in nats per token.
    #[default]
    Language,
    /// A class, by a head: cross-entropy.
    Classification,
    /// Classes of which any may hold, by a head: binary cross-entropy, the mean over the classes.
    MultiLabel,
    /// Numbers, by a head: mean squared error.
    Regression,
    /// A score, by a head with one output, which is to be higher for the first of two sequences.
    Reward,
    /// To make the first of two answers likelier and the second less likely than without edits (DPO, arXiv:2305.18290).
    Preference {
        /// How fast a difference counts.
        beta: f32,
    },
    /// To prefer the first of two answers where edits are as strong as asked for, and the second where they are turned around (RePS,
    /// arXiv:2505.20809). See [`reps`](super::reps).
    Steering,
}

impl Task {
    /// Fails unless the sequences have what the task wants; sources may still be awaited.
    ///
    /// # Errors
    /// `Input` that names those that have not.
    pub fn check(self, reft: &Reft, sequences: &[&Sequence]) -> Result<()> {
        let pairs = self.sequences_an_example() > 1;
        let place = |sequence: usize| format!("example {}", 1 + sequence / self.sequences_an_example());
        let mut problems = Problems::default();
        let mut wrong = |number: usize, text: String| problems.add(Error::input(text).at(place(number)));
        let outputs = reft.head.as_ref().map(|head| head.dense.n_out);
        let by_tokens = matches!(self, Task::Language | Task::Preference { .. } | Task::Steering);
        if !by_tokens && outputs.is_none() {
            return Err(Error::input("the task wants a head: give the interventions one"));
        }
        if pairs && !sequences.len().is_multiple_of(2) {
            return Err(Error::input(format!("{} sequences: expected pairs", sequences.len())));
        }
        for (number, sequence) in sequences.iter().enumerate() {
            let edits = sequence.edits.iter().filter(|_| !sequence.awaits_source());
            for (it, edits) in reft.interventions.iter().zip(edits) {
                let checked = it.check_source(edits.rows.len(), edits.source.len());
                checked.map_err(|error| error.at(place(number)))?;
            }
            match (self, &sequence.target, outputs) {
                (Task::Preference { .. } | Task::Steering, ..) if sequence.labels.is_empty() => {
                    wrong(number, "has no labelled token".to_owned());
                }
                (Task::Classification, Target::Class(class), Some(n)) if (*class as usize) < n => {}
                (Task::MultiLabel, Target::Classes(classes), Some(n))
                    if classes.iter().all(|class| (*class as usize) < n) => {}
                (Task::Regression, Target::Values(values), Some(n)) if values.len() == n => {}
                (Task::Classification | Task::MultiLabel | Task::Regression, target, n) => {
                    wrong(number, format!("target {target:?} for a head of {} outputs", n.unwrap_or(0)));
                }
                (Task::Reward, _, Some(n)) if n != 1 => {
                    return Err(Error::input(format!("a reward wants a head of 1 output, not {n}")));
                }
                _ => {}
            }
        }
        problems.check()?;
        if by_tokens && sequences.iter().all(|sequence| sequence.labels.is_empty()) {
            return Err(Error::input("the batch has no labelled token"));
        }
        Ok(())
    }

    /// How many sequences an example has, one after the other.
    pub(super) fn sequences_an_example(self) -> usize {
        match self {
            Task::Language | Task::Classification | Task::MultiLabel | Task::Regression => 1,
            Task::Reward | Task::Preference { .. } => 2,
            Task::Steering => 4,
        }
    }

    /// Whether it compares what is said with what is said without edits.
    pub(super) fn has_reference(self) -> bool {
        matches!(self, Task::Preference { .. } | Task::Steering)
    }

    /// Whether what is said is right or wrong; numbers are neither.
    pub(super) fn has_accuracy(self) -> bool {
        self != Task::Regression
    }

    /// How many labels, sequences or pairs the mean of the loss is over.
    pub(super) fn count(self, batch: &Batch) -> usize {
        match self {
            Task::Language => batch.labels.len(),
            Task::Classification | Task::MultiLabel | Task::Regression => batch.ends.len(),
            Task::Reward | Task::Preference { .. } | Task::Steering => batch.ends.len() / 2,
        }
    }
}

/// The inputs and results of a task in a plan.
pub(super) enum Objective {
    Tokens { labels: Labels, pairs: Option<Pairs> },
    Pooled(Pooled),
}

/// What a preference has besides its labels.
pub(super) struct Pairs {
    /// DPO's beta; none for RePS.
    beta: Option<f32>,
    ranges: Buf,
    reference: Buf,
    scales: Buf,
    losses: Buf,
}

/// What a head reads and is to say.
pub(super) struct Pooled {
    pool: Pool,
    targets: Buf,
    weights: Buf,
    losses: Buf,
}

impl Objective {
    /// Appends the loss of `h` alone.
    pub(super) fn losses(
        plan: &mut Plan,
        model: &Model,
        (task, n_whole): (Task, usize),
        (shape, h): (&Shape, Buf),
        reft: &Reft,
    ) -> Objective {
        let share = (n_whole as f32).recip();
        match (task, &reft.head) {
            (Task::Language, _) => {
                let labels = Labels::new(plan, shape.n_tokens, shape.n_labels, model.labels_at_once());
                model.token_losses(plan, h, &labels);
                Objective::Tokens { labels, pairs: None }
            }
            (Task::Preference { .. } | Task::Steering, _) => {
                let labels = Labels::new(plan, shape.n_tokens, shape.n_labels, model.labels_at_once());
                let pairs = Pairs::plan(plan, model, (task, share), (shape, h), &labels);
                Objective::Tokens { labels, pairs: Some(pairs) }
            }
            (_, Some(head)) => {
                let bufs = Pooled::new(plan, task, shape, head);
                bufs.losses(plan, model, (task, share), h, (head, reft));
                Objective::Pooled(bufs)
            }
            (_, None) => unreachable!("checked before"),
        }
    }

    /// Appends the loss of `h`; returns its gradient by `h`. A whole step is over `n_whole` labels, sequences or pairs.
    pub(super) fn plan(
        plan: &mut Plan,
        model: &Model,
        (task, n_whole): (Task, usize),
        (shape, h): (&Shape, Buf),
        (reft, gradients): (&Reft, &Gradients),
    ) -> (Objective, Buf) {
        let share = (n_whole as f32).recip();
        match (task, &reft.head) {
            (Task::Language, _) => {
                let labels = Labels::new(plan, shape.n_tokens, shape.n_labels, model.labels_at_once());
                let dh = model.loss(plan, h, &labels);
                (Objective::Tokens { labels, pairs: None }, dh)
            }
            (Task::Preference { .. } | Task::Steering, _) => {
                let labels = Labels::new(plan, shape.n_tokens, shape.n_labels, model.labels_at_once());
                let pairs = Pairs::plan(plan, model, (task, share), (shape, h), &labels);
                let dh = model.loss(plan, h, &labels);
                (Objective::Tokens { labels, pairs: Some(pairs) }, dh)
            }
            (_, Some(head)) => {
                let bufs = Pooled::new(plan, task, shape, head);
                let dh = bufs.plan(plan, model, (task, share), h, (head, reft, gradients));
                (Objective::Pooled(bufs), dh)
            }
            (_, None) => unreachable!("checked before"),
        }
    }

    pub(super) fn write(&self, prepared: &Prepared, batch: &Batch, n_whole: usize) {
        let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
        let write_f32 = |buf: Buf, values: &[f32]| prepared.tensor(buf).write_f32(values);
        let weight = (n_whole as f32).recip();
        match self {
            Objective::Tokens { labels, pairs } => {
                batch.write_labels(prepared, labels);
                match pairs {
                    Some(pairs) => {
                        let (reference, scales) = pairs.terms(batch);
                        write(pairs.ranges, batch.ranges.as_flattened());
                        write_f32(pairs.reference, &reference);
                        write_f32(pairs.scales, &scales);
                    }
                    None => write_f32(labels.weights, &vec![weight; batch.labels.len()]),
                }
            }
            Objective::Pooled(bufs) => {
                bufs.pool.write(prepared, batch);
                write_f32(bufs.weights, &vec![weight; batch.ends.len()]);
                let n = prepared.tensor(bufs.targets).shape().iter().product::<usize>() / batch.ends.len();
                let targets = batch.targets.iter().flat_map(|target| target.words(n));
                write(bufs.targets, &targets.collect::<Vec<_>>());
            }
        }
    }

    /// Where the losses are after a run, each with whether it is right.
    pub(super) fn losses_buf(&self) -> Buf {
        match self {
            Objective::Tokens { pairs: Some(pairs), .. } => pairs.losses,
            Objective::Tokens { labels, pairs: None } => labels.losses,
            Objective::Pooled(bufs) => bufs.losses,
        }
    }
}

impl Pairs {
    /// Appends the losses of pairs, and what each of their labels counts for.
    fn plan(
        plan: &mut Plan,
        model: &Model,
        (task, share): (Task, f32),
        (shape, h): (&Shape, Buf),
        labels: &Labels,
    ) -> Pairs {
        let beta = if let Task::Preference { beta } = task { Some(beta) } else { None };
        let ranges = plan.kept("ranges", &[shape.n_sequences, 2]);
        let [reference, scales] = ["reference", "scales"].map(|name| plan.kept(name, &[shape.n_sequences]));
        model.token_losses(plan, h, labels);
        let inputs = [ranges, reference, scales, labels.weights];
        let losses = kernel::preference(plan, share, labels.losses, inputs);
        Pairs { beta, ranges, reference, scales, losses }
    }

    /// For each sequence of a batch what its sum of losses is compared with, and what the difference counts for.
    fn terms(&self, batch: &Batch) -> (Vec<f32>, Vec<f32>) {
        match self.beta {
            Some(beta) => (batch.references.clone(), vec![beta; batch.references.len()]),
            None => (vec![0.0; batch.references.len()], reps::scales(batch)),
        }
    }
}

impl Pooled {
    fn new(plan: &mut Plan, task: Task, shape: &Shape, head: &Head) -> Pooled {
        let n = shape.n_sequences;
        let numbers = matches!(task, Task::MultiLabel | Task::Regression);
        let targets = if numbers { vec![n, head.dense.n_out] } else { vec![n] };
        Pooled {
            pool: Pool::new(plan, shape, &head.config),
            targets: plan.kept("targets", &targets),
            weights: plan.kept("weights", &[n]),
            losses: plan.kept("losses", &[n, 2]),
        }
    }

    /// Appends the losses; returns the rows whose norms are read, what the head reads, and in place of the scores their gradient.
    fn losses(
        &self,
        plan: &mut Plan,
        model: &Model,
        (task, share): (Task, f32),
        h: Buf,
        (head, reft): (&Head, &Reft),
    ) -> [Buf; 3] {
        let [h_rows, x] = self.pool.read(plan, model, h);
        let theta = plan.tensor(&reft.theta);
        let scores = kernel::dense(plan, &head.dense, x, theta);
        match task {
            Task::Classification => {
                kernel::cross_entropy(plan, scores, 0.0, [self.targets, self.weights, self.losses], 0);
            }
            Task::MultiLabel => {
                kernel::binary_cross_entropy(plan, scores, [self.targets, self.weights, self.losses]);
            }
            Task::Reward => kernel::reward_loss(plan, share, scores, self.losses),
            _ => kernel::squared_error(plan, scores, [self.targets, self.weights, self.losses]),
        }
        [h_rows, x, scores]
    }

    /// Appends the losses and the way back from them; returns the gradient by `h`.
    fn plan(
        &self,
        plan: &mut Plan,
        model: &Model,
        task: (Task, f32),
        h: Buf,
        (head, reft, gradients): (&Head, &Reft, &Gradients),
    ) -> Buf {
        let [h_rows, x, dscores] = self.losses(plan, model, task, h, (head, reft));
        let [theta, grad] = [&reft.theta, &gradients.theta].map(|tensor| plan.tensor(tensor));
        let dx = kernel::dense_backward(plan, &head.dense, x, dscores, [theta, grad]);
        self.pool.backward(plan, model, h_rows, dx)
    }
}
