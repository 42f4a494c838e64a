//! Every backward kernel gives the derivative of its forward: central differences on the twins.

mod common;

use common::{Make, Random, packed_spans, read};
use webreft::backend::Backend;
use webreft::kernel::{
    Activation, Dense, Dropout, DropoutSettings, Drops, Edit, EditInputs, Heads, Learned, Magnitude, Mix,
    NONE, OrthogonalMap, QkNorm, Rope, Rotation, Scale, ScaleInputs, attention, attention_backward,
    binary_cross_entropy, cap, copy, cross_entropy, dense, dense_backward, dropout, gather_rows, glu,
    glu_backward, glu_gate, glu_gate_backward, lowrank_edit, lowrank_edit_backward, lowrank_edit_input,
    magnitude, magnitude_backward, matmul, matmul_backward, mean_rows, mean_rows_backward, mix_rows,
    mix_rows_backward, mul_up, preference, qk_norm, qk_norm_backward, reward_loss, rms_norm,
    rms_norm_backward, rope_qkv, rope_qkv_backward, rotation, rotation_backward, scale_rows,
    scale_rows_backward, squared_error,
};
use webreft::plan::{Buf, Record};
use webreft::quant::{F32, Q4_0};

/// Numbers under a shape.
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn random(seed: u64, shapes: &[&[usize]]) -> Vec<Values> {
    let mut random = Random::new(seed);
    let values =
        |shape: &&[usize]| Values { shape: shape.to_vec(), values: random.reals(shape.iter().product()) };
    shapes.iter().map(values).collect()
}

