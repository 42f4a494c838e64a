//! Every kernel's shader equals its twin: the same plan, on the CPU and on the GPU at hand.
//!
//! What a step writes may differ by rounding alone: ε · terms · the largest value of the buffer, where `terms` counts
//! the roundings on the way to one value, and that is not taken to be less than what cancels in it. There must be an
//! adapter; a software one will do.

mod common;

use common::case::Case;
use common::{Make, packed_spans};
use pollster::block_on;
use webreft::backend::Backend;
use webreft::kernel::{
    Activation, Dense, Detection, Dropout, DropoutSettings, Drops, Edit, EditInputs, Heads, Hyper, KERNELS,
    Learned, LearnedRows, Magnitude, Mix, NONE, Optimizer, OptimizerSettings, OrthogonalMap, QkNorm, Rope,
    Rotation, Rows, Scale, ScaleInputs, accumulate, activate, activate_backward, add, add_onto, add_rms_norm,
    attention, attention_backward, bench_fma, binary_cross_entropy, boundary, boundary_backward,
    broadcast_row, cap, copy, copy_from, cross_entropy, dense, dense_backward, detect, detect_backward,
    dropout, embed, gather_rows, glu, glu_backward, glu_gate, glu_gate_backward, grad_norm, learned_rows,
    learned_rows_backward, lowrank_edit, lowrank_edit_backward, lowrank_edit_input, magnitude,
    magnitude_backward, matmul, matmul_backward, mean_rows, mean_rows_backward, mix_rows, mix_rows_backward,
    mul_up, optimizer, preference, put_rows, qk_norm, qk_norm_backward, reward_loss, rms_norm,
    rms_norm_backward, rope_qkv, rope_qkv_backward, rotation, rotation_backward, row_norms, scale_rows,
    scale_rows_backward, spread, squared_error, token_loss, unit_row,
};
use webreft::plan::{Buf, Matrix, Record};
use webreft::quant::FORMATS;

const TOKENS: [usize; 7] = [1, 2, 3, 4, 5, 65, 130];
const WIDTHS: [usize; 4] = [4, 36, 64, 1028];

/// Each family of kernels with its cases.
const FAMILIES: [fn() -> Vec<Case>; 13] = [
    large_grids,
    rows,
    norms,
    qk_norms,
    means,
    drops,
    gates,
    weights,
    attentions,
    ropes,
    edits_and_rotations,
    magnitudes,
    losses_and_steps,
];

/// Kernels that tests/sampling.rs has.
const ELSEWHERE: [&str; 1] = ["sample"];

#[test]
fn every_shader_equals_its_twin() {
    equals_the_twins(&block_on(Backend::gpu()).expect("an adapter: a software one will do"));
}

#[test]
fn every_fast_form_equals_its_twin() {
    equals_the_twins(&Backend::cpu_with(1));
}

#[test]
fn every_fast_form_equals_its_twin_on_three_threads() {
    equals_the_twins(&Backend::cpu_with(3));
}

fn equals_the_twins(machine: &Backend) {
    let cases = FAMILIES.iter().flat_map(|family| family());
    let differences: Vec<String> = cases.flat_map(|case| case.differences(machine)).collect();
    assert!(differences.is_empty(), "{}\n{}", machine.name(), differences.join("\n"));
}

