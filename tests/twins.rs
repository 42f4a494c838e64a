//! The twins against sums in f64, at the lengths of real models: vocabulary, context and width.
//!
//! A twin is what shaders and fast forms are compared with, so it must not lose digits where a sum is long. Tolerances
//! follow from rounding: a sum of exact products is rounded once, other values a few times.

#![allow(missing_docs, reason = "a test")]

mod common;

use common::{Make, Random, read};
use pollster::block_on;
use webreft::backend::{Backend, Prepared};
use webreft::kernel::{
    Activation, Dense, Edit, EditInputs, Heads, Learned, LearnedRows, OptimizerSettings, Rows, Scale,
    ScaleInputs, attention, attention_backward, binary_cross_entropy, cross_entropy, dense, dense_backward,
    grad_norm, learned_rows_backward, lowrank_edit, lowrank_edit_backward, matmul, matmul_backward,
    mean_rows, preference, rms_norm, rms_norm_backward, row_norms, scale_rows, scale_rows_backward,
    squared_error, token_loss,
};
use webreft::plan::{Matrix, Record as _, Slab};
use webreft::quant::FORMATS;

const VOCABULARY: usize = 151_936;
const CONTEXT: usize = 4_096;
const WIDTH: usize = 8_192;

/// The machine whose sums are checked.
fn twins() -> Backend {
    Backend::twins()
}

/// Runs the plan that `build` makes with the twins.
fn run<T>(build: impl FnOnce(&mut Make<'_>) -> T) -> (T, Prepared) {
    let backend = twins();
    let mut make = Make::new(&backend);
    let made = build(&mut make);
    (made, make.run())
}

/// Fails where a value is off by more than `ulps` units in the last place of itself, or of `floor` if that is larger.
#[track_caller]
fn assert_rounded(what: &str, got: &[f32], want: &[f64], ulps: f64, floor: f64) {
    assert_eq!(got.len(), want.len(), "{what}: the number of values");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (f64::from(*got) - want).abs();
        let allowed = ulps * f64::from(f32::EPSILON) * want.abs().max(floor);
        assert!(off <= allowed, "{what} {i}: expected {want}, got {got}, off by {off:.1e} for {allowed:.1e}");
    }
}

/// So many values in [−scale, scale).
fn reals(random: &mut Random, n: usize, scale: f32) -> Vec<f32> {
    random.reals(n).into_iter().map(|x| scale * x).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Σ over rows of factor · row.
fn mixed(factors: &[f64], rows: &[f32]) -> Vec<f64> {
    let width = rows.len() / factors.len();
    let mut sums = vec![0.0; width];
    for (factor, row) in factors.iter().zip(rows.chunks_exact(width)) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * f64::from(*x));
    }
    sums
}

/// Natural logarithm of Σ eˡ.
fn log_mass(logits: &[f32]) -> f64 {
    wide(logits).into_iter().map(f64::exp).sum::<f64>().ln()
}

#[test]
fn losses_over_a_vocabulary() {
    let logits = reals(&mut Random::new(3), VOCABULARY, 4.0);
    let ([losses, others, gradient], done) = run(|make| {
        let given = make.values("logits", &[1, VOCABULARY], &logits);
        let kept = make.values("kept", &[1, VOCABULARY], &logits);
        let [labels, weight] = [make.words("labels", &[1], &[77]), make.values("weight", &[1], &[1.0])];
        let [loss, other] = ["loss", "other"].map(|label| make.values(label, &[1, 2], &[0.0; 2]));
        token_loss(&mut make.plan, kept, [labels, other], 0);
        cross_entropy(&mut make.plan, given, 0.0, [labels, weight, loss], 0);
        [loss, other, given]
    });
    let log_mass = log_mass(&logits);
    let want = log_mass - f64::from(logits[77]);
    for losses in [losses, others] {
        assert_rounded("loss", &read(&done, losses)[..1], &[want], 2.0, 0.0);
    }
    let mut shares: Vec<f64> = wide(&logits).iter().map(|l| (l - log_mass).exp()).collect();
    shares[77] -= 1.0;
    // The exponent is rounded before it is taken: 8 at most, so 4 units of the result.
    assert_rounded("gradient", &read(&done, gradient), &shares, 8.0, 0.0);
}

