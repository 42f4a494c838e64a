//! The CPU's fast forms against their twins at the shapes of real models: vocabularies of SmolLM2 and Qwen 2.5, contexts of 2,048 tokens,
//! heads of 64 and of 256 values.
//!
//! A twin sums in f64. A fast form sums n terms of either sign in f32, and roundings of n such sums add up as √n does.

mod common;

use common::Make;
use common::case::Case;
use webreft::backend::Backend;
use webreft::kernel::{
    Heads, attention, attention_backward, cross_entropy, embed, matmul, matmul_backward, token_loss,
};
use webreft::quant::{FORMATS, Format};

/// The roundings of a sum of so many terms, and some more on the way.
fn roundings(n_terms: usize) -> usize {
    2 * n_terms.isqrt() + 64
}

#[track_caller]
fn equal_their_twins(cases: &[Case]) {
    let machine = Backend::cpu_with(3);
    let differences: Vec<String> = cases.iter().flat_map(|case| case.differences(&machine)).collect();
    assert!(differences.is_empty(), "{}\n{}", machine.name(), differences.join("\n"));
}

fn format(name: &str) -> &'static Format {
    FORMATS.iter().find(|format| format.name == name).expect("a format of this name")
}

/// Products with an embedding matrix: one row of x as in decoding, a few, and more than a tile; and what comes back.
#[test]
fn products_with_a_vocabulary() {
    let case = |n_vocab: usize, n_embd: usize, of: &'static str| {
        let name = format!("{of} [{n_vocab}, {n_embd}]");
        Case::new(name, roundings(n_vocab), move |make| {
            let matrix = make.matrix(format(of), &[n_vocab], n_embd);
            for n_tokens in [1, 3, 13] {
                let x = make.reals("x", &[n_tokens, n_embd]);
                let y = make.plan.scratch("y", &[n_tokens, n_vocab]);
                matmul(&mut make.plan, x, &matrix, y, false);
            }
            let dy = make.reals("dy", &[9, n_vocab]);
            let dx = make.plan.scratch("dx", &[9, n_embd]);
            matmul_backward(&mut make.plan, dy, &matrix, dx, false);
            let last = n_vocab as u32 - 1;
            let ids = make.words("ids", &[3], &[0, last / 2, last]);
            embed(&mut make.plan, ids, &matrix, 1.0);
        })
    };
    equal_their_twins(&[case(49_152, 576, "Q4_1"), case(151_936, 896, "Q5_0")]);
}

/// The last queries of a context over all of its keys, and a context of queries over its own.
#[test]
fn attention_over_a_context() {
    const CONTEXT: usize = 2_048;
    let heads = |n_head, n_head_kv, head_dim: usize, window, cap| {
        let scale = (head_dim as f32).sqrt().recip();
        Heads { n_head, n_head_kv, head_dim, window, scale, cap }
    };
    let case = |heads: Heads, n_queries: usize| {
        let name = format!("{n_queries} queries over {CONTEXT} keys, {heads:?}");
        Case::new(name, roundings(CONTEXT), move |make| attend(make, &heads, n_queries, CONTEXT))
            .cancelling(1.0)
    };
    equal_their_twins(&[
        case(heads(9, 3, 64, None, 0.0), 24),
        case(heads(4, 1, 256, None, 0.0), 24),
        case(heads(4, 1, 256, Some(512), 50.0), 24),
        case(heads(1, 1, 64, None, 0.0), CONTEXT),
        case(heads(1, 1, 256, Some(512), 0.0), CONTEXT),
    ]);
}

/// Attention of the last queries of a context, each of which sees the keys up to its own, and its gradients.
fn attend(make: &mut Make<'_>, heads: &Heads, n_queries: usize, n_keys: usize) {
    let before = n_keys - n_queries;
    let [q, dout] = ["q", "dout"].map(|label| make.reals(label, &[n_queries, heads.n_head * heads.head_dim]));
    let [k, v] = ["k", "v"].map(|label| make.reals(label, &[n_keys, heads.n_head_kv * heads.head_dim]));
    let span: Vec<u32> = (0..n_queries).flat_map(|t| [0, (before + t + 1) as u32]).collect();
    let span = make.words("span", &[n_queries, 2], &span);
    let forward = attention(&mut make.plan, heads, [q, k, v], span);
    // With a window, the first query that sees a key must be its own token's.
    let seen = if heads.window.is_some() { before..n_keys } else { 0..n_keys };
    let reach = |key: usize| match seen.contains(&key) {
        true => [key.saturating_sub(before) as u32, n_queries as u32],
        false => [0, 0],
    };
    let reach: Vec<u32> = (0..n_keys).flat_map(reach).collect();
    let reach = make.words("reach", &[n_keys, 2], &reach);
    attention_backward(&mut make.plan, heads, [q, k, v], [k, v], [span, reach], forward, dout);
}

#[test]
fn losses_over_a_vocabulary() {
    let case = |n_vocab: usize, cap: f32| {
        Case::new(format!("losses over {n_vocab}, cap {cap}"), roundings(n_vocab), move |make| {
            let logits: Vec<f32> = make.random.reals(5 * n_vocab).iter().map(|x| 9.0 * x).collect();
            let [read, moved] = ["read", "moved"].map(|label| make.values(label, &[5, n_vocab], &logits));
            let labels: Vec<u32> = (0..5).map(|_| make.random.below(n_vocab) as u32).collect();
            let labels = make.words("labels", &[5], &labels);
            let weight = make.reals("weight", &[5]);
            let [loss, other] = ["loss", "other"].map(|label| make.reals(label, &[5, 2]));
            cross_entropy(&mut make.plan, moved, cap, [labels, weight, loss], 0);
            token_loss(&mut make.plan, read, [labels, other], 0);
        })
    };
    equal_their_twins(&[case(49_152, 0.0), case(151_936, 0.0), case(262_144, 30.0)]);
}