#[test]
fn every_kernel_has_a_case() {
    let mut missing: Vec<&str> = KERNELS.iter().map(|operation| operation.kernel.name).collect();
    missing.retain(|name| !ELSEWHERE.contains(name));
    for case in FAMILIES.iter().flat_map(|family| family()) {
        for step in case.make(&Backend::twins()).plan.steps() {
            missing.retain(|name| *name != step.kernel.name);
        }
    }
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// Pairs of a count of tokens and a width.
fn shapes() -> impl Iterator<Item = [usize; 2]> {
    TOKENS.into_iter().flat_map(|t| WIDTHS.into_iter().map(move |d| [t, d]))
}

/// More workgroups than a dispatch has in one dimension: LoRA of rank 8 on every matrix of a 1B model has 5.6 million parameters.
const MANY: usize = 65_537;

fn large_grids() -> Vec<Case> {
    let parameters = Case::new("as many parameters as LoRA has", 64, |make| {
        let n = 64 * MANY;
        let hyper =
            make.words("hyper", &[OptimizerSettings::WORDS], &Hyper::with_rate(1e-2).at_step(2).words());
        let norm = make.values("norm", &[2], &[1.0, 1.0]);
        let [x, sum, p, m, before] = ["x", "sum", "p", "m", "before"].map(|label| make.reals(label, &[n]));
        let [decays, v] = ["decays", "v"].map(|label| make.values(label, &[n], &vec![0.5; n]));
        accumulate(&mut make.plan, x, sum, true);
        optimizer(&mut make.plan, [hyper, decays, norm], sum, [p, m, v, before]);
    });
    let rows = Case::new("more rows than a dispatch has workgroups", 64, |make| {
        let [x, y] = ["x", "y"].map(|label| make.reals(label, &[MANY, 4]));
        let w = make.reals("w", &[4]);
        rms_norm(&mut make.plan, x, w, 1e-5);
        add(&mut make.plan, "sum", x, y);
        activate(&mut make.plan, Activation::Silu, x);
        let index = make.random.shuffled(MANY);
        let index = make.words("index", &[MANY], &index);
        gather_rows(&mut make.plan, "gathered", index, x);
        let heads = Heads { n_head: 1, n_head_kv: 1, head_dim: 4, window: Some(3), scale: 0.5, cap: 0.0 };
        let span: Vec<u32> = (0..MANY as u32).flat_map(|t| [0, t + 1]).collect();
        let span = make.words("span", &[MANY, 2], &span);
        attention(&mut make.plan, &heads, [x, y, y], span);
    });
    vec![parameters, rows.cancelling(1.0)]
}

fn rows() -> Vec<Case> {
    let case = |[t, d]: [usize; 2]| {
        Case::new(format!("rows [{t}, {d}]"), 1, move |make| {
            let [a, b, bias] = [("a", vec![t, d]), ("b", vec![t, d]), ("bias", vec![d])]
                .map(|(label, shape)| make.reals(label, &shape));
            add(&mut make.plan, "sum", a, b);
            let onto = make.reals("onto", &[t, d]);
            add_onto(&mut make.plan, a, onto);
            copy(&mut make.plan, "copied", a);
            if d > 4 {
                copy_from(&mut make.plan, "part", Rows { buf: a, at: 3 }, [t, d - 3]);
            }
            broadcast_row(&mut make.plan, bias, b);
            let mut index = make.random.shuffled(t);
            index.extend([NONE, 0, NONE]);
            let index = make.words("index", &[t + 3], &index);
            gather_rows(&mut make.plan, "gathered", index, a);
            let index = make.random.shuffled(t + 3);
            let index = make.words("index", &[t], &index[..t]);
            let onto = make.reals("onto", &[t + 3, d]);
            put_rows(&mut make.plan, index, a, onto);
        })
    };
    shapes().map(case).collect()
}

fn norms() -> Vec<Case> {
    let case = |[t, d]: [usize; 2]| {
        Case::new(format!("norms [{t}, {d}]"), d + 16, move |make| {
            let [x, dy, over, onto] = ["x", "dy", "over", "onto"].map(|label| make.reals(label, &[t, d]));
            let w = make.reals("w", &[d]);
            rms_norm(&mut make.plan, x, w, 1e-5);
            add_rms_norm(&mut make.plan, [x, dy], w, 1e-5);
            rms_norm_backward(&mut make.plan, [x, w], 1e-5, dy, over, false);
            rms_norm_backward(&mut make.plan, [x, w], 1e-5, dy, onto, true);
        })
    };
    shapes().map(case).collect()
}

fn qk_norms() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n_q, q_width, n_k, k_width, rest) in [(1, 4, 1, 4, 4), (3, 36, 1, 36, 36), (1, 1028, 1, 64, 64)] {
        for t in TOKENS {
            let name = format!("norms of {n_q} x {q_width} and {n_k} x {k_width}, {t} tokens");
            cases.push(Case::new(name, q_width + 16, move |make| {
                let norm = QkNorm { n_q, q_width, n_k, k_width, eps: 1e-5 };
                let width = n_q * q_width + n_k * k_width + rest;
                let [qkv, dqkv] = ["qkv", "dqkv"].map(|label| make.reals(label, &[t, width]));
                let w = make.reals("w", &[q_width + k_width]);
                qk_norm(&mut make.plan, &norm, qkv, w);
                qk_norm_backward(&mut make.plan, &norm, [qkv, w], dqkv);
            }));
        }
    }
    cases
}

fn means() -> Vec<Case> {
    let case = |[t, d]: [usize; 2]| {
        Case::new(format!("means [{t}, {d}]"), t + 4, move |make| {
            let x = make.reals("x", &[t, d]);
            let ranges: Vec<u32> =
                (0..t as u32).step_by(3).flat_map(|first| [first, (first + 3).min(t as u32)]).collect();
            let n_runs = ranges.len() / 2;
            let ranges = make.words("ranges", &[n_runs, 2], &ranges);
            let dy = make.reals("dy", &[n_runs, d]);
            mean_rows(&mut make.plan, ranges, x);
            mean_rows_backward(&mut make.plan, ranges, dy, t);
        })
    };
    shapes().map(case).collect()
}