/// Outputs of a forward plan from its inputs.
type Forward<'a> = &'a dyn Fn(&mut Make<'_>, &[Buf]) -> Vec<Buf>;
/// A gradient for each input, from the inputs and from a gradient for each output.
type Backward<'a> = &'a dyn Fn(&mut Make<'_>, &[Buf], &[Buf]) -> Vec<Buf>;

/// Builds a plan over some inputs, runs it, and reads what `build` names.
fn run(inputs: &[&[Values]], build: impl Fn(&mut Make<'_>, &[Vec<Buf>]) -> Vec<Buf>) -> Vec<Values> {
    let cpu = Backend::cpu();
    let mut make = Make::new(&cpu);
    let bind = |make: &mut Make<'_>, inputs: &[Values]| -> Vec<Buf> {
        inputs.iter().map(|input| make.values("input", &input.shape, &input.values)).collect()
    };
    let bufs: Vec<Vec<Buf>> = inputs.iter().map(|inputs| bind(&mut make, inputs)).collect();
    let results = build(&mut make, &bufs);
    let done = make.run();
    let shape = |buf: Buf| done.plan().buffers()[buf.index()].shape.clone();
    results.into_iter().map(|buf| Values { shape: shape(buf), values: read(&done, buf) }).collect()
}

/// How far from a point its neighbours are; with four of them the error of the stencil is its fourth power.
const STEP: f32 = 1.0 / 32.0;

/// Compares the gradient of Σ c ∘ outputs, for random c, with differences along every single input.
fn check(name: &str, mut inputs: Vec<Values>, forward: Forward<'_>, backward: Backward<'_>) {
    let outputs = |inputs: &[Values]| run(&[inputs], |make, bufs| forward(make, &bufs[0]));
    let shapes: Vec<Vec<usize>> = outputs(&inputs).into_iter().map(|output| output.shape).collect();
    let along = random(5, &shapes.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let gradients = run(&[&inputs, &along], |make, bufs| backward(make, &bufs[0], &bufs[1]));
    let loss = |inputs: &[Values]| -> f64 {
        let terms = |(output, along): (Values, &Values)| -> f64 {
            output.values.iter().zip(&along.values).map(|(y, c)| f64::from(*y) * f64::from(*c)).sum()
        };
        outputs(inputs).into_iter().zip(&along).map(terms).sum()
    };
    for (number, gradient) in gradients.iter().enumerate() {
        let largest = gradient.values.iter().fold(1e-3, |m: f32, x| m.max(x.abs()));
        for (i, got) in gradient.values.iter().enumerate() {
            let at = inputs[number].values[i];
            let mut beside = |steps: f32| {
                inputs[number].values[i] = at + steps * STEP;
                loss(&inputs)
            };
            let (near, far) = (beside(1.0) - beside(-1.0), beside(2.0) - beside(-2.0));
            inputs[number].values[i] = at;
            let want = (8.0 * near - far) / (12.0 * f64::from(STEP));
            let wrong = (f64::from(*got) - want).abs();
            assert!(
                wrong <= 5e-4 * f64::from(largest),
                "{name}: input {number}, element {i}: {got} for {want}"
            );
        }
    }
}

#[test]
fn rms_norms() {
    check(
        "rms_norm",
        random(1, &[&[3, 8]]),
        &|make, x| {
            let w = make.reals("w", &[8]);
            vec![rms_norm(&mut make.plan, x[0], w, 1e-2)]
        },
        &|make, x, dy| {
            let (w, dx) = (make.reals("w", &[8]), make.plan.scratch("dx", &[3, 8]));
            rms_norm_backward(&mut make.plan, [x[0], w], 1e-2, dy[0], dx, false);
            vec![dx]
        },
    );
}

#[test]
fn norms_of_queries_and_keys() {
    let norm = QkNorm { n_q: 2, q_width: 8, n_k: 1, k_width: 4, eps: 1e-2 };
    check(
        "qk_norm",
        random(17, &[&[3, 24]]),
        &|make, x| {
            let w = make.reals("w", &[12]);
            vec![qk_norm(&mut make.plan, &norm, x[0], w)]
        },
        &|make, x, dy| {
            let w = make.reals("w", &[12]);
            let dx = copy(&mut make.plan, "dx", dy[0]);
            qk_norm_backward(&mut make.plan, &norm, [x[0], w], dx);
            vec![dx]
        },
    );
}

#[test]
fn glus() {
    for act in [Activation::Silu, Activation::GeluTanh] {
        check(
            "glu",
            random(2, &[&[2, 16]]),
            &|make, x| vec![glu(&mut make.plan, act, x[0])],
            &|make, x, dy| vec![glu_backward(&mut make.plan, act, x[0], dy[0])],
        );
    }
}

#[test]
fn products_with_a_weight() {
    for (format, cols) in [(&F32, 12), (&Q4_0, 32)] {
        check(
            "matmul",
            random(3, &[&[3, cols]]),
            &|make, x| {
                let matrix = make.matrix(format, &[4, 3], cols);
                let y = make.plan.scratch("y", &[3, 7]);
                matmul(&mut make.plan, x[0], &matrix, y, false);
                vec![y]
            },
            &|make, _, dy| {
                let matrix = make.matrix(format, &[4, 3], cols);
                let dx = make.plan.scratch("dx", &[3, cols]);
                matmul_backward(&mut make.plan, dy[0], &matrix, dx, false);
                vec![dx]
            },
        );
    }
}

#[test]
fn attentions() {
    for (n_head, n_head_kv, head_dim, window, cap) in
        [(1, 1, 4, None, 0.0), (4, 2, 8, None, 0.0), (4, 2, 8, Some(2), 0.6)]
    {
        let (t, width, width_kv) = (7, n_head * head_dim, n_head_kv * head_dim);
        let heads = Heads { n_head, n_head_kv, head_dim, window, scale: 0.7, cap };
        let runs = |make: &mut Make<'_>| packed_spans(t).map(|runs| make.words("runs", &[t, 2], &runs));
        check(
            "attention",
            random(4, &[&[t, width], &[t, width_kv], &[t, width_kv]]),
            &|make, qkv| {
                let [span, _] = runs(make);
                let [out, _] = attention(&mut make.plan, &heads, [qkv[0], qkv[1], qkv[2]], span);
                vec![out]
            },
            &|make, qkv, dout| {
                let ([span, reach], qkv) = (runs(make), [qkv[0], qkv[1], qkv[2]]);
                let forward = attention(&mut make.plan, &heads, qkv, span);
                let (own, runs) = ([qkv[1], qkv[2]], [span, reach]);
                attention_backward(&mut make.plan, &heads, qkv, own, runs, forward, dout[0]).to_vec()
            },
        );
    }
}

#[test]
fn rotary_embeddings() {
    let rope = Rope { n_head: 2, n_head_kv: 1, head_dim: 8, n_rot: 4 };
    let places = |make: &mut Make<'_>| {
        let table = make.reals("table", &[5, 2, 2]);
        [table, make.words("place", &[3, 2], &[4, 2, 0, 0, 1, 1])]
    };
    check(
        "rope_qkv",
        random(5, &[&[3, 32]]),
        &|make, qkv| {
            let places = places(make);
            let [k, v] = ["k", "v"].map(|label| make.plan.scratch(label, &[3, 8]));
            vec![rope_qkv(&mut make.plan, &rope, qkv[0], places, [k, v]), k, v]
        },
        &|make, _, d| {
            let places = places(make);
            vec![rope_qkv_backward(&mut make.plan, &rope, [d[0], d[1], d[2]], places)]
        },
    );
}

#[test]
fn losses() {
    let weights = [0.5, -1.25, 2.0];
    check_loss("cross_entropy", &[3, 7], 1, &weights, &|make, logits, loss| {
        let labels = make.words("labels", &[3], &[1, 0, 6]);
        let weight = make.values("weight", &[3], &weights);
        cross_entropy(&mut make.plan, logits, 0.0, [labels, weight, loss], 0);
    });
    check_loss("cross_entropy of capped logits", &[3, 7], 1, &weights, &|make, logits, loss| {
        let labels = make.words("labels", &[3], &[1, 0, 6]);
        let weight = make.values("weight", &[3], &weights);
        cap(&mut make.plan, logits, 1.5);
        cross_entropy(&mut make.plan, logits, 1.5, [labels, weight, loss], 0);
    });
}

#[test]
fn means_of_rows() {
    let ranges = |make: &mut Make<'_>| make.words("ranges", &[2, 2], &[0, 1, 1, 4]);
    check(
        "mean_rows",
        random(13, &[&[4, 5]]),
        &|make, x| {
            let ranges = ranges(make);
            vec![mean_rows(&mut make.plan, ranges, x[0])]
        },
        &|make, _, dy| {
            let ranges = ranges(make);
            vec![mean_rows_backward(&mut make.plan, ranges, dy[0], 4)]
        },
    );
}

#[test]
fn gathered_rows() {
    let gather = |make: &mut Make<'_>, index: &[u32], x: Buf| {
        let index = make.words("index", &[index.len()], index);
        vec![gather_rows(&mut make.plan, "gathered", index, x)]
    };
    check(
        "gather_rows",
        random(7, &[&[4, 4]]),
        &|make, x| gather(make, &[2, 0, NONE], x[0]),
        &|make, _, dy| gather(make, &[1, NONE, 0, NONE], dy[0]),
    );
}

/// Edits rows 3 and 0 of h [4, S]; parameters are W, b, c and, where it is free, P, one after the other.
fn check_edit(name: &str, edit: &Edit) {
    let (n_embd, n_in, rank) = (edit.n_embd, edit.n_in, edit.rank);
    let n_theta = rank * n_in + 2 * rank + rank * n_embd;
    let n_source = if edit.learned == Learned::Input { 4 } else { 2 };
    let mut inputs = random(8, &[&[4, n_embd + 3], &[n_theta], &[rank * n_embd], &[n_source, n_in]]);
    let (w, b) = inputs[1].values.split_at_mut(rank * n_in);
    w.iter_mut().for_each(|w| *w *= 0.3);
    b[..2].copy_from_slice(&[1.5, -1.5]); // far from the corner of relu
    let inputs_of = |make: &mut Make<'_>, x: &[Buf]| EditInputs {
        rows: make.words("edits", &[2, 2], &[3, 1, 0, 1]),
        strength: make.values("strength", &[2, 2], &[0.5, -1.5, 1.0, 0.25]),
        theta: x[1],
        rot: x[2],
        source: edit.reads_source().then_some(x[3]),
    };
    check(
        name,
        inputs,
        &|make, x| {
            let inputs = inputs_of(make, x);
            lowrank_edit(&mut make.plan, edit, &inputs, x[0]);
            vec![x[0]]
        },
        &|make, x, dh| {
            let inputs = inputs_of(make, x);
            let trace = lowrank_edit(&mut make.plan, edit, &inputs, x[0]);
            let grad = make.values("grad", &[n_theta], &vec![0.0; n_theta]);
            let drot = make.values("drot", &[rank * n_embd], &vec![0.0; rank * n_embd]);
            let dinput = make.values("dx", &[4, n_in], &vec![0.0; 4 * n_in]);
            let gradient =
                lowrank_edit_backward(&mut make.plan, edit, &inputs, &trace, dh[0], [grad, drot], false);
            if edit.learned != Learned::Input {
                return vec![dh[0], grad, drot]; // rows of another run get none
            }
            lowrank_edit_input(&mut make.plan, edit, &inputs, gradient, None, dinput);
            vec![dh[0], grad, drot, dinput]
        },
    );
}