#[test]
fn losses_of_heads_and_pairs() {
    let mut random = Random::new(5);
    let scores = reals(&mut random, CONTEXT, 3.0);
    let targets: Vec<f32> = (0..CONTEXT).map(|i| (i % 3 / 2) as f32).collect();
    let losses: Vec<f32> = (0..4 * CONTEXT).map(|_| 2.0 + random.real()).collect();
    let ([squares, classes, pairs], done) = run(|make| {
        let [targets, weight] =
            [make.values("targets", &[1, CONTEXT], &targets), make.values("weight", &[1], &[1.0])];
        let [a, b] = ["a", "b"].map(|label| make.values(label, &[1, CONTEXT], &scores));
        let [squares, classes] = ["squares", "classes"].map(|label| make.values(label, &[1, 2], &[0.0; 2]));
        squared_error(&mut make.plan, a, [targets, weight, squares]);
        binary_cross_entropy(&mut make.plan, b, [targets, weight, classes]);
        let n = CONTEXT as u32;
        let losses = make.values("losses", &[2 * CONTEXT, 2], &losses);
        let ranges = make.words("ranges", &[2, 2], &[0, n, n, 2 * n]);
        let [reference, scales, weights] = [
            make.values("reference", &[2], &[0.0; 2]),
            make.values("scales", &[2], &[0.1; 2]),
            make.values("weights", &[2 * CONTEXT], &[0.0; 2 * CONTEXT]),
        ];
        let pairs = preference(&mut make.plan, 1.0, losses, [ranges, reference, scales, weights]);
        [squares, classes, pairs]
    });
    let each = || wide(&scores).into_iter().zip(wide(&targets));
    let n = CONTEXT as f64;
    let want = each().map(|(s, t)| (s - t).powi(2)).sum::<f64>() / n;
    assert_rounded("squared error", &read(&done, squares)[..1], &[want], 2.0, 0.0);
    let want = each().map(|(s, t)| s.max(0.0) - s * t + (-s.abs()).exp().ln_1p()).sum::<f64>() / n;
    assert_rounded("binary cross-entropy", &read(&done, classes)[..1], &[want], 2.0, 0.0);
    let sums = losses.chunks_exact(2 * CONTEXT).map(|of| wide(of).iter().step_by(2).sum::<f64>());
    let [chosen, rejected] = sums.collect::<Vec<_>>()[..] else { unreachable!("two sequences") };
    let margin = 0.1 * (rejected - chosen);
    let want = (-margin).max(0.0) + (-margin.abs()).exp().ln_1p();
    assert_rounded("preference", &read(&done, pairs)[..1], &[want], 1.0, 0.1 * (chosen + rejected));
}

/// Products with a matrix as high as a vocabulary, in two slabs, and with one as wide as a model.
#[test]
fn products_with_long_rows_and_columns() {
    let (rows, cols) = ([100_000, VOCABULARY - 100_000], 32);
    let format = FORMATS.iter().find(|format| format.name == "F32").expect("the plain format");
    let (made, done) = run(|make| {
        let high = make.matrix(format, &rows, cols);
        let dy = make.reals("dy", &[2, VOCABULARY]);
        let dx = make.reals("dx", &[2, cols]);
        matmul_backward(&mut make.plan, dy, &high, dx, false);
        let long = make.matrix(format, &[3], WIDTH);
        let [x, y] = [make.reals("x", &[2, WIDTH]), make.reals("y", &[2, 3])];
        matmul(&mut make.plan, x, &long, y, false);
        let norms = make.reals("norms", &[3]);
        row_norms(&mut make.plan, &long, [0, 3], Rows::from(norms));
        ([high, long], [dy, dx, x, y, norms])
    });
    let ([high, long], [dy, dx, x, y, norms]) = made;
    let values = |matrix: &Matrix| -> Vec<f32> {
        let read = |slab: &Slab| block_on(slab.qs.read().words()).expect("a readback");
        let words = matrix.slabs.iter().flat_map(read);
        bytemuck::cast_vec(words.collect::<Vec<u32>>())
    };
    let (high, long) = (values(&high), values(&long));
    for (dy, dx) in read(&done, dy).chunks_exact(VOCABULARY).zip(read(&done, dx).chunks_exact(cols)) {
        // Each slab's sum is rounded, the first being as large as any.
        assert_rounded("dx", dx, &mixed(&wide(dy), &high), 1.0, 300.0);
    }
    for (x, y) in read(&done, x).chunks_exact(WIDTH).zip(read(&done, y).chunks_exact(3)) {
        let want: Vec<f64> = long.chunks_exact(WIDTH).map(|w| dot(x, w)).collect();
        assert_rounded("y", y, &want, 1.0, 0.0);
    }
    let want: Vec<f64> = long.chunks_exact(WIDTH).map(|w| dot(w, w).sqrt()).collect();
    assert_rounded("norms", &read(&done, norms), &want, 1.0, 0.0);
}