fn gates() -> Vec<Case> {
    let case = |[t, f]: [usize; 2]| {
        Case::new(format!("gates [{t}, {f}]"), 32, move |make| {
            let wide: Vec<f32> = make.random.reals(t * 2 * f).iter().map(|x| 8.0 * x).collect();
            let gate_up = make.values("gate_up", &[t, 2 * f], &wide);
            let dy = make.reals("dy", &[t, f]);
            for act in [Activation::Silu, Activation::GeluTanh] {
                glu(&mut make.plan, act, gate_up);
                glu_backward(&mut make.plan, act, gate_up, dy);
                let g = glu_gate(&mut make.plan, act, gate_up);
                let dg = mul_up(&mut make.plan, "dg", dy, gate_up);
                glu_gate_backward(&mut make.plan, act, [gate_up, g], [dy, dg]);
            }
        })
    };
    shapes().map(case).collect()
}

fn weights() -> Vec<Case> {
    let mut cases = Vec::new();
    for format in FORMATS {
        let narrow = format.cols_multiple;
        let shapes: [(usize, usize, &[usize]); 9] = [
            (1, narrow, &[1]),
            (1, 1056, &[259]),
            (2, 5 * narrow, &[3, 5]),
            (3, 96, &[66, 7]),
            (4, 160, &[7, 4, 130]),
            (5, narrow, &[2]),
            (5, 3 * narrow, &[1, 64]),
            (65, 96, &[34, 70]),
            (130, 160, &[130]),
        ];
        for (t, cols, rows) in shapes {
            let cols = cols.next_multiple_of(format.cols_multiple);
            let name = format!("{format:?} {rows:?} x {cols}, {t} tokens");
            let total: usize = rows.iter().sum();
            cases.push(Case::new(name, total.max(cols) + 16, move |make| {
                let matrix = make.matrix(format, rows, cols);
                let [x, dx, dx_onto] = ["x", "dx", "dx_onto"].map(|label| make.reals(label, &[t, cols]));
                let [dy, y, y_onto] = ["dy", "y", "y_onto"].map(|label| make.reals(label, &[t, total]));
                matmul(&mut make.plan, x, &matrix, y, false);
                matmul(&mut make.plan, x, &matrix, y_onto, true);
                matmul_backward(&mut make.plan, dy, &matrix, dx, false);
                matmul_backward(&mut make.plan, dy, &matrix, dx_onto, true);
                let tokens: Vec<u32> = (0..t).map(|_| make.random.below(total) as u32).collect();
                let tokens = make.words("tokens", &[t], &tokens);
                embed(&mut make.plan, tokens, &matrix, 1.0);
                embed(&mut make.plan, tokens, &matrix, 8.5);
            }));
        }
    }
    cases
}

fn attentions() -> Vec<Case> {
    let heads = [(1, 1, 4), (2, 1, 8), (6, 2, 64), (3, 3, 68), (4, 2, 128), (2, 1, 256)];
    let mut cases = Vec::new();
    for (n_head, n_head_kv, head_dim) in heads {
        for t in TOKENS {
            let name = format!("attention {n_head}/{n_head_kv} heads of {head_dim}, {t} tokens");
            let scale = 1.0 / (head_dim as f32).sqrt();
            let all = Heads { n_head, n_head_kv, head_dim, window: None, scale, cap: 0.0 };
            let some = Heads { window: Some(3), cap: 0.4, ..all };
            let case = Case::new(name, t + head_dim + 64, move |make| {
                let q = make.reals("q", &[t, n_head * head_dim]);
                let [k, v] = ["k", "v"].map(|label| make.reals(label, &[t, n_head_kv * head_dim]));
                let dout = make.reals("dout", &[t, n_head * head_dim]);
                let [span, reach] = packed_spans(t);
                let span = make.words("span", &[t, 2], &span);
                let reach = make.words("reach", &[t, 2], &reach);
                for heads in [all, some] {
                    let forward = attention(&mut make.plan, &heads, [q, k, v], span);
                    attention_backward(
                        &mut make.plan,
                        &heads,
                        [q, k, v],
                        [k, v],
                        [span, reach],
                        forward,
                        dout,
                    );
                }
            });
            cases.push(case.cancelling(1.0)); // a single key has a share of 1, whatever its score
        }
    }
    // Decode: one query in each of three sequences, over runs of a long cache; scores far apart.
    cases.push(Case::new("attention over a cache", 512, |make| {
        let heads = Heads { n_head: 4, n_head_kv: 2, head_dim: 64, window: None, scale: 4.0, cap: 0.0 };
        let q = make.reals("q", &[3, 256]);
        let [k, v] = ["k", "v"].map(|label| make.reals(label, &[600, 128]));
        let span = make.words("span", &[3, 2], &[0, 1, 7, 200, 257, 600]);
        attention(&mut make.plan, &heads, [q, k, v], span);
        attention(&mut make.plan, &Heads { window: Some(100), cap: 5.0, ..heads }, [q, k, v], span);
    }));
    cases
}

