//! pyreft's and peft's own directories, read and written.
//!
//! `WEBREFT_GOLDEN` names a directory as its README describes it (default `tests/golden`); every directory of
//! `pyreft_save`, `pyreft_checkpoint` and `peft_save` that its `manifest.json` lists is read and compared with its trace.

#![allow(missing_docs, reason = "a test")]

mod support;

use pollster::block_on;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use support::{Tensors, transposed};
use webreft::backend::Backend;
use webreft::engine::{Engine, Example};
use webreft::reft::foreign::{File, Unsaved, pack_directory, peft, unpack_directory};
use webreft::reft::{Layers, Params, Reft, ReftConfig};
use webreft::train::TrainOptions;
use webreft::{Error, ErrorKind, Result};

/// A directory of the traces and what it is compared with.
struct Saved {
    path: String,
    files: Vec<File>,
    /// The trace, and the parameters in it.
    trace: Tensors,
    prefix: &'static str,
    spec: Value,
    /// The model's folder.
    folder: String,
}

fn manifest() -> (PathBuf, Value) {
    let dir = support::golden_dir();
    let text = std::fs::read_to_string(dir.join("manifest.json")).expect("the manifest");
    (dir, serde_json::from_str(&text).expect("JSON"))
}

/// Every directory that one of the libraries' functions wrote.
fn saved(function: &str) -> Vec<Saved> {
    let (dir, manifest) = manifest();
    let files = manifest["files"].as_object().expect("the manifest lists files");
    let mut directories: BTreeMap<(String, String), Vec<File>> = BTreeMap::new();
    for path in files.keys() {
        let parts: Vec<&str> = path.split('/').collect();
        if let [folder, what, directory, name] = parts[..]
            && what == function
        {
            let bytes = std::fs::read(dir.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            directories
                .entry((folder.to_owned(), directory.to_owned()))
                .or_default()
                .push((name.to_owned(), bytes));
        }
    }
    let cases = manifest["cases"].as_object().expect("the manifest lists cases");
    let saved = directories.into_iter().map(|((folder, directory), files)| {
        let of_trainer = function == "pyreft_checkpoint";
        let is_case = |(path, spec): &(&String, &Value)| {
            path.starts_with(&format!("{folder}/"))
                && if of_trainer { spec["task"] == "trainer" } else { spec["case"] == directory.as_str() }
        };
        let (case, spec) = cases.iter().find(is_case).unwrap_or_else(|| panic!("{directory}: no case"));
        Saved {
            path: format!("{folder}/{function}/{directory}"),
            files,
            trace: Tensors::open(dir.join(case)),
            prefix: if of_trainer { "trainer.final" } else { "const.final" },
            spec: spec.clone(),
            folder,
        }
    });
    saved.collect()
}

impl Saved {
    fn engine(&self) -> Engine {
        let weights = self.spec["weights"].as_str().unwrap_or("f32");
        support::load(
            &Backend::cpu(),
            &support::golden_dir().join(format!("{}/model-{weights}.gguf", self.folder)),
        )
    }

    fn unsaved(&self) -> Unsaved {
        let act = self.spec["act"].as_str().map(str::to_owned);
        Unsaved { act, kind: self.spec["kind"].as_str().map(str::to_owned), positions: None }
    }

    /// Checks parameters against the trace.
    fn check(&self, number: usize, params: &Params, rank: usize) {
        let close = |name: &str, got: &[f32], expected: &[f32]| {
            assert_eq!(got.len(), expected.len(), "{} {name}", self.path);
            let off = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-6, "{} {number}.{name}: off by {off}", self.path);
        };
        let of_trace = |name: &str| {
            let name = format!("{}.{number}.{name}", self.prefix);
            if self.trace.has(&name) { self.trace.f32(&name) } else { Vec::new() }
        };
        close("W", &params.weight, &of_trace("W"));
        close("b", &params.bias, &of_trace("b"));
        close("Pb", &params.projection_bias, &of_trace("Pb"));
        let projection = match of_trace("R") {
            columns if columns.is_empty() => of_trace("P"),
            columns => transposed(&columns, rank),
        };
        close("R or P", &params.projection, &projection);
    }
}