#[test]
fn norms_and_means() {
    let mut random = Random::new(7);
    let [x, w, dy] = [(); 3].map(|()| reals(&mut random, WIDTH, 1.0));
    let grad: Vec<f32> = reals(&mut random, 1_000_000, 0.01);
    let rows: Vec<f32> = (0..4 * CONTEXT).map(|_| 1.0 + random.real()).collect();
    let ([y, dx, norm, means], done) = run(|make| {
        let [x, dy] = [("x", &x), ("dy", &dy)].map(|(label, of)| make.values(label, &[1, WIDTH], of));
        let w = make.values("w", &[WIDTH], &w);
        let y = rms_norm(&mut make.plan, x, w, 1e-6);
        let dx = make.reals("dx", &[1, WIDTH]);
        rms_norm_backward(&mut make.plan, [x, w], 1e-6, dy, dx, false);
        let hyper = make.values("hyper", &[OptimizerSettings::WORDS], &[0.0; OptimizerSettings::WORDS]);
        let grad = make.values("grad", &[grad.len()], &grad);
        let norm = grad_norm(&mut make.plan, hyper, grad);
        let ranges = make.words("ranges", &[1, 2], &[0, CONTEXT as u32]);
        let rows = make.values("rows", &[CONTEXT, 4], &rows);
        [y, dx, norm, mean_rows(&mut make.plan, ranges, rows)]
    });
    let scale = (dot(&x, &x) / WIDTH as f64 + 1e-6).sqrt().recip();
    let each = || wide(&x).into_iter().zip(wide(&w)).zip(wide(&dy));
    let want: Vec<f64> = each().map(|((x, w), _)| x * w * scale).collect();
    assert_rounded("rms_norm", &read(&done, y), &want, 4.0, 0.0);
    let pull = each().map(|((x, w), dy)| x * w * dy).sum::<f64>() / WIDTH as f64 * scale * scale;
    let want: Vec<f64> = each().map(|((x, w), dy)| scale * (w * dy - x * pull)).collect();
    assert_rounded("rms_norm_backward", &read(&done, dx), &want, 4.0, 0.02);
    assert_rounded("grad_norm", &read(&done, norm)[..1], &[dot(&grad, &grad).sqrt()], 1.0, 0.0);
    let want: Vec<f64> = mixed(&vec![1.0; CONTEXT], &rows).iter().map(|sum| sum / CONTEXT as f64).collect();
    assert_rounded("mean_rows", &read(&done, means), &want, 1.0, 0.0);
}

/// A context of keys before two queries, and two keys before a context of queries.
#[test]
fn attention_over_a_context() {
    const D: usize = 32;
    let heads = Heads { n_head: 1, n_head_kv: 1, head_dim: D, window: None, scale: 0.2, cap: 0.0 };
    for [n_queries, n_keys] in [[2, CONTEXT], [CONTEXT, 2]] {
        let mut random = Random::new(11);
        let [q, dout] = [(); 2].map(|()| reals(&mut random, n_queries * D, 1.0));
        let [k, v] = [(); 2].map(|()| reals(&mut random, n_keys * D, 1.0));
        let ([out, dq, dk, dv], done) = run(|make| {
            let rows =
                |make: &mut Make<'_>, label: &str, of: &[f32]| make.values(label, &[of.len() / D, D], of);
            let qkv = [rows(make, "q", &q), rows(make, "k", &k), rows(make, "v", &v)];
            let dout = rows(make, "dout", &dout);
            let runs = |make: &mut Make<'_>, label, n: usize, end: usize| {
                make.words(label, &[n, 2], &[0, end as u32].repeat(n))
            };
            let span = runs(make, "span", n_queries, n_keys);
            let reach = runs(make, "reach", n_keys, n_queries);
            let [out, stats] = attention(&mut make.plan, &heads, qkv, span);
            let [dq, dk, dv] = attention_backward(
                &mut make.plan,
                &heads,
                qkv,
                [qkv[1], qkv[2]],
                [span, reach],
                [out, stats],
                dout,
            );
            [out, dq, dk, dv]
        });
        let want = Attended::of([&q, &k, &v, &dout], D, 0.2f32.into());
        let typical =
            |values: &[f64]| (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
        let greatest = |values: &[f64]| values.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        // Gradients take a share from a logarithm of 8: that, its sum and the exponent are rounded to 10.5 units in all, of
        // terms as large as the greatest value.
        for (what, got, want, ulps, floor) in [
            ("out", out, &want.out, 4.0, typical(&want.out)),
            ("dq", dq, &want.dq, 12.0, greatest(&want.dq)),
            ("dk", dk, &want.dk, 12.0, greatest(&want.dk)),
            ("dv", dv, &want.dv, 12.0, greatest(&want.dv)),
        ] {
            let what = format!("{what} of {n_queries} queries, {n_keys} keys,");
            assert_rounded(&what, &read(&done, got), want, ulps, floor);
        }
    }
}

