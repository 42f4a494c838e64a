//! Fuzz targets over everything webreft reads from outside: a file's header, its tokenizer, its chat template, its weights, and what
//! other libraries write.
//!
//! An input may be refused. It may not make anything panic, run for long, or take more memory than its own size justifies.

#[path = "../../tests/hostile/file.rs"]
#[allow(dead_code, reason = "the tests of hostile files use more of it")]
mod file;
mod seeds;

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use peak_alloc::PeakAlloc;
use pollster::block_on;
use webreft::backend::Backend;
use webreft::bytes::ByteSource;
use webreft::data;
use webreft::engine::{Engine, Input};
use webreft::files::ModelFiles;
use webreft::generate::GenerateOptions;
use webreft::gguf;
use webreft::model::LoadOptions;
use webreft::quant::{FORMATS, Format};
use webreft::reft::foreign::{self, Unsaved};
use webreft::token::{ChatInputs, ChatTemplate, HubText, Message, Tokenizer};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that may be held at once for each byte of an input.
const MULTIPLE: usize = 16;
/// The same of an archive: deflate packs a thousand bytes into one.
const MULTIPLE_UNPACKED: usize = 1100;
/// Bytes that any input may take: what a model, a tokenizer or a template comes to when it is small.
const CONSTANT: usize = 64 << 20;

/// The file of one intervention, as pyreft names it.
const PYREFT_FILE: &str = "intkey_layer_0_comp_block_output_unit_pos_nunit_1#0.bin";

/// Something that reads bytes from outside.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// The header of a GGUF file.
    Header,
    /// The tokenizer that a GGUF file describes, and a text through it.
    Tokenizer,
    /// A `tokenizer.json`, and a text through it.
    TokenizerJson,
    /// A chat template, and a conversation through it.
    Template,
    /// A GGUF file whole: its weights, and an answer.
    Model,
    /// A repository: `config.json`, a zero, `model.safetensors`; and an answer.
    Repository,
    /// What stands beside a sound repository's weights, a zero between each: its index, `tokenizer_config.json`, `added_tokens.json`, and
    /// `generation_config.json`.
    Beside,
    /// A format's blocks.
    Decode(&'static Format),
    /// The pickle in a file of torch's.
    Pickle,
    /// A zip archive, as a directory and as a file of torch's.
    Zip,
    /// A file of interventions.
    Interventions,
    /// An adapter: its configuration, a zero, and its tensors; as a directory of peft's with either file, and of pyreft's.
    Adapter,
    /// A file of training examples.
    Examples,
}

impl Target {
    /// Every target there is; each format has its own.
    pub fn all() -> Vec<Target> {
        let targets = [
            Target::Header,
            Target::Tokenizer,
            Target::TokenizerJson,
            Target::Template,
            Target::Model,
            Target::Repository,
            Target::Beside,
            Target::Pickle,
            Target::Zip,
            Target::Interventions,
            Target::Adapter,
            Target::Examples,
        ];
        targets.into_iter().chain(FORMATS.into_iter().map(Target::Decode)).collect()
    }

    /// What it is called on the command line.
    pub fn name(&self) -> String {
        match self {
            Target::Decode(format) => format!("decode-{}", format.name.to_lowercase()),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// Inputs to begin with.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        match self {
            Target::Header => seeds::headers(),
            Target::Tokenizer => seeds::vocabularies(),
            Target::TokenizerJson => seeds::tokenizer_files(),
            Target::Template => seeds::templates(),
            Target::Model => vec![file::File::tiny().bytes()],
            Target::Repository => vec![seeds::repository()],
            Target::Beside => vec![seeds::beside()],
            Target::Decode(format) => seeds::blocks(format),
            Target::Pickle => seeds::pickles(),
            Target::Zip => seeds::archives(),
            Target::Interventions => vec![seeds::interventions()],
            Target::Adapter => seeds::adapters(),
            Target::Examples => seeds::examples(),
        }
    }

    /// Reads an input.
    ///
    /// # Panics
    ///
    /// If it takes too much memory: that is what is looked for.
    pub fn run(&self, bytes: &[u8]) {
        if let Target::Interventions = self {
            with_tiny(|_| ()); // the model is no part of what the input takes
        }
        MEMORY.reset_peak_usage();
        let before = MEMORY.current_usage();
        self.read(bytes);
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let multiple = if let Target::Zip = self { MULTIPLE_UNPACKED } else { MULTIPLE };
        let most = multiple * bytes.len() + CONSTANT;
        assert!(taken <= most, "{taken} bytes for an input of {}: expected at most {most}", bytes.len());
    }