impl Saved {
    /// Checks the head, where the trace has one.
    fn check_head(&self, reft: &Reft) {
        let name = format!("{}.score", self.prefix);
        assert_eq!(reft.head.is_some(), self.trace.has(&name), "{}: head", self.path);
        if let Some(weight) = head(reft) {
            assert_eq!(weight, self.trace.f32(&name), "{}: head", self.path);
        }
    }
}

fn head(reft: &Reft) -> Option<Vec<f32>> {
    let theta = block_on(reft.theta.read().f32()).expect("the parameters are read");
    reft.head.map(|head| head.numbers(&theta).weight)
}

fn values(reft: &Reft) -> Vec<Params> {
    block_on(reft.values()).expect("the parameters are read")
}

fn bits(params: &[Params]) -> Vec<u32> {
    let parts = params.iter().flat_map(|it| [&it.projection, &it.weight, &it.bias, &it.projection_bias]);
    parts.flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn directories_of_pyreft_hold_what_their_traces_say_and_are_written_with_the_same_bits() {
    let directories: Vec<Saved> = ["pyreft_save", "pyreft_checkpoint"].into_iter().flat_map(saved).collect();
    for it in &directories {
        let engine = it.engine();
        let imported =
            engine.import_reft(&it.files, &it.unsaved()).unwrap_or_else(|e| panic!("{}: {e}", it.path));
        let reft = imported.reft;
        let layers: Vec<usize> = reft.interventions.iter().map(|it| it.place.layer).collect();
        let expected = it.spec["intervention_layers"].as_array().expect("a list");
        assert!(
            expected.iter().map(|l| l.as_u64().expect("a layer") as usize).eq(layers),
            "{}: layers",
            it.path
        );
        let before = values(&reft);
        for (number, params) in before.iter().enumerate() {
            assert_eq!(reft.interventions[number].kind.name, it.spec["kind"]);
            it.check(number, params, reft.interventions[number].sizes.rank);
        }
        assert!(imported.left_out.is_empty(), "{}: {:?}", it.path, imported.left_out);
        it.check_head(&reft);

        let files =
            block_on(engine.export_reft(&reft, "pyreft")).unwrap_or_else(|e| panic!("{}: {e}", it.path));
        let names = |files: &[File]| {
            files
                .iter()
                .map(|(name, _)| name.clone())
                .filter(|name| name != "pytorch_model.bin")
                .collect::<BTreeSet<_>>()
        };
        let theirs: BTreeSet<String> =
            names(&it.files).into_iter().chain(["config.json".to_owned()]).collect();
        assert_eq!(names(&files), theirs, "{}: names", it.path);
        let files = unpack_directory(&pack_directory(&files)).expect("an archive");
        let again =
            engine.import_reft(&files, &it.unsaved()).unwrap_or_else(|e| panic!("{}: {e}", it.path)).reft;
        assert_eq!(again.configs, reft.configs, "{}", it.path);
        assert_eq!(bits(&values(&again)), bits(&before), "{}: bits", it.path);
        assert_eq!(head(&again), head(&reft), "{}: head", it.path);
    }
    assert!(!directories.is_empty(), "no directory of pyreft's in the manifest");
}

#[test]
fn directories_of_peft_hold_what_their_traces_say_and_are_written_with_the_same_bits() {
    let directories = saved("peft_save");
    for it in &directories {
        let lora = peft::read(&it.files).unwrap_or_else(|e| panic!("{}: {e}", it.path));
        assert_eq!(lora.r as u64, it.spec["r"].as_u64().expect("a rank"), "{}", it.path);
        assert_eq!(f64::from(lora.alpha), it.spec["alpha"].as_f64().expect("alpha"), "{}", it.path);
        let in_trace =
            it.trace.names().into_iter().filter(|name| name.starts_with("const.final.lora.")).count();
        assert_eq!(2 * lora.pairs.len(), in_trace, "{}: pairs", it.path);
        for pair in &lora.pairs {
            for (side, got) in [("A", &pair.a), ("B", &pair.b)] {
                let short = pair.projection.trim_end_matches("_proj");
                let names = [&pair.projection, short]
                    .map(|name| format!("const.final.lora.{}.{name}.{side}", pair.layer));
                let name =
                    names.iter().find(|name| it.trace.has(name)).unwrap_or_else(|| panic!("{names:?}"));
                let expected = it.trace.f32(name);
                let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(got.len() == expected.len() && off <= 1e-6, "{} {name}: off by {off}", it.path);
            }
        }
        let engine = it.engine();
        let reft = engine.import_reft(&it.files, &Unsaved::default()).expect("interventions").reft;
        assert_eq!(reft.interventions.len(), lora.pairs.len(), "{}", it.path);
        let files = block_on(engine.export_reft(&reft, "peft")).expect("files");
        assert_eq!(peft::read(&files).expect("what was written"), lora, "{}", it.path);
    }
    assert!(!directories.is_empty(), "no directory of peft's in the manifest");
}

fn engine() -> Engine {
    support::load(&Backend::cpu(), &support::golden_dir().join("llama/model-f32.gguf"))
}

fn config(kind: &str) -> ReftConfig {
    let layers = Layers::List(vec![0, 2]);
    ReftConfig {
        kind: kind.to_owned(),
        layers,
        rank: 3,
        component: "block_output".into(),
        positions: "f1+l1".to_owned(),
        ..ReftConfig::default()
    }
}

#[test]
fn every_kind_of_pyreft_goes_there_and_back() {
    let engine = engine();
    for kind in ["loreft", "direft", "noreft", "nodireft", "consreft", "lobireft"] {
        for add_bias in [false, true] {
            let add_bias = add_bias && ["noreft", "nodireft"].contains(&kind);
            let reft = engine.reft(&[ReftConfig { add_bias, ..config(kind) }]).expect("interventions");
            let files = block_on(engine.export_reft(&reft, "pyreft")).expect("files");
            let again = engine.import_reft(&files, &Unsaved::default()).expect("the same").reft;
            assert_eq!(again.configs, reft.configs);
            assert_eq!(bits(&values(&again)), bits(&values(&reft)), "{kind}");
            // As a trainer leaves it, without a configuration.
            let files: Vec<File> = files.into_iter().filter(|(name, _)| name != "config.json").collect();
            let unsaved = Unsaved { kind: Some(kind.to_owned()), ..Unsaved::default() };
            let again = engine.import_reft(&files, &unsaved).expect("the same").reft;
            assert_eq!(bits(&values(&again)), bits(&values(&reft)), "{kind}");
        }
    }
}

#[test]
fn several_configurations_go_there_and_back() {
    let engine = engine();
    let other = ReftConfig {
        layers: Layers::List(vec![1]),
        component: "attention_output".into(),
        positions: "f1+l1".to_owned(),
        tied: true,
        ..config("noreft")
    };
    let reft = engine.reft(&[config("loreft"), other]).expect("interventions");
    let files = block_on(engine.export_reft(&reft, "pyreft")).expect("files");
    let again = engine.import_reft(&files, &Unsaved::default()).expect("the same").reft;
    assert_eq!(again.configs, reft.configs);
    assert_eq!(bits(&values(&again)), bits(&values(&reft)));
}

#[test]
fn shared_parameters_become_copies() {
    let engine = engine();
    let reft = engine.reft(&[ReftConfig { shared: true, ..config("loreft") }]).expect("interventions");
    let files = block_on(engine.export_reft(&reft, "pyreft")).expect("files");
    let again = values(&engine.import_reft(&files, &Unsaved::default()).expect("four of them").reft);
    let own = values(&reft);
    assert_eq!(bits(&again), bits(&[&own[..1], &own[..1], &own[1..], &own[1..]].concat()));
}

#[test]
fn what_the_libraries_do_not_have_is_refused() {
    let engine = engine();
    let export = |config: ReftConfig, library: &str| {
        let reft = engine.reft(&[config]).expect("interventions");
        block_on(engine.export_reft(&reft, library))
    };
    check(export(config("loreft"), "pytorch"), ErrorKind::Input, &["pytorch", "pyreft, peft"]);
    check(export(config("dii_lowrank"), "pyreft"), ErrorKind::Unsupported, &["dii_lowrank"]);
    check(
        export(ReftConfig { act: "gelu".into(), ..config("loreft") }, "pyreft"),
        ErrorKind::Unsupported,
        &["gelu"],
    );
    check(
        export(ReftConfig { alpha: 6.0, ..config("loreft") }, "pyreft"),
        ErrorKind::Unsupported,
        &["scale 2"],
    );
    check(export(config("loreft"), "peft"), ErrorKind::Unsupported, &["loreft", "expected lora"]);
}

#[test]
fn directories_that_are_not_whole_are_refused() {
    let engine = engine();
    let reft = engine.reft(&[config("consreft")]).expect("interventions");
    let files = block_on(engine.export_reft(&reft, "pyreft")).expect("files");
    let import = |files: &[File], unsaved: Unsaved| engine.import_reft(files, &unsaved).map(|_| ());
    let without =
        |name: &str| files.iter().filter(|(other, _)| other != name).cloned().collect::<Vec<File>>();
    let key = "intkey_layer_2_comp_block_output_unit_pos_nunit_1#1.bin";
    check(import(&[], Unsaved::default()), ErrorKind::File, &["not a directory of pyreft's"]);
    check(import(&without(key), Unsaved::default()), ErrorKind::File, &[key, "missing"]);
    check(import(&without("config.json"), Unsaved::default()), ErrorKind::Input, &["consreft or lobireft"]);
    let positions = Unsaved { positions: Some("l1".to_owned()), ..Unsaved::default() };
    check(import(&files, positions), ErrorKind::Input, &["layer 0", "2 interventions", "\"l1\""]);
    let patched = |from: &str, to: &str| {
        let mut files = files.clone();
        let config = files.iter_mut().find(|(name, _)| name == "config.json").expect("a configuration");
        config.1 = String::from_utf8(config.1.clone()).expect("text").replace(from, to).into_bytes();
        files
    };
    let class = patched("pyreft.interventions.Consreft", "pyvene.models.interventions.Noise");
    check(
        import(&class, Unsaved::default()),
        ErrorKind::Unsupported,
        &["NoiseIntervention", "known: loreft"],
    );
    let kind = patched("Consreft", "Noreft");
    check(import(&kind, Unsaved::default()), ErrorKind::File, &[".bin", "\"proj_layer.weight\" is missing"]);
    let place = patched("block_output", "block_middle");
    check(
        import(&place, Unsaved::default()),
        ErrorKind::Unsupported,
        &["block_middle", "known: block_input"],
    );
}

fn script(config: ReftConfig, lines: &[Example], options: &TrainOptions) -> Result<Vec<File>> {
    let engine = engine();
    block_on(engine.export_script(&engine.reft(&[config])?, lines, options))
}

#[test]
fn a_script_for_pyreft_has_the_examples_the_settings_and_the_start() {
    let engine = engine();
    let config =
        ReftConfig { act: "gelu".into(), positions: "pyreft:f3+l3".into(), tied: true, ..config("loreft") };
    let examples = [Example::answer("the cat", "ran"), Example::answer("a dog", "sat down")];
    let options = TrainOptions { epochs: 3, learning_rate: 1e-2, seed: 5, ..TrainOptions::default() };
    let files = script(config.clone(), &examples, &options).expect("a script");
    let file = |name: &str| &files.iter().find(|(other, _)| other == name).expect(name).1[..];
    let settings: Value = serde_json::from_slice(file("settings.json")).expect("JSON");
    let read: TrainOptions = serde_json::from_value(settings["training"].clone()).expect("options");
    assert_eq!(read, TrainOptions { batch_size: 2, ..options });
    let interventions = settings["interventions"].as_array().expect("a list");
    assert_eq!(interventions.len(), 2);
    assert_eq!(
        interventions[1],
        json!({ "class": "LoreftIntervention", "layer": 2, "component": "block_output", "width": 64, "rank": 3, "act": "gelu" })
    );
    let lines = String::from_utf8(file("examples.jsonl").to_vec()).expect("text");
    let reft = engine.reft(&[config]).expect("interventions");
    let sequences = engine.sequences(&reft, &examples).expect("sequences");
    assert_eq!(lines.lines().count(), sequences.len());
    for (line, sequence) in lines.lines().zip(&sequences) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["input_ids"], json!(sequence.tokens));
        let labels = line["labels"].as_array().expect("a list").iter().enumerate();
        let labels = labels.filter(|(_, label)| **label != json!(-100));
        let labels: Vec<_> = labels.map(|(at, id)| (at - 1, id.as_u64().expect("an id") as u32)).collect();
        assert_eq!(labels, sequence.labels);
        let slots: u32 = sequence.edits[1].rows.iter().map(|[_, count]| count).sum();
        assert_eq!(line["positions"][1].as_array().map(Vec::len), Some(slots as usize));
        assert_eq!(slots, 6, "pyreft leaves no slot unused");
    }
    let orders = String::from_utf8(file("order.jsonl").to_vec()).expect("text");
    let orders: Vec<Vec<usize>> =
        orders.lines().map(|line| serde_json::from_str(line).expect("numbers")).collect();
    assert_eq!(orders.len(), 3);
    assert!(orders.iter().all(|order| order.len() == 2 && order.contains(&0) && order.contains(&1)));
    let start = engine.load_reft(file("start.safetensors")).expect("a file of ours");
    assert_eq!(bits(&values(&start)), bits(&values(&reft)));
    let readme = String::from_utf8(file("README.md").to_vec()).expect("text");
    assert!(readme.contains("--positions=pyreft:f3+l3 --act gelu --save"), "{readme}");
    assert!(!readme.contains('{'), "{readme}");
}

