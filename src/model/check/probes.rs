//! What is compared beside products: attention, norms, gates, losses, sampling, each built alike on both machines.

use super::Ran;
use crate::backend::Backend;
use crate::error::Result;
use crate::kernel::{self, Choice, Heads, SampleSettings};
use crate::model::Model;
use crate::plan::{Buf, Plan, Record};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Rows of what is computed row by row.
const ROWS: usize = 3;

/// A plan in the making.
pub(super) struct Made<'a> {
    pub(super) backend: &'a Backend,
    pub(super) plan: Plan,
    seed: u64,
}

impl<'a> Made<'a> {
    pub(super) fn new(backend: &'a Backend) -> Made<'a> {
        Made { backend, plan: Plan::new("check"), seed: 0 }
    }

    pub(super) fn words(&mut self, label: &str, shape: &[usize], words: &[u32]) -> Result<Buf> {
        let tensor = self.backend.tensor_of(label, shape, words)?;
        Ok(self.plan.tensor(&tensor))
    }

    pub(super) fn values(&mut self, label: &str, shape: &[usize], values: &[f32]) -> Result<Buf> {
        self.words(label, shape, bytemuck::cast_slice(values))
    }

    /// Evenly in [−1, 1), the same in every plan that is made alike; nothing on a machine that computes nothing.
    pub(super) fn reals(&mut self, label: &str, shape: &[usize]) -> Result<Buf> {
        self.seed += 1;
        if !self.backend.computes() {
            return self.values(label, shape, &[]);
        }
        self.values(label, shape, &reals(self.seed, shape.iter().product()))
    }
}

/// Numbers evenly in [−1, 1), the same on every machine.
pub(super) fn reals(seed: u64, n: usize) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| (random.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0).collect()
}

