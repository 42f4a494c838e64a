//! Model, interventions and trainer together, on the smallest golden model: what must hold whatever the numbers are.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use std::rc::Rc;
use support::differences::{PROMPT, check_gradient, check_gradient_by, example};
use support::{logits, plain_sequence, states};
use webreft::ErrorKind;
use webreft::backend::Backend;
use webreft::engine::Engine;
use webreft::generate::{GenerateOptions, Persona, Prompt};
use webreft::kernel::{Dropout, Hyper, NONE};
use webreft::model::{self, Component, Labels, NoHooks, Pass};
use webreft::plan::Plan;
use webreft::reft::kinds::{KINDS, Kind};
use webreft::reft::{Layers, Params, Reft, ReftConfig, RowEdits};
use webreft::train::{Batch, Trainer};

/// Runs a check on the twins and on a GPU.
fn on_each_backend(check: impl Fn(&Engine)) {
    let gpu = block_on(Backend::gpu()).expect("this test needs a GPU, or a driver that plays one");
    for backend in [Backend::cpu(), gpu] {
        check(&toy(&backend));
    }
}

fn toy(backend: &Backend) -> Engine {
    support::load(
        backend,
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama/model-q8_0.gguf").as_ref(),
    )
}

fn reft(engine: &Engine, layers: &[usize]) -> Reft {
    let layers = Layers::List(layers.to_vec());
    let config = ReftConfig { layers, positions: "f2+l1".to_owned(), ..ReftConfig::default() };
    Reft::new(engine.model(), &[config]).expect("the toy has these layers")
}

/// A trainer after some steps on two examples.
fn trained(engine: &Engine, reft: &Reft, n_steps: usize) -> Trainer {
    let (a, b) = (example(engine, reft, 12), example(engine, reft, 7));
    let mut trainer = Trainer::new(&engine.model().backend, reft).expect("the optimizer's state fits");
    for _ in 0..n_steps {
        trainer.step(engine.model(), reft, &[&a, &b], &Hyper::with_rate(4e-3)).expect("a step runs");
    }
    trainer
}

fn close(a: &[f32], b: &[f32], tolerance: f32) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn bits(values: &[f32]) -> &[u32] {
    bytemuck::cast_slice(values)
}

#[test]
fn packed_sequences_give_what_each_gives_alone() {
    on_each_backend(|engine| {
        let reft = reft(engine, &[1, 2]);
        let sequences = [12, 5, 9].map(|n| example(engine, &reft, n));
        let packed = logits(engine.model(), Some(&reft), &sequences.each_ref());
        let alone = sequences.iter().flat_map(|it| logits(engine.model(), Some(&reft), &[it]));
        assert!(close(&packed, &alone.collect::<Vec<_>>(), 1e-5), "{}", engine.model().backend.name());
    });
}

#[test]
fn no_hidden_state_below_the_lowest_edit_changes() {
    on_each_backend(|engine| {
        let reft = reft(engine, &[2, 3]);
        let sequence = example(engine, &reft, 12);
        let base = states(engine.model(), None, &[&plain_sequence(&PROMPT)]);
        let edited = states(engine.model(), Some(&reft), &[&sequence]);
        for (layer, (base, edited)) in base.hidden.iter().zip(&edited.hidden).enumerate() {
            let same = bits(base) == bits(edited);
            assert_eq!(same, layer < 2, "layer {layer}, {}", engine.model().backend.name());
        }
    });
}

#[test]
fn an_edit_of_no_rows_leaves_every_bit() {
    on_each_backend(|engine| {
        let reft = reft(engine, &[0, 2]);
        let mut sequence = plain_sequence(&PROMPT);
        let base = logits(engine.model(), None, &[&sequence]);
        sequence.edits = vec![RowEdits::default(); reft.interventions.len()];
        let edited = logits(engine.model(), Some(&reft), &[&sequence]);
        assert_eq!(bits(&base), bits(&edited), "{}", engine.model().backend.name());
    });
}