#[test]
fn what_pyreft_cannot_train_is_no_script() {
    let answers = [Example::answer("the cat", "ran")];
    let refused = |config: ReftConfig, options: &TrainOptions, part: &str| {
        check(script(config, &answers, options), ErrorKind::Unsupported, &[part]);
    };
    let plain = TrainOptions::default();
    let decay = TrainOptions { weight_decay: 0.1, ..TrainOptions::default() };
    refused(ReftConfig { component: "value_output".into(), ..config("lora") }, &plain, "kind lora");
    refused(ReftConfig { shared: true, ..config("loreft") }, &plain, "shared");
    refused(ReftConfig { rank: 64, ..config("loreft") }, &plain, "full rank");
    refused(ReftConfig { act: "gelu".into(), ..config("consreft") }, &plain, "gelu");
    refused(ReftConfig { alpha: 6.0, ..config("loreft") }, &plain, "scale 2");
    refused(config("loreft"), &decay, "weight decay");
    script(config("noreft"), &answers, &decay).expect("a free projection decays there, too");
    let pair = serde_json::from_str(r#"{"prompt": "the cat", "chosen": "ran", "rejected": "sat"}"#);
    let pair: Example = pair.expect("an example");
    check(script(config("loreft"), &[pair], &plain), ErrorKind::Unsupported, &["Preference", "next tokens"]);
}

/// Checks an error's kind, and that its text holds all of `parts`.
fn check<T>(result: Result<T>, kind: ErrorKind, parts: &[&str]) {
    let error: Error = result.err().expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}