type Build = Box<dyn Fn(&mut Made<'_>) -> Result<Vec<Buf>>>;

/// A plan to be built on both machines; the outputs that are compared are returned.
pub(super) struct Probe {
    pub(super) place: String,
    build: Build,
}

impl Probe {
    pub(super) fn new(place: String, build: impl Fn(&mut Made<'_>) -> Result<Vec<Buf>> + 'static) -> Probe {
        Probe { place, build: Box::new(build) }
    }

    /// The plan by itself.
    pub(super) fn plan(&self, tally: &Backend) -> Result<Plan> {
        let mut made = Made::new(tally);
        (self.build)(&mut made)?;
        Ok(made.plan)
    }

    pub(super) async fn run(&self, backend: &Backend) -> Result<Ran> {
        let mut made = Made::new(backend);
        let bufs = (self.build)(&mut made)?;
        made.run(&bufs).await
    }
}

/// Everything that the model runs beside products.
pub(super) fn probes(model: &Model) -> Vec<Probe> {
    let mut heads: Vec<Heads> = Vec::new();
    for number in 0..model.dims.n_layer {
        let of_layer = model.heads(number);
        if !heads.contains(&of_layer) {
            heads.push(of_layer);
        }
    }
    let n_ctx = model.n_ctx;
    let attention = heads.into_iter().flat_map(|heads| [over_keys(heads, n_ctx), over_queries(heads, n_ctx)]);
    attention.chain([norms(model), gates(model), ropes(model), losses(model), sampling(model)]).collect()
}

/// Queries whose scores come near the cap, if there is one: where scores are small, none is as good as any.
fn queries(made: &mut Made<'_>, heads: &Heads, n_queries: usize) -> Result<Buf> {
    let Heads { n_head, head_dim, scale, cap, .. } = *heads;
    let spread = scale * (head_dim as f32).sqrt() / 3.0; // of scores of numbers in [−1, 1)
    let factor = if cap > 0.0 { 0.1 * cap / spread } else { 1.0 };
    made.seed += 1;
    let values = reals(made.seed, n_queries * n_head * head_dim);
    let values: Vec<f32> = values.iter().map(|x| factor * x).collect();
    made.values("q", &[n_queries, n_head * head_dim], &values)
}

/// Attention, and its gradients by q, k and v.
fn attended(made: &mut Made<'_>, heads: &Heads, [q, k, v]: [Buf; 3], runs: [Buf; 2], dout: Buf) -> [Buf; 4] {
    let forward = kernel::attention(&mut made.plan, heads, [q, k, v], runs[0]);
    let [dq, dk, dv] =
        kernel::attention_backward(&mut made.plan, heads, [q, k, v], [k, v], runs, forward, dout);
    [forward[0], dq, dk, dv]
}

/// Two queries over all keys of the context, and the keys' gradients.
fn over_keys(heads: Heads, n_ctx: usize) -> Probe {
    let Heads { n_head, n_head_kv, head_dim, .. } = heads;
    Probe::new(format!("{n_head} heads of {head_dim} over {n_ctx} keys"), move |made| {
        let n = n_ctx as u32;
        let span = made.words("span", &[2, 2], &[0, n, n / 3, n / 2 + 1])?;
        let reach = made.words("reach", &[n_ctx, 2], &[0, 2].repeat(n_ctx))?;
        let [q, dout] = [queries(made, &heads, 2)?, made.reals("dout", &[2, n_head * head_dim])?];
        let shape = [n_ctx, n_head_kv * head_dim];
        let [k, v] = [made.reals("k", &shape)?, made.reals("v", &shape)?];
        Ok(attended(made, &heads, [q, k, v], [span, reach], dout).to_vec())
    })
}

/// Two keys that every query of the context sees. Loops are as long for one head of keys as for all.
fn over_queries(heads: Heads, n_ctx: usize) -> Probe {
    let heads = Heads { n_head: heads.n_head / heads.n_head_kv, n_head_kv: 1, ..heads };
    let Heads { n_head, head_dim, .. } = heads;
    Probe::new(format!("{n_head} heads of {head_dim} over {n_ctx} queries"), move |made| {
        let span = made.words("span", &[n_ctx, 2], &[0, 2].repeat(n_ctx))?;
        let reach = made.words("reach", &[2, 2], &[0, n_ctx as u32, 0, n_ctx as u32])?;
        let [q, dout] = [queries(made, &heads, n_ctx)?, made.reals("dout", &[n_ctx, n_head * head_dim])?];
        let [k, v] = [made.reals("k", &[2, head_dim])?, made.reals("v", &[2, head_dim])?];
        let [_, _, dk, dv] = attended(made, &heads, [q, k, v], [span, reach], dout);
        Ok(vec![dk, dv])
    })
}

fn norms(model: &Model) -> Probe {
    let (n_embd, eps, qk_norm) = (model.dims.n_embd, model.dims.norm_eps, model.qk_norm());
    let width = model.dims.q_width() + 2 * model.dims.kv_width();
    Probe::new(format!("rows of {n_embd}"), move |made| {
        let shape = [ROWS, n_embd];
        let [x, d, dy, dx] = [
            made.reals("x", &shape)?,
            made.reals("d", &shape)?,
            made.reals("dy", &shape)?,
            made.reals("dx", &shape)?,
        ];
        let w = made.reals("w", &[n_embd])?;
        let index = made.words("index", &[ROWS], &[2, kernel::NONE, 0])?;
        let normed = kernel::rms_norm(&mut made.plan, x, w, eps);
        let [h, both] = kernel::add_rms_norm(&mut made.plan, [x, d], w, eps);
        kernel::rms_norm_backward(&mut made.plan, [x, w], eps, dy, dx, true);
        let sum = kernel::add(&mut made.plan, "sum", x, d);
        let copied = kernel::copy(&mut made.plan, "copied", x);
        let gathered = kernel::gather_rows(&mut made.plan, "gathered", index, x);
        let rows = made.plan.kept("rows", &shape);
        kernel::broadcast_row(&mut made.plan, w, rows);
        let mut outputs = vec![normed, h, both, dx, sum, copied, gathered, rows];
        if let Some(norm) = qk_norm {
            let [qkv, dqkv] = [made.reals("qkv", &[ROWS, width])?, made.reals("dqkv", &[ROWS, width])?];
            let w = made.reals("qk", &[norm.q_width + norm.k_width])?;
            outputs.push(kernel::qk_norm(&mut made.plan, &norm, qkv, w));
            kernel::qk_norm_backward(&mut made.plan, &norm, [qkv, w], dqkv);
            outputs.push(dqkv);
        }
        Ok(outputs)
    })
}

fn gates(model: &Model) -> Probe {
    let (n_ff, act) = (model.dims.n_ff, model.arch.act);
    Probe::new(format!("{} of {n_ff}", act.name()), move |made| {
        let wide: Vec<f32> = reals(5, ROWS * 2 * n_ff).iter().map(|x| 8.0 * x).collect();
        let gate_up = made.values("gate_up", &[ROWS, 2 * n_ff], &wide)?;
        let dy = made.reals("dy", &[ROWS, n_ff])?;
        let forward = kernel::glu(&mut made.plan, act, gate_up);
        Ok(vec![forward, kernel::glu_backward(&mut made.plan, act, gate_up, dy)])
    })
}

fn ropes(model: &Model) -> Probe {
    let (rope, _) = model.rope(0);
    let [q_width, kv_width] = [model.dims.q_width(), model.dims.kv_width()];
    Probe::new(format!("{} heads of {}", rope.n_head, rope.head_dim), move |made| {
        let qkv = made.reals("qkv", &[ROWS, q_width + 2 * kv_width])?;
        let table = made.reals("table", &[ROWS, rope.n_rot.max(2) / 2, 2])?;
        let place = made.words("place", &[ROWS, 2], &[2, 1, 0, 2, 1, 0])?;
        let kv = [ROWS, kv_width];
        let [k, v] = [made.plan.kept("k", &kv), made.plan.kept("v", &kv)];
        let q = kernel::rope_qkv(&mut made.plan, &rope, qkv, [table, place], [k, v]);
        let [dq, dk, dv] =
            [made.reals("dq", &[ROWS, q_width])?, made.reals("dk", &kv)?, made.reals("dv", &kv)?];
        let dqkv = kernel::rope_qkv_backward(&mut made.plan, &rope, [dq, dk, dv], [table, place]);
        Ok(vec![q, k, v, dqkv])
    })
}

/// Logits that are far apart, as a model's are.
fn logits(made: &mut Made<'_>, label: &str, n_rows: usize, n_vocab: usize) -> Result<Buf> {
    made.seed += 1;
    let values: Vec<f32> = reals(made.seed, n_rows * n_vocab).iter().map(|x| 9.0 * x).collect();
    made.values(label, &[n_rows, n_vocab], &values)
}

fn losses(model: &Model) -> Probe {
    let (n_vocab, cap) = (model.dims.n_vocab, model.consts.logit_cap);
    Probe::new(format!("vocabulary of {n_vocab}"), move |made| {
        let [read, moved] = [logits(made, "read", ROWS, n_vocab)?, logits(made, "moved", ROWS, n_vocab)?];
        let last = n_vocab as u32 - 1;
        let labels = made.words("labels", &[ROWS], &[0, last / 2, last])?;
        let weights = made.reals("weights", &[ROWS])?;
        let [losses, alone] = [made.plan.kept("losses", &[ROWS, 2]), made.plan.kept("alone", &[ROWS, 2])];
        if cap > 0.0 {
            kernel::cap(&mut made.plan, moved, cap);
        }
        kernel::cross_entropy(&mut made.plan, moved, cap, [labels, weights, losses], 0);
        kernel::token_loss(&mut made.plan, read, [labels, alone], 0);
        let mut outputs = vec![moved, losses, alone];
        if cap > 0.0 {
            kernel::cap(&mut made.plan, read, cap);
            outputs.push(read);
        }
        Ok(outputs)
    })
}

/// One sequence takes the likeliest token, and the others draw under a filter each. Filters keep few tokens, so that rounding does
/// not decide what is drawn.
fn sampling(model: &Model) -> Probe {
    let n_vocab = model.dims.n_vocab;
    Probe::new(format!("vocabulary of {n_vocab}"), move |made| {
        let choice = Choice { temperature: 0.7, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 5 };
        let choices = [
            Choice { temperature: 0.0, ..choice },
            Choice { top_k: 8, ..choice },
            Choice { top_p: 0.01, ..choice },
            Choice { min_p: 0.9, ..choice },
        ];
        let words: Vec<u32> = choices.iter().flat_map(|choice| choice.settings(3).words()).collect();
        let settings = made.words("settings", &[choices.len(), SampleSettings::WORDS], &words)?;
        let logits = logits(made, "logits", choices.len(), n_vocab)?;
        let tokens = made.plan.kept("tokens", &[choices.len()]);
        kernel::sample(&mut made.plan, logits, settings, tokens);
        Ok(vec![tokens])
    })
}