#[test]
fn an_intervention_without_rows_gets_a_gradient_of_zero() {
    on_each_backend(|engine| {
        let reft = reft(engine, &[1, 2]);
        let mut sequence = example(engine, &reft, 12);
        sequence.edits[0] = RowEdits::default();
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the optimizer's state fits");
        trainer.step(engine.model(), &reft, &[&sequence], &Hyper::with_rate(4e-3)).expect("a step runs");
        let gradient = block_on(trainer.gradients().theta.read().f32()).expect("the gradient is read");
        let each = gradient.chunks_exact(gradient.len() / reft.interventions.len());
        let is_zero: Vec<bool> = each.map(|part| part.iter().all(|d| *d == 0.0)).collect();
        assert_eq!(is_zero, [true, false, false, false], "{}", engine.model().backend.name());
    });
}

/// The gradient of the mean loss by the hidden states, with so many labels at once.
fn gradient_with_labels_in_groups(engine: &Engine, at_once: usize) -> Vec<f32> {
    let model = engine.model();
    let batch = Batch::pack(&[&plain_sequence(&PROMPT)]);
    let (n_tokens, n_labels) = (batch.tokens.len(), batch.labels.len());
    let mut plan = Plan::new("loss");
    let pass = Pass::new(&mut plan, n_tokens);
    let h = model::forward(&mut plan, model, &pass, None, &mut NoHooks);
    let labels = Labels::new(&mut plan, n_tokens, n_labels, at_once);
    let dh = model.loss(&mut plan, h, &labels);
    plan.keep(dh);
    let prepared = model.backend.prepare(plan).expect("the plan fits the device");
    let write = |buf, words: &[u32]| prepared.tensor(buf).write(0, words);
    write(pass.tokens, &batch.tokens);
    write(pass.place, batch.place.as_flattened());
    write(pass.span, batch.span.as_flattened());
    write(labels.ids, &batch.labels.iter().map(|[_, id]| *id).collect::<Vec<_>>());
    write(labels.weights, &vec![0.1f32.to_bits(); n_labels]);
    for (group, part) in labels.groups.iter().zip(batch.labels.chunks(at_once)) {
        let mut places = vec![NONE; n_tokens];
        (0..).zip(part).for_each(|(at, [row, _])| places[*row as usize] = at);
        write(group.rows, &part.iter().map(|[row, _]| *row).collect::<Vec<_>>());
        write(group.places, &places);
    }
    prepared.run().expect("the plan runs");
    block_on(prepared.tensor(dh).read().f32()).expect("the device answers")
}

#[test]
fn labels_may_come_in_groups() {
    on_each_backend(|engine| {
        let whole = gradient_with_labels_in_groups(engine, 11);
        let cut = gradient_with_labels_in_groups(engine, 5);
        assert!(whole.iter().any(|d| d.abs() > 1e-2));
        assert!(close(&whole, &cut, 1e-6), "{}", engine.model().backend.name());
    });
}

#[test]
fn a_step_in_parts_is_the_step() {
    on_each_backend(|engine| {
        for rate in [0.0, 0.3] {
            check_parts(engine, Dropout { rate, seed: 5 });
        }
    });
}

/// Trains a little with all of a step at once, one by one, and by two.
fn check_parts(engine: &Engine, dropout: Dropout) {
    let finals = [0, 1, 2].map(|at_once| {
        let reft = reft(engine, &[1, 2]);
        let sequences = [12, 7, 9].map(|n| example(engine, &reft, n));
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
        trainer.at_once = at_once;
        trainer.set_dropout(dropout);
        let hyper = Hyper { clip: 0.5, ..Hyper::with_rate(1e-3) };
        let losses = (0..3).map(|_| {
            let loss = trainer.step(engine.model(), &reft, &sequences.each_ref(), &hyper);
            block_on(loss.expect("a step runs").report()).expect("the loss is read")
        });
        losses.flat_map(|loss| [loss.mean as f32, loss.grad_norm as f32]).collect::<Vec<_>>()
    });
    for parts in &finals[1..] {
        assert!(close(&finals[0], parts, 1e-4), "{finals:?}, {}", engine.model().backend.name());
    }
}

#[test]
fn decay_leaves_rotations_orthonormal() {
    let engine = toy(&Backend::cpu());
    let norm = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>();
    let [plain, decayed] = [0.0, 0.5].map(|decay| {
        let reft = reft(&engine, &[1]);
        let sequence = example(&engine, &reft, 12);
        let mut trainer = Trainer::new(&engine.model().backend, &reft).expect("the state fits");
        for _ in 0..20 {
            let hyper = Hyper { decay, ..Hyper::with_rate(1e-2) };
            trainer.step(engine.model(), &reft, &[&sequence], &hyper).expect("a step runs");
        }
        block_on(reft.values()).expect("values")
    });
    for (plain, decayed) in plain.iter().zip(&decayed) {
        assert!((norm(&decayed.projection) - 4.0).abs() < 1e-4, "four rows of length 1");
        assert!(norm(&decayed.weight) < norm(&plain.weight), "W decays");
    }
}

