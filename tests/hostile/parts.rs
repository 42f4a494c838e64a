//! A model in several files.

use pollster::block_on;
use webreft::backend::Backend;
use webreft::engine::{Engine, Input};
use webreft::files::ModelFiles;
use webreft::generate::GenerateOptions;
use webreft::model::LoadOptions;
use webreft::{Error, Result};

use super::{File, alone};

/// The tiny model in three parts, the first of which has all that is said of it.
fn parts() -> [File; 3] {
    let whole = File::tiny();
    let n_tensors = whole.tensors.len();
    let part = |number: usize| {
        let mut part = whole.clone();
        if number > 0 {
            part.entries.clear();
        }
        for (key, value) in [("no", number), ("count", 3), ("tensors.count", n_tensors)] {
            part.set_u32(&format!("split.{key}"), value as u32);
        }
        part.tensors = whole.tensors.iter().skip(number).step_by(3).cloned().collect();
        part
    };
    [part(0), part(1), part(2)]
}

fn load(files: &[Vec<u8>]) -> Result<Engine> {
    let names = (1..).map(|number| format!("tiny-{number:05}-of-00003.gguf"));
    let files: Vec<(String, Vec<u8>)> = names.zip(files.iter().cloned()).collect();
    block_on(async {
        let files = ModelFiles::open(files).await?;
        Engine::load(&Backend::cpu(), &files, &LoadOptions::default(), &mut |_| ()).await
    })
}

fn answer(engine: &Engine) -> Vec<u32> {
    let prompt = engine.prompt(&Input::Text("a b ab".to_owned()), vec![]).expect("a prompt");
    let options = GenerateOptions { max_tokens: 8, ..Default::default() };
    let mut generation = engine.generate(&[prompt], &options).expect("a generation");
    let mut ids = Vec::new();
    while let Some(pieces) = block_on(generation.next(engine.tokenizer())).expect("a step") {
        ids.extend(pieces.iter().map(|piece| piece.id));
    }
    ids
}

/// Parts give what the whole gives, in whatever order they come.
#[test]
fn parts_are_the_whole() {
    let _alone = alone();
    let whole = load(&[File::tiny().bytes()]).unwrap();
    let [a, b, c] = parts().map(|part| part.bytes());
    for order in [[&a, &b, &c], [&c, &a, &b], [&b, &c, &a]] {
        let engine = load(&order.map(Clone::clone)).unwrap();
        assert_eq!(engine.info().fingerprint, whole.info().fingerprint);
        assert_eq!(answer(&engine), answer(&whole));
    }
}

fn refused(files: &[Vec<u8>], text: &str) {
    let error: Error = load(files).err().expect(text);
    assert!(error.to_string().contains(text), "{text:?} is not in: {error}");
}

#[test]
fn parts_that_are_not_one_model_are_refused() {
    let _alone = alone();
    let [a, b, c] = parts();
    let bytes = |parts: [&File; 3]| parts.map(|part| part.bytes());
    let whole = bytes([&a, &b, &c]);
    refused(&whole[..2], "part 1 of 3");
    refused(&bytes([&a, &b, &b]), "part 3 of 3: expected once, got part 2");
    let mut lacks = c.clone();
    let lost = lacks.tensors.pop().expect("a tensor").name;
    refused(&bytes([&a, &b, &lacks]), "tensors: expected 11");
    let mut other = c.clone();
    other.push(&lost, &[32], 0, vec![0; 128]);
    refused(&bytes([&a, &b, &other]), "the name stands twice");
    let mut far = b.clone();
    far.tensors[0].offset = Some(1 << 40);
    refused(&bytes([&a, &far, &c]), &b.tensors[0].name);
    for end in 0..whole[1].len() {
        let cut = [whole[0].clone(), whole[1][..end].to_vec(), whole[2].clone()];
        assert!(load(&cut).is_err(), "{end} bytes of part 2");
    }
}