fn ropes() -> Vec<Case> {
    let mut cases = Vec::new();
    for t in TOKENS {
        for (n_head, n_head_kv, head_dim, n_rot) in
            [(1, 1, 4, 4), (3, 1, 8, 4), (4, 2, 64, 64), (9, 3, 12, 8)]
        {
            let name = format!("rope {n_head}/{n_head_kv} heads of {head_dim}, {n_rot} turned, {t} tokens");
            let rope = Rope { n_head, n_head_kv, head_dim, n_rot };
            cases.push(Case::new(name, 4, move |make| {
                let (n_rows, n_positions) = (t + 3, 11);
                let qkv = make.reals("qkv", &[t, (n_head + 2 * n_head_kv) * head_dim]);
                let [k, v] = ["k", "v"].map(|label| make.reals(label, &[n_rows, n_head_kv * head_dim]));
                let table = make.reals("table", &[n_positions, n_rot / 2, 2]);
                let rows = make.random.shuffled(n_rows);
                let place: Vec<u32> =
                    (0..t).flat_map(|i| [make.random.below(n_positions) as u32, rows[i]]).collect();
                let place = make.words("place", &[t, 2], &place);
                rope_qkv(&mut make.plan, &rope, qkv, [table, place], [k, v]);
                let dq = make.reals("dq", &[t, n_head * head_dim]);
                let [dk, dv] = ["dk", "dv"].map(|label| make.reals(label, &[n_rows, n_head_kv * head_dim]));
                rope_qkv_backward(&mut make.plan, &rope, [dq, dk, dv], [table, place]);
            }));
        }
    }
    cases
}

fn edits_and_rotations() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n_embd, rank, n_edits) in [(4, 1, 1), (36, 4, 2), (64, 3, 5), (130, 9, 70), (260, 8, 3)] {
        for (act, learned, subtracts, free, onto) in edit_forms() {
            let name = format!(
                "{} edit by {learned:?} of rank {rank} in {n_embd}, {n_edits} rows, subtracts {subtracts}, free {free}, onto {onto}",
                act.name()
            );
            cases.push(Case::new(name, 4 * n_embd + n_edits + 64, move |make| {
                edit_case(make, [n_embd, rank, n_edits], (act, learned, subtracts, free, onto));
            }));
        }
        cases.push(Case::new(format!("{n_edits} rows of {n_embd} scaled"), 2 * n_edits + 8, move |make| {
            let (rows, strength, t) = edited_rows(make, n_edits, 1);
            let [h, dh] = ["h", "dh"].map(|label| make.reals(label, &[t, n_embd + 7]));
            let [theta, grad] = ["theta", "grad"].map(|label| make.reals(label, &[n_embd + 5]));
            let scale = Scale { n_embd, first: 3, l_at: 4 };
            let bias = make.reals("bias", &[n_embd + 7]);
            for bias in [None, Some(bias)] {
                let inputs = ScaleInputs { rows, strength, theta, bias };
                let before = scale_rows(&mut make.plan, &scale, &inputs, h);
                scale_rows_backward(&mut make.plan, &scale, &inputs, before, [dh, grad], n_edits % 2 == 0);
            }
        }));
        let name = format!("{n_edits} rows of {n_embd} set to learned ones");
        cases.push(Case::new(name, n_edits + 4, move |make| {
            // Counts of 1 to 3 name learned rows here.
            let (rows, strength, t) = edited_rows(make, n_edits, 1);
            let [h, dh] = ["h", "dh"].map(|label| make.reals(label, &[t, n_embd + 7]));
            let [learned, grad] = ["learned", "grad"].map(|label| make.reals(label, &[4 * (n_embd + 2) + 4]));
            let it = LearnedRows {
                n_embd,
                first: 3,
                n_rows: 4,
                rows_at: 4,
                row_stride: n_embd + 2,
                encoded: false,
            };
            learned_rows(&mut make.plan, &it, [rows, strength, learned], h);
            learned_rows_backward(&mut make.plan, &it, [rows, strength], [dh, grad]);
        }));
        cases.push(Case::new(format!("{n_edits} rows of {n_embd} activated"), 64, move |make| {
            let [x, dy] = ["x", "dy"].map(|label| make.reals(label, &[n_edits, n_embd]));
            for act in Activation::ALL {
                activate(&mut make.plan, act, x);
                activate_backward(&mut make.plan, act, x, dy);
            }
        }));
        cases.push(Case::new(format!("{n_edits} rows of {n_embd} mixed"), 4, move |make| {
            let (rows, strength, t) = edited_rows(make, n_edits, 1);
            let [h, dh] = ["h", "dh"].map(|label| make.reals(label, &[t, n_embd + 7]));
            let source = make.reals("source", &[n_edits, n_embd]);
            for (keep, gain) in [(0.0, 1.0), (1.0, -1.0), (0.0, 0.0)] {
                let mix = Mix { n_embd, first: 3, keep, gain };
                let source = (gain != 0.0).then_some(source);
                mix_rows(&mut make.plan, &mix, [rows, strength], source, h);
                mix_rows_backward(&mut make.plan, &mix, [rows, strength], dh);
            }
        }));
    }
    for (n_embd, rank, n_reflections) in [(4, 1, 0), (4, 3, 2), (68, 8, 5), (260, 9, 9)] {
        let name = format!("rotation of rank {rank} in {n_embd}, {n_reflections} reflections under it");
        cases.push(Case::new(name, 8 * n_embd + 64, move |make| {
            let map = OrthogonalMap::Householder { n_reflections };
            let it = Rotation { n_embd, rank, map, base_at: 3, x_at: 5, r_at: 2 };
            let [theta, base] = rotation_inputs(make, &it, n_reflections);
            let len = rank * n_embd + 7;
            let [rot, drot, grad] = ["rot", "drot", "grad"].map(|label| make.reals(label, &[len]));
            rotation(&mut make.plan, &it, [theta, base, rot]);
            rotation_backward(&mut make.plan, &it, false, [theta, base, drot, grad]);
            let within = make.reals("within", &[len]);
            rotation_backward(&mut make.plan, &it, true, [theta, base, drot, within]);
        }));
    }
    for n_embd in [1, 5, 68] {
        // A sum of D terms in each of the products on the way, and there are up to 28 of them.
        cases.push(Case::new(format!("square rotation in {n_embd}"), 28 * (n_embd + 4), move |make| {
            let it = Rotation {
                n_embd,
                rank: n_embd,
                map: OrthogonalMap::MatrixExp,
                base_at: 3,
                x_at: 5,
                r_at: 2,
            };
            let len = n_embd * n_embd + 7;
            let [theta, base, rot, drot, grad] =
                ["theta", "base", "rot", "drot", "grad"].map(|label| make.reals(label, &[len]));
            rotation(&mut make.plan, &it, [theta, base, rot]);
            rotation_backward(&mut make.plan, &it, false, [theta, base, drot, grad]);
        }));
    }
    for (n_edits, n_embd) in [(1, 4), (9, 130), (200, 36)] {
        cases.push(Case::new(
            format!("detection in {n_edits} rows of {n_embd}"),
            2 * n_edits + n_embd,
            move |make| {
                detection_case(make, [n_edits, n_embd]);
            },
        ));
    }
    for (n_edits, n_embd) in [(1, 4), (3, 130), (70, 36)] {
        for (beta, temperature, onto) in [(0.5, 50.0, false), (0.3, 0.5, true), (1.5, 5.0, false)] {
            let name = format!("boundary {beta} in {n_edits} rows of {n_embd} at {temperature}");
            cases.push(Case::new(name, n_edits * n_embd + 64, move |make| {
                boundary_case(make, [n_edits, n_embd], [beta, temperature], onto);
            }));
        }
    }
    cases
}