#[test]
fn gradients_go_no_further_than_the_lowest_edited_layer() {
    let engine = toy(&Backend::cpu());
    let reft = reft(&engine, &[2]);
    let trainer = trained(&engine, &reft, 1);
    let steps = trainer.last_plan().expect("a step was planned").plan().steps();
    let backward = steps.iter().filter(|step| step.kernel.name.ends_with("_backward"));
    let mut places: Vec<&str> = backward.map(|step| step.place.as_str()).collect();
    places.dedup();
    assert_eq!(places, ["loss", "layer 3", "layer 2", "update"]);
}

#[test]
fn the_plan_of_a_training_step_reads_as_it_did() {
    let engine = toy(&Backend::cpu());
    let reft = reft(&engine, &[2]);
    let trainer = trained(&engine, &reft, 1);
    insta::assert_snapshot!(trainer.last_plan().expect("a step was planned").plan().to_string());
}

#[test]
fn rotations_stay_orthonormal_in_training() {
    on_each_backend(|engine| {
        let square = ReftConfig {
            kind: "dii_rotated".to_owned(),
            layers: Layers::List(vec![2]),
            component: "head_attention_value_output".into(), // narrow, or a thousand steps would take minutes
            heads: vec![1],
            positions: "l1".to_owned(),
            ..ReftConfig::default()
        };
        let householder = reft(engine, &[1, 3]).configs[0].clone();
        let reft = Reft::new(engine.model(), &[householder, square]).expect("two kinds");
        // A program in place of a GPU would take minutes for a thousand steps.
        trained(engine, &reft, if engine.model().backend.is_software() { 100 } else { 1000 });
        let values = block_on(reft.values()).expect("the parameters are read");
        for (values, (_, it)) in values.iter().zip(reft.owners()) {
            let rows: Vec<&[f32]> = values.projection.chunks_exact(it.sizes.n_embd).collect();
            for (i, a) in rows.iter().enumerate() {
                for (j, b) in rows.iter().enumerate() {
                    let product: f32 = a.iter().zip(*b).map(|(a, b)| a * b).sum();
                    let off = (product - f32::from(u8::from(i == j))).abs();
                    assert!(off < 1e-5, "rows {i} and {j}: off by {off}, {}", engine.model().backend.name());
                }
            }
        }
    });
}

/// Every kind where it usually stands, in one layer.
fn one_of_each_kind() -> Vec<ReftConfig> {
    let config = |kind: &Kind| ReftConfig {
        kind: kind.name.to_owned(),
        layers: Layers::List(vec![1]),
        ..ReftConfig::default()
    };
    KINDS.into_iter().filter(|kind| !kind.is_virtual()).map(config).collect()
}

#[test]
fn what_is_saved_loads_with_the_same_bits() {
    on_each_backend(|engine| {
        let prefix = virtual_kinds().pop().expect("a kind");
        let configs = [one_of_each_kind(), vec![prefix]].concat();
        let reft = Reft::new(engine.model(), &configs).expect("every kind");
        trained(engine, &reft, 10);
        let file = block_on(reft.save(engine.model())).expect("the parameters are read");
        let again = Reft::load(engine.model(), &file).expect("the file is whole");
        assert_eq!(again.configs, reft.configs);
        let [saved, loaded] = [&reft, &again].map(|reft| block_on(reft.values()).expect("values"));
        for (saved, loaded) in saved.iter().zip(&loaded) {
            let all = |it: &Params| {
                let usual = [&it.projection, &it.weight, &it.bias, &it.projection_bias];
                usual.into_iter().chain(it.others.values()).map(|v| bits(v).to_vec()).collect::<Vec<_>>()
            };
            assert_eq!(all(saved), all(loaded), "{}", engine.model().backend.name());
        }
        assert_eq!(file, block_on(again.save(engine.model())).expect("the parameters are read"));
        let sequence = example(engine, &reft, 12);
        let [a, b] = [&reft, &again].map(|reft| logits(engine.model(), Some(reft), &[&sequence]));
        assert_eq!(bits(&a), bits(&b), "{}", engine.model().backend.name());
    });
}