/// Attention and its gradients in f64.
struct Attended {
    out: Vec<f64>,
    dq: Vec<f64>,
    dk: Vec<f64>,
    dv: Vec<f64>,
}

impl Attended {
    fn of([q, k, v, dout]: [&[f32]; 4], d: usize, scale: f64) -> Attended {
        let mut of = Attended { out: vec![], dq: vec![], dk: vec![0.0; k.len()], dv: vec![0.0; v.len()] };
        for (q, dout) in q.chunks_exact(d).zip(dout.chunks_exact(d)) {
            let masses: Vec<f64> = k.chunks_exact(d).map(|k| (scale * dot(q, k)).exp()).collect();
            let mass: f64 = masses.iter().sum();
            let shares: Vec<f64> = masses.iter().map(|m| m / mass).collect();
            let out = mixed(&shares, v);
            let delta: f64 = out.iter().zip(dout).map(|(out, d)| out * f64::from(*d)).sum();
            let dscores: Vec<f64> = shares
                .iter()
                .zip(v.chunks_exact(d))
                .map(|(p, v)| scale * p * (dot(dout, v) - delta))
                .collect();
            for (key, (p, ds)) in shares.iter().zip(&dscores).enumerate() {
                for i in 0..d {
                    of.dv[key * d + i] += p * f64::from(dout[i]);
                    of.dk[key * d + i] += ds * f64::from(q[i]);
                }
            }
            of.dq.extend(mixed(&dscores, k));
            of.out.extend(out);
        }
        of
    }
}

#[test]
fn layers_of_small_networks() {
    let mut random = Random::new(13);
    let it = Dense { n_in: 8, n_out: WIDTH, w_at: 0, b_at: Some(8 * WIDTH) };
    let theta = reals(&mut random, 9 * WIDTH, 1.0);
    let (x, dy) = (reals(&mut random, 8, 1.0), reals(&mut random, WIDTH, 1.0));
    let many = Dense { n_in: 4, n_out: 1, w_at: 0, b_at: Some(4) };
    let (xs, dys) = (reals(&mut random, 4 * CONTEXT, 1.0), reals(&mut random, CONTEXT, 1.0));
    let wide_in = Dense { n_in: WIDTH, n_out: 1, w_at: 0, b_at: None };
    let ([dx, grad, y], done) = run(|make| {
        let theta = make.values("theta", &[theta.len()], &theta);
        let x = make.values("x", &[1, 8], &x);
        let row = make.values("dy", &[1, WIDTH], &dy);
        let unused = make.reals("unused", &[9 * WIDTH]);
        let dx = dense_backward(&mut make.plan, &it, x, row, [theta, unused]);
        let grad = make.reals("grad", &[5]);
        let [xs, dys] = [make.values("xs", &[CONTEXT, 4], &xs), make.values("dys", &[CONTEXT, 1], &dys)];
        dense_backward(&mut make.plan, &many, xs, dys, [theta, grad]);
        [dx, grad, dense(&mut make.plan, &wide_in, row, theta)]
    });
    assert_rounded("dx", &read(&done, dx), &mixed(&wide(&dy), &theta[..8 * WIDTH]), 1.0, 0.0);
    let mut want = mixed(&wide(&dys), &xs);
    want.push(wide(&dys).iter().sum());
    assert_rounded("gradient", &read(&done, grad), &want, 1.0, 0.0);
    assert_rounded("y", &read(&done, y), &[dot(&dy, &theta[..WIDTH])], 1.0, 0.0);
}