/// An edit of the whole width within a learned boundary, and the boundary's gradient.
fn boundary_case(make: &mut Make<'_>, [n_edits, n_embd]: [usize; 2], of_theta: [f32; 2], onto: bool) {
    let (rows, strength, t) = edited_rows(make, n_edits, n_embd);
    let [h, dh] = ["h", "dh"].map(|label| make.reals(label, &[t, n_embd]));
    let source = make.reals("source", &[n_edits, n_embd]);
    let theta = make.values("theta", &[2], &of_theta);
    let rot = make.reals("rot", &[n_embd * n_embd]);
    let [grad, drot] = [("grad", 2), ("drot", n_embd * n_embd)].map(|(label, len)| make.reals(label, &[len]));
    let masked = boundary(&mut make.plan, 0, strength, theta);
    let edit = Edit {
        n_embd,
        n_in: n_embd,
        first: 0,
        rank: n_embd,
        learned: Learned::Source,
        act: Activation::Linear,
        subtracts: true,
        free: false,
        w_at: 0,
        b_at: None,
        p_at: 0,
        c_at: None,
    };
    let inputs = EditInputs { rows, strength: masked, theta, rot, source: Some(source) };
    let trace = lowrank_edit(&mut make.plan, &edit, &inputs, h);
    let gradient = lowrank_edit_backward(&mut make.plan, &edit, &inputs, &trace, dh, [grad, drot], onto);
    boundary_backward(&mut make.plan, 0, [rows, masked, theta, grad], &trace, gradient, onto);
}