#[test]
fn a_file_for_another_model_is_refused() {
    let engine = toy(&Backend::cpu());
    let file = block_on(reft(&engine, &[1]).save(engine.model())).expect("the parameters are read");
    let other = file.windows(32).position(|part| part == engine.model().fingerprint.as_bytes());
    let mut other_file = file.clone();
    other_file[other.expect("the file tells its model")] ^= 1;
    let error = Reft::load(engine.model(), &other_file).err().expect("another model's");
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("another model"), "{error}");
}

/// Central differences of the loss along some of the parameters, at every place of a layer, below another edit.
#[test]
fn gradients_are_right_at_every_place() {
    let engine = toy(&Backend::cpu());
    let components = Component::ALL.map(Component::name).into_iter();
    let heads = ["head_query_output", "head_key_output", "head_value_output", "head_attention_value_output"];
    for component in components.chain(heads) {
        for kind in ["loreft", "lora", "dora", "parallel_adapter", "ia3"] {
            let upper = ReftConfig { layers: Layers::List(vec![3]), ..ReftConfig::default() };
            let config = ReftConfig {
                kind: kind.to_owned(),
                layers: Layers::List(vec![1, 2]),
                component: component.into(),
                heads: if component.starts_with("head_") { vec![0, 1] } else { vec![] },
                rank: 2,
                act: "gelu".to_owned(), // smooth, as differences want it
                ..ReftConfig::default()
            };
            let Ok(reft) = Reft::new(engine.model(), &[config, upper]) else {
                let reads_input = ["lora", "dora", "parallel_adapter"].contains(&kind);
                assert!(reads_input, "{component}: every place takes a {kind}");
                continue;
            };
            for rate in [0.0, 0.25] {
                let name = format!("{kind} at {component}, dropout {rate}");
                check_gradient(&engine, &reft, Dropout { rate, seed: 2 }, 3, &name);
            }
        }
    }
}

/// The same for every kind that is trained, where it usually stands.
#[test]
fn gradients_of_every_kind_are_right() {
    let engine = toy(&Backend::cpu());
    for kind in KINDS.into_iter().filter(|kind| kind.is_trained() && !kind.is_virtual()) {
        let acts: &[&str] = if kind.detects() { &["linear"] } else { &["linear", "gelu"] };
        for act in acts {
            let upper = ReftConfig { layers: Layers::List(vec![3]), ..ReftConfig::default() };
            let config = ReftConfig {
                kind: kind.name.to_owned(),
                layers: Layers::List(vec![1, 2]),
                act: (*act).to_owned(),
                rank: 2,
                add_bias: true,
                ..ReftConfig::default()
            };
            let reft = Reft::new(engine.model(), &[config, upper]).expect(kind.name);
            // Over a longer step other tokens may be detected.
            let step = if kind.detects() { 1.0 / 512.0 } else { 1.0 / 64.0 };
            let name = format!("{} with {act}", kind.name);
            check_gradient_by(step, &engine, &reft, Dropout::default(), 3, &name);
        }
    }
}

#[test]
fn a_strength_of_zero_is_the_base_and_of_one_is_the_edit() {
    on_each_backend(|engine| {
        let reft = reft(engine, &[0, 2]);
        let sequence = example(engine, &reft, 12);
        let base = logits(engine.model(), None, &[&plain_sequence(&PROMPT)]);
        let full = logits(engine.model(), Some(&reft), &[&sequence]);
        let with = |strength: f32| {
            let mut weak = sequence.clone();
            for (it, edits) in reft.interventions.iter().zip(&mut weak.edits) {
                *edits = RowEdits::new(it, edits.rows.clone(), strength, None);
            }
            logits(engine.model(), Some(&reft), &[&weak])
        };
        assert_eq!(bits(&base), bits(&with(0.0)), "{}", engine.model().backend.name());
        assert_eq!(bits(&full), bits(&with(1.0)));
        assert_ne!(bits(&full), bits(&with(-0.5)));
    });
}

#[test]
fn shared_parameters_sum_their_gradients() {
    let engine = toy(&Backend::cpu());
    let config = ReftConfig { layers: Layers::List(vec![1, 3]), rank: 2, ..ReftConfig::default() };
    let own = Reft::new(engine.model(), &[ReftConfig { tied: true, ..config.clone() }]).expect("a reft");
    let shared = ReftConfig { tied: true, shared: true, ..config };
    let shared = Reft::new(engine.model(), &[shared]).expect("a reft");
    assert_eq!(2 * shared.n_params(), own.n_params());
    check_gradient(&engine, &shared, Dropout::default(), 3, "shared by two layers");
}