#[test]
fn edits() {
    let n = 8;
    let loreft = Edit {
        n_embd: n,
        n_in: n,
        first: 2,
        rank: 2,
        learned: Learned::State,
        act: Activation::Linear,
        subtracts: true,
        free: false,
        w_at: 0,
        b_at: Some(2 * n),
        p_at: 0,
        c_at: None,
    };
    for act in Activation::ALL {
        check_edit(act.name(), &Edit { act, ..loreft });
    }
    let free = Edit { free: true, p_at: 2 * n + 4, ..loreft };
    check_edit("without what is subtracted", &Edit { subtracts: false, ..loreft });
    check_edit("a constant", &Edit { learned: Learned::Bias, ..loreft });
    check_edit("a free projection with its bias", &Edit { c_at: Some(2 * n + 2), ..free });
    check_edit("a row of another run", &Edit { learned: Learned::Source, b_at: None, ..loreft });
    let input = Edit { learned: Learned::Input, n_in: 5, b_at: Some(10), p_at: 14, subtracts: false, ..free };
    check_edit("the module's input", &Edit { act: Activation::Silu, ..input });
}

#[test]
fn dropped_rows() {
    let drop = |make: &mut Make<'_>, x: Buf| {
        let settings = Dropout { rate: 0.5, seed: 3 }.settings(2, 7);
        let settings = make.words("dropout", &[DropoutSettings::WORDS], &settings.words());
        let rows = make.words("edits", &[2, 2], &[3, 1, 0, 1]);
        dropout(&mut make.plan, Drops { settings, number: 1 }, rows, x, [2, 8]);
        vec![x]
    };
    check("dropout", random(16, &[&[4, 11]]), &|make, x| drop(make, x[0]), &|make, _, dx| drop(make, dx[0]));
}

