//! What a head reads of each sequence: the norm of its last token's hidden state, or the mean of all its tokens'.

use super::batch::{Batch, Shape};
use crate::backend::Prepared;
use crate::kernel;
use crate::model::Model;
use crate::plan::{Buf, Plan};
use crate::reft::{HeadConfig, Pooling};

/// The inputs of a head's reading in a plan.
pub(super) struct Pool {
    /// The rows whose norms are read.
    rows: Buf,
    /// For each row of the pass its place in `rows`, or none `[T]`.
    places: Buf,
    /// The rows of each sequence [B, 2], where their mean is read.
    ranges: Option<Buf>,
}

impl Pool {
    pub(super) fn new(plan: &mut Plan, shape: &Shape, config: &HeadConfig) -> Pool {
        let (n_rows, ranges) = match config.pooling {
            Pooling::Last => (shape.n_sequences, None),
            Pooling::Mean => {
                (shape.n_tokens - shape.n_virtual, Some(plan.kept("token_ranges", &[shape.n_sequences, 2])))
            }
        };
        Pool {
            rows: plan.kept("read", &[n_rows]),
            places: plan.kept("read_places", &[shape.n_tokens]),
            ranges,
        }
    }

    /// Appends the reading of `h`; returns the rows whose norms are read, and what the head reads [B, D].
    pub(super) fn read(&self, plan: &mut Plan, model: &Model, h: Buf) -> [Buf; 2] {
        plan.at("head");
        let [h_rows, normed] = model.normed_rows(plan, h, self.rows);
        let x = self.ranges.map_or(normed, |ranges| kernel::mean_rows(plan, ranges, normed));
        [h_rows, x]
    }

    /// The gradient by `h` from that of what the head read.
    pub(super) fn backward(&self, plan: &mut Plan, model: &Model, h_rows: Buf, dx: Buf) -> Buf {
        let [n_rows, _] = plan.shape(h_rows);
        let dnormed = match self.ranges {
            None => dx,
            Some(ranges) => kernel::mean_rows_backward(plan, ranges, dx, n_rows),
        };
        model.normed_rows_backward(plan, h_rows, dnormed, self.places)
    }

    pub(super) fn write(&self, prepared: &Prepared, batch: &Batch) {
        let write = |buf: Buf, words: &[u32]| prepared.tensor(buf).write(0, words);
        let rows = match self.ranges {
            None => batch.ends.clone(),
            Some(_) => batch.texts.iter().flat_map(|[start, end]| *start..*end).collect(),
        };
        write(self.rows, &rows);
        write(self.places, &batch.places(&rows));
        if let Some(ranges) = self.ranges {
            let lengths = batch.texts.iter().map(|[start, end]| end - start);
            let of_length = |at: &mut u32, length: u32| {
                *at += length;
                Some([*at - length, *at])
            };
            write(ranges, lengths.scan(0, of_length).collect::<Vec<_>>().as_flattened());
        }
    }
}
