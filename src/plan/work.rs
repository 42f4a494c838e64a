//! How long a step takes, counted in operations before it runs: from shapes alone, right to a small factor.

use super::{Buffer, Plan, Role, Source, Step};

/// Operations in the time in which a number is read or written.
const A_NUMBER: u64 = 16;

/// A matrix is read once, whatever the rows of its input: below so many, reading takes the time.
const FEWEST_ROWS: usize = 16;

/// Attention reaches a quarter of what products reach.
const OF_ATTENTION: u64 = 4;

/// Of a tensor that is only read, a workgroup reads so many numbers at most: an edit reads its own of all parameters.
const READ_BY_A_GROUP: usize = 4096;

impl Step {
    /// Operations, and what else takes as long as operations: weight products exactly, attention from the shapes of its queries and
    /// keys, everything else by the numbers it touches.
    pub fn work(&self, plan: &Plan) -> u64 {
        self.product() + self.attention(plan) + A_NUMBER * self.numbers(plan) + self.weights(plan)
    }

    /// Operations of a weight product, of at least a few rows.
    fn weights(&self, plan: &Plan) -> u64 {
        let (Some(slab), Some(input)) = (&self.weight, self.args.first()) else { return 0 };
        let rows = plan.buffers[input.0].shape[0].max(FEWEST_ROWS);
        2 * (rows * slab.rows * slab.cols) as u64
    }

    /// Operations of attention, as if each query saw every key.
    fn attention(&self, plan: &Plan) -> u64 {
        let products = match self.kernel.name {
            "attention" => 2,
            "attention_backward_q" => 3,
            "attention_backward_kv" => 4,
            _ => return 0,
        };
        let [queries, keys] = ["q", "k"].map(|name| &plan.buffers[self.arg(name).0]);
        OF_ATTENTION * 2 * products * (queries.len() * keys.shape[0]) as u64
    }

    /// Operations of a product of two square matrices.
    fn product(&self) -> u64 {
        match (self.kernel.name, self.params.first()) {
            ("product", Some(n)) => 2 * u64::from(*n).pow(3),
            _ => 0,
        }
    }

    /// Numbers that are read or written beside weights.
    fn numbers(&self, plan: &Plan) -> u64 {
        let groups: usize = self.grid.iter().product();
        let touched = |buffer: &Buffer, role: Role| match (&buffer.source, role) {
            (Source::Tensor(_), Role::In) => buffer.len().min(READ_BY_A_GROUP * groups),
            _ => buffer.len(),
        };
        let args = self.args.iter().zip(self.kernel.args);
        args.map(|(buf, arg)| touched(&plan.buffers[buf.0], arg.role) as u64).sum()
    }
}

impl Plan {
    /// The work of all steps: see [`Step::work`].
    pub fn work(&self) -> u64 {
        self.steps.iter().map(|step| step.work(self)).sum()
    }
}