#[test]
fn heads() {
    let it = Dense { n_in: 5, n_out: 3, w_at: 1, b_at: Some(16) };
    check(
        "dense",
        random(12, &[&[2, 5], &[19]]),
        &|make, x| vec![dense(&mut make.plan, &it, x[0], x[1])],
        &|make, x, dy| {
            let grad = make.values("grad", &[19], &[0.0; 19]);
            vec![dense_backward(&mut make.plan, &it, x[0], dy[0], [x[1], grad]), grad]
        },
    );
}

/// The sum of the losses that `loss` gives to scores, and the gradient that takes the scores' place.
fn loss_of(scores: &[f32], shape: &[usize], loss: &dyn Fn(&mut Make<'_>, Buf, Buf)) -> [Vec<f32>; 2] {
    let cpu = Backend::cpu();
    let mut make = Make::new(&cpu);
    let scores = make.values("scores", shape, scores);
    let losses = make.plan.scratch("loss", &[shape[0], 2]);
    loss(&mut make, scores, losses);
    let done = make.run();
    [read(&done, losses).into_iter().step_by(2).collect(), read(&done, scores)]
}

/// Compares the gradient with differences of the sum of the losses, of which every `counted`th counts for so much.
fn check_loss(
    name: &str,
    shape: &[usize],
    counted: usize,
    weights: &[f32],
    loss: &dyn Fn(&mut Make<'_>, Buf, Buf),
) {
    let mut scores = Random::new(14).reals(shape.iter().product());
    let [_, gradient] = loss_of(&scores, shape, loss);
    for (i, got) in gradient.iter().enumerate() {
        let at = scores[i];
        let mut beside = |steps: f32| {
            scores[i] = at + steps * STEP;
            let [losses, _] = loss_of(&scores, shape, loss);
            let weighted = losses.iter().step_by(counted).zip(weights);
            weighted.map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum::<f64>()
        };
        let want =
            (8.0 * (beside(1.0) - beside(-1.0)) - (beside(2.0) - beside(-2.0))) / (12.0 * f64::from(STEP));
        scores[i] = at;
        assert!((f64::from(*got) - want).abs() < 1e-4, "{name}: element {i}: {got} for {want}");
    }
}

#[test]
fn losses_of_scores() {
    // A pair's loss stands in the place of both.
    check_loss("reward_loss", &[4, 1], 2, &[0.75; 2], &|make, scores, losses| {
        reward_loss(&mut make.plan, 0.75, scores, losses);
    });
    let weights = [0.5, -1.25, 2.0];
    check_loss("squared_error", &[3, 2], 1, &weights, &|make, scores, losses| {
        let targets = make.reals("targets", &[3, 2]);
        let weight = make.values("weight", &[3], &weights);
        squared_error(&mut make.plan, scores, [targets, weight, losses]);
    });
    check_loss("binary_cross_entropy", &[3, 2], 1, &weights, &|make, scores, losses| {
        let targets = make.values("targets", &[3, 2], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        let weight = make.values("weight", &[3], &weights);
        binary_cross_entropy(&mut make.plan, scores, [targets, weight, losses]);
    });
}

#[test]
fn preferences() {
    let pair_loss = |losses: &[f32]| {
        let cpu = Backend::cpu();
        let mut make = Make::new(&cpu);
        let losses: Vec<f32> = losses.iter().flat_map(|loss| [*loss, 0.0]).collect();
        let losses = make.values("losses", &[5, 2], &losses);
        let reference = make.values("reference", &[2], &[3.0, 1.5]);
        let ranges = make.words("ranges", &[2, 2], &[0, 2, 2, 5]);
        let weights = make.plan.scratch("weights", &[5]);
        let scales = make.values("scales", &[2], &[0.8, 0.5]);
        let pairs = preference(&mut make.plan, 1.0, losses, [ranges, reference, scales, weights]);
        let done = make.run();
        [read(&done, pairs), read(&done, weights)]
    };
    let mut losses = Random::new(15).reals(5);
    let [_, weights] = pair_loss(&losses);
    for (i, got) in weights.iter().enumerate() {
        let at = losses[i];
        let mut beside = |steps: f32| {
            losses[i] = at + steps * STEP;
            f64::from(pair_loss(&losses)[0][0])
        };
        let want =
            (8.0 * (beside(1.0) - beside(-1.0)) - (beside(2.0) - beside(-2.0))) / (12.0 * f64::from(STEP));
        losses[i] = at;
        assert!((f64::from(*got) - want).abs() < 1e-4, "token {i}: {got} for {want}");
    }
}

#[test]
fn mixed_rows() {
    let mix = Mix { n_embd: 4, first: 1, keep: 0.25, gain: -1.0 };
    let inputs = |make: &mut Make<'_>| {
        [make.words("edits", &[2, 2], &[2, 1, 0, 1]), make.values("strength", &[2, 1], &[0.5, 2.0])]
    };
    check(
        "mix_rows",
        random(10, &[&[3, 6]]),
        &|make, h| {
            let (source, inputs) = (make.reals("source", &[2, 4]), inputs(make));
            mix_rows(&mut make.plan, &mix, inputs, Some(source), h[0]);
            vec![h[0]]
        },
        &|make, _, dh| {
            let inputs = inputs(make);
            mix_rows_backward(&mut make.plan, &mix, inputs, dh[0]);
            vec![dh[0]]
        },
    );
}

#[test]
fn scaled_rows() {
    let scale = Scale { n_embd: 4, first: 1, l_at: 0 };
    for is_biased in [false, true] {
        let inputs = |make: &mut Make<'_>, theta: Buf| {
            let rows = make.words("edits", &[2, 2], &[2, 1, 0, 1]);
            let strength = make.values("strength", &[2, 1], &[0.5, 2.0]);
            let bias = is_biased.then(|| make.reals("bias", &[6]));
            ScaleInputs { rows, strength, theta, bias }
        };
        check(
            "scale_rows",
            random(10, &[&[3, 6], &[4]]),
            &|make, x| {
                let inputs = inputs(make, x[1]);
                scale_rows(&mut make.plan, &scale, &inputs, x[0]);
                vec![x[0]]
            },
            &|make, x, dh| {
                let (inputs, grad) = (inputs(make, x[1]), make.plan.scratch("grad", &[4]));
                let before = scale_rows(&mut make.plan, &scale, &inputs, x[0]);
                scale_rows_backward(&mut make.plan, &scale, &inputs, before, [dh[0], grad], false);
                vec![dh[0], grad]
            },
        );
    }
}

/// By the learned lengths, where nothing is added to the matrix: the lengths that its rows have do not move then. Elsewhere they count as
/// constants, and tests/model.rs holds them still.
#[test]
fn magnitudes() {
    let (n_embd, n_in, rank) = (3, 8, 2);
    let (p_at, m_at) = (rank * n_in, rank * (n_in + n_embd));
    let edit = Edit {
        n_embd,
        n_in,
        first: 1,
        rank,
        learned: Learned::Input,
        act: Activation::Linear,
        subtracts: false,
        free: true,
        w_at: 0,
        b_at: None,
        p_at,
        c_at: None,
    };
    let it = Magnitude { scale: 0.5, m_at, norms_at: 0, scales_at: n_embd, g_at: 0 };
    let factors = |make: &mut Make<'_>, theta: Buf| {
        let matrix = make.matrix(&F32, &[5], n_in);
        let base = make.values("base", &[n_embd], &[0.5, 2.0, 3.0]);
        let rot = make.plan.scratch("rot", &[2 * n_embd]);
        magnitude(&mut make.plan, &edit, &it, &matrix, [theta, base, rot]);
        rot
    };
    let mut theta = random(14, &[&[m_at + n_embd]]);
    theta[0].values[..m_at].fill(0.0);
    check("magnitude", theta, &|make, theta| vec![factors(make, theta[0])], &|make, theta, drot| {
        let rot = factors(make, theta[0]);
        let grad = make.values("grad", &[m_at + n_embd], &vec![0.0; m_at + n_embd]);
        magnitude_backward(&mut make.plan, &edit, &it, [rot, drot[0], grad]);
        vec![grad]
    });
}