    fn read(&self, bytes: &[u8]) {
        match self {
            Target::Header => read_header(bytes),
            Target::Tokenizer => read_tokenizer(bytes),
            Target::TokenizerJson => read_tokenizer_file(bytes),
            Target::Template => read_template(&String::from_utf8_lossy(bytes)),
            Target::Model => answer(load(&bytes.to_vec())),
            Target::Repository => answer(load_repository(bytes)),
            Target::Beside => answer(load_beside(bytes)),
            Target::Decode(format) => decode(format, bytes),
            Target::Pickle => read_torch(seeds::torch_file(bytes)),
            Target::Zip => {
                let _ = foreign::unpack_directory(bytes);
                read_torch(bytes.to_vec());
            }
            Target::Adapter => read_adapter(bytes),
            Target::Interventions => with_tiny(|engine| {
                let _ = engine.load_reft(bytes);
                let _ = engine.resume(bytes, &[]);
            }),
            Target::Examples => read_examples(bytes),
        }
    }
}

/// Writes the first inputs of each target into a folder of the target's name.
///
/// # Errors
///
/// If the folders cannot be written.
pub fn write_seeds(folder: &Path) -> io::Result<()> {
    for target in Target::all() {
        let folder = folder.join(target.name());
        fs::create_dir_all(&folder)?;
        for (number, seed) in target.seeds().into_iter().enumerate() {
            fs::write(folder.join(number.to_string()), seed)?;
        }
    }
    Ok(())
}

fn read_header(bytes: &[u8]) {
    let Ok(header) = block_on(gguf::read(&bytes.to_vec())) else { return };
    let mut text = String::new();
    for (key, value) in header.metadata.describe() {
        let _ = write!(text, "{key}{value}");
    }
    for tensor in &header.tensors {
        assert!(tensor.offset + tensor.bytes <= bytes.len() as u64, "{tensor:?} ends after the file");
        assert_eq!(header.tensor(&tensor.name), Some(tensor));
    }
}

fn read_tokenizer(bytes: &[u8]) {
    let Ok(header) = block_on(gguf::read(&bytes.to_vec())) else { return };
    let Ok(tokenizer) = Tokenizer::from_gguf(&header.metadata) else { return };
    let name: Option<&str> = header.metadata.get("general.name").ok().flatten();
    encode(&tokenizer, name.unwrap_or_default());
    let _ = ChatTemplate::from_gguf(&header.metadata, &tokenizer);
}

fn read_tokenizer_file(bytes: &[u8]) {
    let files = |name: &str| (name == "tokenizer.json").then_some(bytes);
    let Ok(text) = HubText::read(files) else { return };
    encode(&text.tokenizer, "");
}

/// Texts into ids, and back.
fn encode(tokenizer: &Tokenizer, more: &str) {
    for text in ["", " a ab<s>ba\n\n 12345 zoë 日本 \u{1f600}", more] {
        for special in [false, true] {
            let ids = tokenizer.encode(text, special, special);
            assert!(ids.iter().all(|id| (*id as usize) < tokenizer.n_vocab()), "{ids:?}");
            let _ = tokenizer.decode(&ids, special);
        }
    }
}

fn read_template(source: &str) {
    let template = ChatTemplate::new(source, "<s>".to_owned(), "</s>".to_owned());
    let message = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let messages = [message("system", "Be brief."), message("user", " hi "), message("assistant", "ho")];
    for n in 0..=messages.len() {
        let _ = template.render(&messages[..n], n == 2, &ChatInputs::at(0));
    }
}

fn load(bytes: &Vec<u8>) -> webreft::Result<Engine> {
    load_files(vec![("model.gguf".to_owned(), bytes)])
}

fn load_repository(bytes: &[u8]) -> webreft::Result<Engine> {
    load_files(repository_files(bytes))
}

/// A sound repository with other files of JSON beside its weights.
fn load_beside(bytes: &[u8]) -> webreft::Result<Engine> {
    let names = [
        "model.safetensors.index.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "generation_config.json",
    ];
    let mut files = repository_files(&seeds::repository());
    let texts = names.into_iter().zip(bytes.split(|byte| *byte == 0)).filter(|(_, text)| !text.is_empty());
    files.extend(texts.map(|(name, text)| (name.to_owned(), text.to_vec())));
    load_files(files)
}

