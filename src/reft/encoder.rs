//! Learned rows that follow from others by a small network: P-tuning's encoder, and the projection of prefix tuning.
//!
//! ```text
//! E = L_k(… act(L₁(embedding)))      embedding [N, I]; each L a matrix with a bias
//! ```

use super::Part;
use crate::kernel::{self, Activation, Dense, Rows};
use crate::plan::{Buf, Plan};

/// The network as it lies in the flat buffers.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    n_rows: usize,
    act: Activation,
    /// First element of the embedding in `theta`.
    embedding_at: usize,
    layers: Vec<Dense>,
    /// First element of E in `rot`.
    rows_at: usize,
}

impl Encoder {
    /// From its parts: the embedding, then weight and bias of each matrix.
    pub(super) fn new(parts: &[Part], act: Activation, rows_at: usize) -> Encoder {
        let dense = |pair: &[Part]| Dense {
            n_in: pair[0].shape[1],
            n_out: pair[0].shape[0],
            w_at: pair[0].range.start,
            b_at: Some(pair[1].range.start),
        };
        Encoder {
            n_rows: parts[0].shape[0],
            act,
            embedding_at: parts[0].range.start,
            layers: parts[1..].chunks_exact(2).map(dense).collect(),
            rows_at,
        }
    }

    /// Appends all but the last matrix; returns what each matrix makes of its input, and what it is put on.
    fn hidden(&self, plan: &mut Plan, theta: Buf) -> (Vec<Buf>, Vec<Rows>) {
        let (mut made, mut inputs) = (Vec::new(), vec![Rows { buf: theta, at: self.embedding_at }]);
        for (layer, x) in self.layers[..self.layers.len() - 1].iter().zip(0..) {
            let y = plan.scratch("encoded", &[self.n_rows, layer.n_out]);
            kernel::dense_into(plan, layer, self.n_rows, [inputs[x], y.into()], theta);
            made.push(y);
            inputs.push(kernel::activate(plan, self.act, y).into());
        }
        (made, inputs)
    }

    /// Appends what writes E to `rot`.
    pub(super) fn plan(&self, plan: &mut Plan, [theta, rot]: [Buf; 2]) {
        let (_, inputs) = self.hidden(plan, theta);
        let last = self.layers.len() - 1;
        let to = Rows { buf: rot, at: self.rows_at };
        kernel::dense_into(plan, &self.layers[last], self.n_rows, [inputs[last], to], theta);
    }

    /// Appends what takes dE in `drot` to the parameters' gradients in `grad`.
    pub(super) fn plan_backward(&self, plan: &mut Plan, [theta, drot, grad]: [Buf; 3]) {
        let (made, inputs) = self.hidden(plan, theta);
        let mut dy = Rows { buf: drot, at: self.rows_at };
        for (number, layer) in self.layers.iter().enumerate().rev() {
            let dx = match number {
                0 => Rows { buf: grad, at: self.embedding_at },
                _ => plan.scratch("dencoded", &[self.n_rows, layer.n_in]).into(),
            };
            kernel::dense_backward_into(plan, layer, self.n_rows, [inputs[number], dy, dx], [theta, grad]);
            if number > 0 {
                kernel::activate_backward(plan, self.act, made[number - 1], dx.buf);
            }
            dy = dx;
        }
    }
}