#[test]
fn gates_in_halves() {
    check(
        "glu_gate and mul_up",
        random(11, &[&[2, 16]]),
        &|make, x| {
            let g = glu_gate(&mut make.plan, Activation::GeluTanh, x[0]);
            vec![mul_up(&mut make.plan, "act", g, x[0])]
        },
        &|make, x, dy| {
            let g = glu_gate(&mut make.plan, Activation::GeluTanh, x[0]);
            let dg = mul_up(&mut make.plan, "dg", dy[0], x[0]);
            vec![glu_gate_backward(&mut make.plan, Activation::GeluTanh, [x[0], g], [dy[0], dg])]
        },
    );
}

#[test]
fn rotations() {
    let (n_embd, rank, n_reflections) = (8, 3, 2);
    let map = OrthogonalMap::Householder { n_reflections };
    let it = Rotation { n_embd, rank, map, base_at: 0, x_at: 0, r_at: 0 };
    let mut inputs = random(9, &[&[rank * n_embd]]);
    for j in 0..rank {
        inputs[0].values[j * n_embd + j] = [1.5, -1.5][j % 2]; // only the integer part counts
    }
    let base = |make: &mut Make<'_>| {
        let mut base = make.random.reals((n_reflections + 1) * n_embd);
        for unit in base[..n_reflections * n_embd].chunks_exact_mut(n_embd) {
            let length = unit.iter().map(|x| x * x).sum::<f32>().sqrt();
            unit.iter_mut().for_each(|x| *x /= length);
        }
        base[n_reflections * n_embd..].iter_mut().for_each(|sign| *sign = sign.signum());
        make.values("base", &[n_reflections + 1, n_embd], &base)
    };
    check(
        "rotation",
        inputs,
        &|make, theta| {
            let (base, rot) = (base(make), make.plan.scratch("rot", &[rank * n_embd]));
            rotation(&mut make.plan, &it, [theta[0], base, rot]);
            vec![rot]
        },
        &|make, theta, drot| {
            let (base, grad) = (base(make), make.plan.scratch("grad", &[rank * n_embd]));
            rotation_backward(&mut make.plan, &it, false, [theta[0], base, drot[0], grad]);
            vec![grad]
        },
    );
}