/// Kinds with virtual tokens, with and without an encoder.
fn virtual_kinds() -> Vec<ReftConfig> {
    let config = |kind: &str, encoder| ReftConfig {
        kind: kind.to_owned(),
        virtual_tokens: 3,
        encoder,
        seed: 1,
        ..ReftConfig::default()
    };
    vec![
        config("prompt_tuning", 0),
        config("p_tuning", 0),
        config("p_tuning", 5),
        config("prefix_tuning", 0),
        config("prefix_tuning", 5),
    ]
}

#[test]
fn gradients_of_virtual_tokens_are_right() {
    let engine = toy(&Backend::cpu());
    for config in virtual_kinds() {
        let reft = Reft::new(engine.model(), std::slice::from_ref(&config)).expect("a reft");
        // P-tuning's relu has corners, which a short step rarely crosses.
        let step = if config.kind == "p_tuning" { 1.0 / 512.0 } else { 1.0 / 64.0 };
        check_gradient_by(
            step,
            &engine,
            &reft,
            Dropout::default(),
            3,
            &format!("{} with {}", config.kind, config.encoder),
        );
    }
}

/// Learned embeddings that are those of tokens do what the tokens do.
#[test]
fn virtual_tokens_at_their_start_are_tokens() {
    on_each_backend(|engine| {
        let config =
            ReftConfig { kind: "prompt_tuning".to_owned(), virtual_tokens: 3, ..ReftConfig::default() };
        let reft = Reft::new(engine.model(), &[config]).expect("a reft");
        let params = block_on(reft.values()).expect("the parameters are read");
        let n_embd = engine.model().dims.n_embd;
        let rows = params[0].others["embedding"].chunks_exact(n_embd);
        let ids: Vec<u32> = rows.map(|row| token_of(engine, row)).collect();
        let tuned = example(engine, &reft, 12);
        let tokens = [ids.as_slice(), &PROMPT].concat();
        let got = logits(engine.model(), Some(&reft), &[&tuned]);
        let want = logits(engine.model(), None, &[&plain_sequence(&tokens)]);
        assert!(close(&got, &want, 1e-5), "{}", engine.model().backend.name());
    });
}

/// The token whose embedding this is.
fn token_of(engine: &Engine, row: &[f32]) -> u32 {
    let model = engine.model();
    let ids: Vec<u32> = (0..model.dims.n_vocab as u32).collect();
    let mut plan = Plan::new("embeddings");
    let tokens = plan.kept("tokens", &[ids.len()]);
    let h = model::embed(&mut plan, model, tokens);
    plan.keep(h);
    let prepared = model.backend.prepare(plan).expect("a small plan");
    prepared.tensor(tokens).write(0, &ids);
    prepared.run().expect("it runs");
    let all = block_on(prepared.tensor(h).read().f32()).expect("the embeddings are read");
    let found = all.chunks_exact(row.len()).position(|known| bits(known) == bits(row));
    found.expect("the embedding of a token") as u32
}

#[test]
fn one_prompt_has_one_set_of_virtual_tokens() {
    let engine = toy(&Backend::cpu());
    let config = ReftConfig { kind: "prompt_tuning".to_owned(), ..ReftConfig::default() };
    let twice = Reft::new(engine.model(), &[config.clone(), config.clone()]).err().expect("refused");
    assert!(twice.to_string().contains("at most one"), "{twice}");
    let placed = ReftConfig { layers: Layers::List(vec![1]), ..config.clone() };
    let placed = Reft::new(engine.model(), &[placed]).err().expect("refused");
    assert!(placed.to_string().contains("places and positions of its own"), "{placed}");
    let reft = Rc::new(Reft::new(engine.model(), &[config]).expect("a reft"));
    let personas = vec![Persona::new(reft.clone()), Persona::new(reft)];
    let prompt = Prompt { tokens: PROMPT.to_vec(), personas };
    let refused = engine.generate(&[prompt], &GenerateOptions::default()).err().expect("refused");
    assert!(refused.to_string().contains("2 personas with virtual tokens"), "{refused}");
}