/// Edits as strong as what is detected in two sequences and in one without edits, with gradients and the unit row.
fn detection_case(make: &mut Make<'_>, [n_edits, n_embd]: [usize; 2]) {
    let (rows, strength, t) = edited_rows(make, n_edits, 1);
    let stride = n_embd + 3;
    let [h, dh] = ["h", "dh"].map(|label| make.reals(label, &[t, stride]));
    let (first, end) = ((n_edits / 3) as u32, n_edits as u32);
    let spans = make.words("spans", &[3, 2], &[0, first, first, first, first, end]);
    let numbers: Vec<f32> = (0..n_embd + 3).map(|i| 0.5 + (i as f32).sin()).collect();
    let theta = make.values("theta", &[n_embd + 3], &numbers);
    let [grad, drot] = [("grad", n_embd + 3), ("drot", 2)].map(|(label, len)| make.reals(label, &[len]));
    let rot = make.reals("rot", &[2]);
    let edit = Edit {
        n_embd,
        n_in: n_embd,
        first: 3,
        rank: 1,
        learned: Learned::Bias,
        act: Activation::Linear,
        subtracts: false,
        free: true,
        w_at: 0,
        b_at: Some(n_embd + 1),
        p_at: 1,
        c_at: None,
    };
    let at = Detection { penalty_at: n_embd + 2, peak_at: 1 };
    let detected = detect(&mut make.plan, &edit, [rows, spans, strength, theta], h);
    let inputs = EditInputs { rows, strength: detected.masked, theta, rot, source: None };
    let trace = lowrank_edit(&mut make.plan, &edit, &inputs, h);
    let made = lowrank_edit_backward(&mut make.plan, &edit, &inputs, &trace, dh, [grad, drot], true);
    let to = [dh, grad, drot];
    detect_backward(&mut make.plan, (&edit, at), [rows, theta], (&trace, made), &detected, to);
    unit_row(&mut make.plan, &edit, at, [theta, grad, drot]);
}

/// Rows of one and of several slabs, within a matrix that has others, with a row of zeros among them.
fn magnitudes() -> Vec<Case> {
    let mut cases = Vec::new();
    for format in FORMATS {
        let narrow = format.cols_multiple;
        let shapes: [(usize, usize, &[usize], [usize; 2]); 4] = [
            (1, narrow, &[1], [0, 1]),
            (3, 96, &[66, 7], [3, 70]),
            (4, 160, &[7, 4, 130], [9, 100]),
            (9, 1056, &[259], [100, 130]),
        ];
        for (rank, n_in, rows, window) in shapes {
            let n_in = n_in.next_multiple_of(format.cols_multiple);
            let name = format!("magnitudes of {window:?} of {rows:?} x {n_in} of {format:?}, rank {rank}");
            cases.push(Case::new(name, n_in + 8 * rank + 64, move |make| {
                let matrix = make.matrix(format, rows, n_in);
                magnitude_case(make, &matrix, rank, window);
            }));
        }
    }
    cases
}

fn magnitude_case(make: &mut Make<'_>, matrix: &Matrix, rank: usize, [first, n_embd]: [usize; 2]) {
    let (n_in, w_at) = (matrix.cols, 3);
    let (p_at, m_at) = (w_at + rank * n_in, w_at + rank * (n_in + n_embd) + 1);
    let edit = Edit {
        n_embd,
        n_in,
        first,
        rank,
        learned: Learned::Input,
        act: Activation::Linear,
        subtracts: false,
        free: true,
        w_at,
        b_at: None,
        p_at,
        c_at: None,
    };
    let it = Magnitude { scale: 0.5, m_at, norms_at: 2, scales_at: 2 + n_embd, g_at: 5 };
    let mut theta = make.random.reals(m_at + n_embd + 1);
    theta[p_at..m_at].iter_mut().for_each(|p| *p *= 1e-2); // W₀ is longer than what is added to it
    let theta = make.values("theta", &[theta.len()], &theta);
    let base = make.reals("base", &[2 + n_embd + rank + 1]);
    let [rot, drot] = ["rot", "drot"].map(|label| make.reals(label, &[2 * n_embd + 7]));
    let grad = make.reals("grad", &[m_at + n_embd + 1]);
    let strength = make.reals("strength", &[5, 1]);
    spread(&mut make.plan, &it, rank, strength, base);
    row_norms(&mut make.plan, matrix, [first, n_embd], Rows { buf: base, at: it.norms_at });
    magnitude(&mut make.plan, &edit, &it, matrix, [theta, base, rot]);
    magnitude_backward(&mut make.plan, &edit, &it, [rot, drot, grad]);
    // A row of zeros has no direction.
    let (nothing, none) = (
        make.values("theta", &[m_at + n_embd], &vec![0.0; m_at + n_embd]),
        make.reals("rot", &[2 * n_embd + 7]),
    );
    let zeros = make.values("base", &[2 + n_embd], &vec![0.0; 2 + n_embd]);
    magnitude(&mut make.plan, &edit, &it, matrix, [nothing, zeros, none]);
}

type EditForm = (Activation, Learned, bool, bool, bool);

/// Every function once, and every way to make z with everything else both ways at least once.
fn edit_forms() -> Vec<EditForm> {
    let mut forms: Vec<EditForm> =
        Activation::ALL.map(|act| (act, Learned::State, true, false, false)).into();
    let linear = Activation::Linear;
    forms.extend([
        (linear, Learned::Bias, true, false, true),
        (linear, Learned::State, false, true, true),
        (linear, Learned::State, true, true, false),
        (linear, Learned::Source, true, false, false),
        (Activation::Silu, Learned::Input, false, true, false),
    ]);
    forms
}