fn repository_files(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = bytes.splitn(2, |byte| *byte == 0).map(<[u8]>::to_vec);
    let [config, weights] = [(); 2].map(|()| files.next().unwrap_or_default());
    let named = |name: &str, bytes| (name.to_owned(), bytes);
    vec![
        named("config.json", config),
        named("tokenizer.json", seeds::TOKENIZER_FILE.to_vec()),
        named("model.safetensors", weights),
    ]
}

fn load_files(files: Vec<(String, impl ByteSource)>) -> webreft::Result<Engine> {
    block_on(async {
        let files = ModelFiles::open(files).await?;
        Engine::load(&Backend::cpu(), &files, &LoadOptions::default(), &mut |_| ()).await
    })
}

fn answer(engine: webreft::Result<Engine>) {
    let Ok(engine) = engine else { return };
    let Ok(prompt) = engine.prompt(&Input::Text("ab a".to_owned()), vec![]) else { return };
    let options = GenerateOptions { max_tokens: 2, ..Default::default() };
    let Ok(mut generation) = engine.generate(&[prompt], &options) else { return };
    while let Ok(Some(_)) = block_on(generation.next(engine.tokenizer())) {}
}

/// Blocks of the file, and the same as a GPU reads them, are the same numbers.
fn decode(format: &Format, bytes: &[u8]) {
    let n_blocks = bytes.len() / format.block_bytes;
    let bytes = &bytes[..n_blocks * format.block_bytes];
    let mut values = vec![0.0; n_blocks * format.block_values];
    let mut again = values.clone();
    format.decode(bytes, &mut values);
    let packed = format.repack(bytes);
    format.decode_packed(&packed.qs, &packed.scales, 0, &mut again);
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    assert!(values.iter().zip(&again).all(same), "{} differs once it is repacked", format.name);
}

/// Examples that are read are the same once they are written as JSON and read again.
fn read_examples(bytes: &[u8]) {
    let _ = data::read_prompts(bytes);
    let Ok(read) = data::read(bytes) else { return };
    let text = serde_json::to_string(&read.examples).expect("plain data");
    let again = data::read(text.as_bytes()).expect("what was written");
    assert_eq!((again.examples, again.classes), (read.examples, read.classes));
}

fn read_torch(bytes: Vec<u8>) {
    let _ = foreign::read(&[(PYREFT_FILE.to_owned(), bytes)], &Unsaved::default());
}

fn read_adapter(bytes: &[u8]) {
    let mut files = bytes.splitn(2, |byte| *byte == 0).map(<[u8]>::to_vec);
    let [config, weights] = [(); 2].map(|()| files.next().unwrap_or_default());
    for [config_name, weights_name] in [
        ["adapter_config.json", "adapter_model.safetensors"],
        ["adapter_config.json", "adapter_model.bin"],
        ["config.json", PYREFT_FILE],
    ] {
        let files = [(config_name.to_owned(), config.clone()), (weights_name.to_owned(), weights.clone())];
        let _ = foreign::read(&files, &Unsaved::default());
    }
}

/// Runs with the tiny model, loaded once.
fn with_tiny<T>(run: impl FnOnce(&Engine) -> T) -> T {
    thread_local! {
        static TINY: Engine = seeds::tiny();
    }
    TINY.with(run)
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn repositories_to_begin_with_are_sound() {
        crate::load_repository(&crate::seeds::repository()).map(|_| ()).expect("a sound repository");
        crate::load_beside(&crate::seeds::beside()).map(|_| ()).expect("sound files beside it");
        for file in crate::seeds::tokenizer_files() {
            let files = |name: &str| (name == "tokenizer.json").then_some(file.as_slice());
            assert!(webreft::token::HubText::read(files).is_ok());
        }
    }

    #[test]
    fn every_target_has_a_name_of_its_own_and_takes_its_seeds() {
        let mut names: Vec<String> = Target::all().iter().map(Target::name).collect();
        for target in Target::all() {
            let seeds = target.seeds();
            assert!(!seeds.is_empty(), "{}", target.name());
            seeds.iter().for_each(|seed| target.run(seed));
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Target::all().len());
    }
}