/// The gradients of what a context of edits shares.
#[test]
fn gradients_of_shared_parameters() {
    const D: usize = 4;
    let mut random = Random::new(17);
    let [h, dh] = [(); 2].map(|()| reals(&mut random, CONTEXT * D, 1.0));
    let each_row: Vec<u32> = (0..CONTEXT as u32).flat_map(|row| [row, 1]).collect();
    let same_row: Vec<u32> = (0..CONTEXT as u32).flat_map(|row| [row, 0]).collect();
    let ([scales, rows], done) = run(|make| {
        let strength = make.values("strength", &[CONTEXT, 1], &[1.0; CONTEXT]);
        let theta = make.values("theta", &[D], &[1.0; D]);
        let edited = make.values("h", &[CONTEXT, D], &h);
        let [d, e] = ["d", "e"].map(|label| make.values(label, &[CONTEXT, D], &dh));
        let [scales, rows] = ["scales", "rows"].map(|label| make.reals(label, &[D]));
        let inputs =
            ScaleInputs { rows: make.words("each", &[CONTEXT, 2], &each_row), strength, theta, bias: None };
        let scale = Scale { n_embd: D, first: 0, l_at: 0 };
        let before = scale_rows(&mut make.plan, &scale, &inputs, edited);
        scale_rows_backward(&mut make.plan, &scale, &inputs, before, [d, scales], false);
        let it = LearnedRows { n_embd: D, first: 0, n_rows: 1, rows_at: 0, row_stride: D, encoded: false };
        let same = make.words("same", &[CONTEXT, 2], &same_row);
        learned_rows_backward(&mut make.plan, &it, [same, strength], [e, rows]);
        [scales, rows]
    });
    let want: Vec<f64> = (0..D).map(|i| dot(&column(&h, D, i), &column(&dh, D, i))).collect();
    // Terms are rounded: 4,096 of them, each by a part of a unit of 1.
    assert_rounded("scales", &read(&done, scales), &want, 1.0, 16.0);
    assert_rounded("rows", &read(&done, rows), &mixed(&vec![1.0; CONTEXT], &dh), 1.0, 0.0);
}

fn column(rows: &[f32], width: usize, at: usize) -> Vec<f32> {
    rows.iter().copied().skip(at).step_by(width).collect()
}

/// h + Pᵀ(W·h + b − P·h) of one wide row, and the gradients that a context of narrow ones adds up.
#[test]
fn edits_of_wide_and_of_many_rows() {
    for [n_edits, n_embd] in [[1, WIDTH], [CONTEXT, 8]] {
        let mut random = Random::new(19);
        let it = Edit {
            n_embd,
            n_in: n_embd,
            first: 0,
            rank: 1,
            learned: Learned::State,
            act: Activation::Linear,
            subtracts: true,
            free: true,
            w_at: 0,
            b_at: Some(n_embd),
            p_at: n_embd + 1,
            c_at: None,
        };
        let scale = (n_embd as f32).sqrt().recip();
        let theta = reals(&mut random, 2 * n_embd + 1, scale);
        let [h, dh] = [(); 2].map(|()| reals(&mut random, n_edits * n_embd, 1.0));
        let rows: Vec<u32> = (0..n_edits as u32).flat_map(|row| [row, 1]).collect();
        let ([edited, grad, back], done) = run(|make| {
            let theta = make.values("theta", &[theta.len()], &theta);
            let inputs = EditInputs {
                rows: make.words("rows", &[n_edits, 2], &rows),
                strength: make.values("strength", &[n_edits, 1], &vec![1.0; n_edits]),
                theta,
                rot: make.reals("rot", &[1]),
                source: None,
            };
            let [edited, back] =
                [("h", &h), ("dh", &dh)].map(|(label, of)| make.values(label, &[n_edits, n_embd], of));
            let trace = lowrank_edit(&mut make.plan, &it, &inputs, edited);
            let [grad, drot] = [make.reals("grad", &[2 * n_embd + 1]), make.reals("drot", &[1])];
            lowrank_edit_backward(&mut make.plan, &it, &inputs, &trace, back, [grad, drot], false);
            [edited, grad, back]
        });
        let (w, rest) = theta.split_at(n_embd);
        let (b, p) = (f64::from(rest[0]), &rest[1..]);
        let (mut want_h, mut want_dh) = (Vec::new(), Vec::new());
        let mut want_grad = vec![0.0; theta.len()];
        for (h, dh) in h.chunks_exact(n_embd).zip(dh.chunks_exact(n_embd)) {
            let (u, du) = (dot(w, h) + b - dot(p, h), dot(p, dh));
            for i in 0..n_embd {
                let [w, p, h, dh] = [w[i], p[i], h[i], dh[i]].map(f64::from);
                want_h.push(h + u * p);
                want_dh.push(dh + du * (w - p));
                want_grad[i] += du * h;
                want_grad[n_embd + 1 + i] += u * dh - du * h;
            }
            want_grad[n_embd] += du;
        }
        let place = |what| format!("{what} of {n_edits} edits");
        assert_rounded(&place("h"), &read(&done, edited), &want_h, 2.0, 1.0);
        assert_rounded(&place("dh"), &read(&done, back), &want_dh, 2.0, 1.0);
        // What is summed is rounded before, at random: √n terms' worth.
        let floor = (n_edits as f64).sqrt();
        assert_rounded(&place("gradient"), &read(&done, grad), &want_grad, 2.0, floor);
    }
}