/// Rows of a buffer that has two more, how often each counts, and how strongly it is edited.
fn edited_rows(make: &mut Make<'_>, n_edits: usize, width: usize) -> (Buf, Buf, usize) {
    let t = n_edits + 2;
    let rows = make.random.shuffled(t);
    let edits: Vec<u32> =
        rows[..n_edits].iter().flat_map(|row| [*row, 1 + make.random.below(3) as u32]).collect();
    let rows = make.words("edits", &[n_edits, 2], &edits);
    (rows, make.reals("strength", &[n_edits, width]), t)
}

fn edit_case(make: &mut Make<'_>, [n_embd, rank, n_edits]: [usize; 3], form: EditForm) {
    let (act, learned, subtracts, free, onto) = form;
    let (rows, strength, t) = edited_rows(make, n_edits, rank);
    let n_in = if learned == Learned::Input { n_embd + 5 } else { n_embd };
    let at = rank + n_embd;
    let b_at = (learned != Learned::Source).then_some(1);
    let (c_at, p_at) = ((subtracts && free).then_some(at - rank), at + rank * n_in);
    let first = 2;
    let edit = Edit { n_embd, n_in, first, rank, learned, act, subtracts, free, w_at: at, b_at, p_at, c_at };
    let len = p_at + rank * n_embd + 5;
    let [theta, rot, grad, drot] = ["theta", "rot", "grad", "drot"].map(|l| make.reals(l, &[len]));
    let [h, dh] = ["h", "dh"].map(|label| make.reals(label, &[t, n_embd + 7]));
    let source = match learned {
        Learned::Source => Some(make.reals("source", &[n_edits, n_embd])),
        Learned::Input | Learned::SublayerInput => Some(make.reals("x", &[t, n_in])),
        Learned::Bias | Learned::State => None,
    };
    let inputs = EditInputs { rows, strength, theta, rot, source };
    let trace = lowrank_edit(&mut make.plan, &edit, &inputs, h);
    let gradient = lowrank_edit_backward(&mut make.plan, &edit, &inputs, &trace, dh, [grad, drot], onto);
    if learned == Learned::Input {
        let dx = make.reals("dx", &[t, n_in]);
        lowrank_edit_input(&mut make.plan, &edit, &inputs, gradient, None, dx);
        let settings = dropout_settings(make);
        let drops = Drops { settings, number: 3 };
        lowrank_edit_input(&mut make.plan, &edit, &inputs, gradient, Some(drops), dx);
    }
}

fn dropout_settings(make: &mut Make<'_>) -> Buf {
    let settings = Dropout { rate: 0.25, seed: 0x1234_5678_9abc }.settings(17, 40);
    make.words("dropout", &[DropoutSettings::WORDS], &settings.words())
}

/// What a shader drops its twin drops, and what is left has the same bits.
fn drops() -> Vec<Case> {
    let case = |[t, d]: [usize; 2]| {
        Case::new(format!("dropout of {t} rows of {d}"), 0, move |make| {
            let (rows, _, n_rows) = edited_rows(make, t, 1);
            let (settings, x) = (dropout_settings(make), make.reals("x", &[n_rows, d + 7]));
            dropout(&mut make.plan, Drops { settings, number: 2 }, rows, x, [3, d]);
        })
    };
    shapes().map(case).collect()
}

/// Free parameters with ±1 on the diagonal, and a base of unit vectors and signs.
fn rotation_inputs(make: &mut Make<'_>, it: &Rotation, n_reflections: usize) -> [Buf; 2] {
    let n = it.n_embd;
    let mut theta = make.random.reals(it.x_at + it.rank * n + 2);
    for j in 0..it.rank {
        theta[it.x_at + j * n + j] = [1.0, -1.0][j % 2];
    }
    let mut base = make.random.reals(it.base_at + (n_reflections + 1) * n);
    let (units, signs) = base[it.base_at..].split_at_mut(n_reflections * n);
    for unit in units.chunks_exact_mut(n) {
        let length = unit.iter().map(|x| x * x).sum::<f32>().sqrt();
        unit.iter_mut().for_each(|x| *x /= length);
    }
    signs.iter_mut().for_each(|sign| *sign = sign.signum());
    [make.values("theta", &[theta.len()], &theta), make.values("base", &[base.len()], &base)]
}