/// Where dR·Rᵀ is symmetric, as it is for a loss of RᵀR, what of dR lies in the span of R's rows changes nothing; and at X = −1
/// nothing is left of it, not even rounding.
#[test]
fn gradients_within_the_span_of_a_rotation_are_nothing() {
    let (n_embd, rank) = (8, 3);
    let map = OrthogonalMap::Householder { n_reflections: 0 };
    let it = Rotation { n_embd, rank, map, base_at: 0, x_at: 0, r_at: 0 };
    let start: Vec<f32> =
        (0..rank * n_embd).map(|i| if i % (n_embd + 1) == 0 { -1.0 } else { 0.0 }).collect();
    let mut elsewhere = random(9, &[&[rank * n_embd]])[0].values.clone();
    (0..rank).for_each(|j| elsewhere[j * n_embd + j] = -1.0);
    for x in [&start, &elsewhere] {
        let mut gradients = [false, true].map(|span_only| {
            let twins = Backend::twins();
            let mut make = Make::new(&twins);
            let theta = make.values("theta", &[rank * n_embd], x);
            let base = make.values("base", &[n_embd], &[1.0; 8]);
            let rot = make.values("rot", &[rank * n_embd], &[0.0; 24]);
            rotation(&mut make.plan, &it, [theta, base, rot]);
            let r = read(&make.run(), rot);
            let twins = Backend::twins();
            let mut make = Make::new(&twins);
            let symmetric = |i: usize, j: usize| ((i + 1) as f32 * (j + 1) as f32).sin();
            let of_row = |j: usize, d: usize| -> f32 {
                (0..n_embd).map(|e| r[j * n_embd + e] * symmetric(e, d)).sum()
            };
            let dr: Vec<f32> = (0..rank * n_embd).map(|at| of_row(at / n_embd, at % n_embd)).collect();
            let theta = make.values("theta", &[rank * n_embd], x);
            let base = make.values("base", &[n_embd], &[1.0; 8]);
            let drot = make.values("drot", &[rank * n_embd], &dr);
            let grad = make.values("grad", &[rank * n_embd], &[0.0; 24]);
            rotation_backward(&mut make.plan, &it, span_only, [theta, base, drot, grad]);
            read(&make.run(), grad)
        });
        let [all, outside] = &mut gradients;
        assert!(all.iter().any(|d| d.abs() > 0.1), "the gradient is not nothing: {all:?}");
        let off = all.iter().zip(outside.iter()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 2e-6, "off by {off}: {all:?}, {outside:?}");
        if x == &start {
            (0..rank).for_each(|j| assert_eq!(outside[j * n_embd..][..rank], [0.0; 3], "row {j}"));
        }
    }
}

#[test]
fn square_rotations() {
    let n_embd = 6;
    let map = OrthogonalMap::MatrixExp;
    let it = Rotation { n_embd, rank: n_embd, map, base_at: 0, x_at: 0, r_at: 0 };
    let len = n_embd * n_embd;
    let base = |make: &mut Make<'_>| {
        let values = make.random.reals(len);
        make.values("base", &[len], &values)
    };
    check(
        "square rotation",
        random(9, &[&[len]]),
        &|make, theta| {
            let (base, rot) = (base(make), make.plan.scratch("rot", &[len]));
            rotation(&mut make.plan, &it, [theta[0], base, rot]);
            vec![rot]
        },
        &|make, theta, drot| {
            let (base, grad) = (base(make), make.plan.scratch("grad", &[len]));
            rotation_backward(&mut make.plan, &it, false, [theta[0], base, drot[0], grad]);
            vec![grad]
        },
    );
}