fn losses_and_steps() -> Vec<Case> {
    let mut cases = Vec::new();
    for (m, n_vocab) in [(1, 4), (3, 257), (66, 128), (2, 5000)] {
        cases.push(Case::new(format!("loss of {m} tokens among {n_vocab}"), n_vocab + 64, move |make| {
            let wide: Vec<f32> = make.random.reals(m * n_vocab).iter().map(|x| 9.0 * x).collect();
            let logits = make.values("logits", &[m, n_vocab], &wide);
            let labels: Vec<u32> = (0..m).map(|_| make.random.below(n_vocab) as u32).collect();
            let labels = make.words("labels", &[m], &labels);
            let (weight, loss) = (make.reals("weight", &[m]), make.reals("loss", &[m, 2]));
            let capped = make.values("capped", &[m, n_vocab], &wide);
            cap(&mut make.plan, capped, 4.0);
            cross_entropy(&mut make.plan, capped, 4.0, [labels, weight, loss], 0);
            cross_entropy(&mut make.plan, logits, 0.0, [labels, weight, loss], 0);
            token_loss(&mut make.plan, logits, [labels, loss], 0);
        }));
    }
    cases.push(Case::new("multiply-adds", 256, |make| {
        let y = make.plan.scratch("y", &[516]);
        bench_fma(&mut make.plan, y, 16);
    }));
    for n in [1, 63, 64, 1000] {
        for (step, decay, clip, which) in
            [(1, 0.0, 0.0, 0), (7, 0.1, 0.5, 0), (2, 0.1, 9.0, 1), (3, 0.1, 1.0, 2)]
        {
            cases.push(Case::new(
                format!("step {step} of {n} parameters, optimizer {which}"),
                32 + n,
                move |make| {
                    let hyper =
                        Hyper { optimizer: Optimizer::ALL[which], decay, clip, ..Hyper::with_rate(1e-2) };
                    let hyper =
                        make.words("hyper", &[OptimizerSettings::WORDS], &hyper.at_step(step).words());
                    let decays: Vec<f32> = (0..n).map(|i| (i % 2) as f32).collect();
                    let decays = make.values("decays", &[n], &decays);
                    let [grad, sum, p, m, before] =
                        ["grad", "sum", "p", "m", "before"].map(|label| make.reals(label, &[n]));
                    let squares: Vec<f32> = make.random.reals(n).iter().map(|x| x * x).collect();
                    let v = make.values("v", &[n], &squares);
                    accumulate(&mut make.plan, grad, sum, step > 1);
                    let norm = grad_norm(&mut make.plan, hyper, sum);
                    optimizer(&mut make.plan, [hyper, decays, norm], sum, [p, m, v, before]);
                },
            ));
        }
    }
    for length in [f32::INFINITY, f32::NAN] {
        cases.push(Case::new(format!("a step against a gradient of length {length}"), 64, move |make| {
            let hyper = Hyper::with_rate(1e-2).at_step(2).words();
            let hyper = make.words("hyper", &[OptimizerSettings::WORDS], &hyper);
            let norm = make.values("norm", &[2], &[length, 1.0]);
            let [decays, grad, p, m] = ["decays", "grad", "p", "m"].map(|label| make.reals(label, &[70]));
            let [v, before] = ["v", "before"].map(|label| make.reals(label, &[70]));
            optimizer(&mut make.plan, [hyper, decays, norm], grad, [p, m, v, before]);
        }));
    }
    for (n_rows, n_in, n_out) in [(2, 4, 1), (6, 130, 3), (70, 64, 5)] {
        cases.push(Case::new(
            format!("head of {n_out} on {n_rows} rows of {n_in}"),
            n_in + n_rows + 64,
            move |make| {
                let it = Dense { n_in, n_out, w_at: 3, b_at: (n_out > 1).then_some(3 + n_in * n_out) };
                let [theta, grad] =
                    ["theta", "grad"].map(|label| make.reals(label, &[(n_in + 1) * n_out + 5]));
                let [x, targets] =
                    [("x", n_in), ("targets", n_out)].map(|(label, d)| make.reals(label, &[n_rows, d]));
                let (weight, loss) = (make.reals("weight", &[n_rows]), make.reals("loss", &[n_rows, 2]));
                let scores = dense(&mut make.plan, &it, x, theta);
                match n_out {
                    1 => reward_loss(&mut make.plan, 0.5, scores, loss),
                    5 => {
                        let holds: Vec<f32> = (0..n_rows * 5).map(|i| (i % 3 / 2) as f32).collect();
                        let targets = make.values("targets", &[n_rows, 5], &holds);
                        binary_cross_entropy(&mut make.plan, scores, [targets, weight, loss]);
                    }
                    _ => squared_error(&mut make.plan, scores, [targets, weight, loss]),
                }
                dense_backward(&mut make.plan, &it, x, scores, [theta, grad]);
            },
        ));
    }
    cases.push(Case::new("preferences", 64, |make| {
        let (losses, weights) = (make.reals("losses", &[9, 2]), make.reals("weights", &[9]));
        let reference = make.reals("reference", &[4]);
        let ranges = make.words("ranges", &[4, 2], &[0, 2, 2, 3, 3, 7, 7, 9]);
        let scales = make.values("scales", &[4], &[0.7, 0.7, 1.4, 0.25]);
        preference(&mut make.plan, 0.5, losses, [ranges, reference, scales, weights]);
    }));
    cases
}
