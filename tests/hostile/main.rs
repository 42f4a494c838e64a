//! Files that lie: none makes the engine panic, hang, or take more memory than the file's own size justifies, and what is wrong
//! with one is told in one error.

mod adapters;
mod advisories;
mod bits;
mod everything;
mod examples;
mod file;
mod hyperparameters;
mod lies;
mod numbers;
mod parts;
mod templates;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use file::File;
use peak_alloc::PeakAlloc;
use pollster::block_on;
use webreft::backend::Backend;
use webreft::engine::{Engine, Input};
use webreft::files::ModelFiles;
use webreft::generate::GenerateOptions;
use webreft::gguf::{self, Header};
use webreft::model::LoadOptions;
use webreft::{Error, ErrorKind, Result};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the whole process, so that one test at a time may take any.
static TURN: Mutex<()> = Mutex::new(());

/// Bytes that may be held at once for each byte of a file: its tables, its repacked weights, its tokens in two orders.
const MULTIPLE: usize = 16;
/// Bytes that any file may take: a piece of a tensor, angles of 4096 positions, patterns of a pre-tokenizer, a template's machine.
const CONSTANT: usize = 12 << 20;
/// No case takes a tenth of it; what hangs is told from what waits for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn load_for(bytes: &Vec<u8>, n_ctx: Option<usize>) -> Result<Engine> {
    block_on(async {
        let files = ModelFiles::gguf(bytes).await?;
        let options = LoadOptions { n_ctx, ..LoadOptions::default() };
        Engine::load(&Backend::cpu(), &files, &options, &mut |_| ()).await
    })
}

/// The right to count memory; a test keeps it as long as it allocates anything of note.
struct Alone {
    _turn: MutexGuard<'static, ()>,
}

fn alone() -> Alone {
    Alone { _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) }
}

/// The tiny file with a change, and what its error must say.
fn refused(kind: ErrorKind, change: impl FnOnce(&mut File), parts: &[&str]) {
    let alone = alone();
    let mut file = File::tiny();
    change(&mut file);
    alone.refuses(&file.bytes(), kind, parts);
}

impl Alone {
    /// What `run` gives, if it keeps to the bounds of a file of `len` bytes.
    fn bounded<T>(&self, len: usize, run: impl FnOnce() -> T) -> T {
        MEMORY.reset_peak_usage();
        let (before, start) = (MEMORY.current_usage(), Instant::now());
        let result = run();
        let (taken, time) = (MEMORY.peak_usage().saturating_sub(before), start.elapsed());
        let most = MULTIPLE * len + CONSTANT;
        assert!(taken <= most, "{taken} bytes taken for a file of {len}: expected at most {most}");
        assert!(time <= PATIENCE, "{time:?} for a file of {len} bytes");
        result
    }

    /// A file's header.
    fn header(&self, bytes: &Vec<u8>) -> Result<Header> {
        self.bounded(bytes.len(), || block_on(gguf::read(bytes)))
    }

    /// The model of a file, which, where it loads, also reads a text and answers with two tokens.
    fn load(&self, bytes: &Vec<u8>) -> Result<Engine> {
        let load = || {
            let engine = load_for(bytes, None)?;
            answer(&engine);
            Ok(engine)
        };
        self.bounded(bytes.len(), load)
    }

    /// The error of a file that must have one.
    fn error(&self, bytes: &Vec<u8>) -> Error {
        self.load(bytes).err().expect("an error")
    }

    /// Checks the kind of a file's error, and that its text holds all of `parts`.
    fn refuses(&self, bytes: &Vec<u8>, kind: ErrorKind, parts: &[&str]) {
        let error = self.error(bytes);
        assert_eq!(error.kind(), kind, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
        }
    }
}

/// Has a model answer, or say why it cannot: its template may refuse, its context may be too short.
fn answer(engine: &Engine) {
    let Ok(prompt) = engine.prompt(&Input::Text("a b ab".to_owned()), vec![]) else { return };
    let options = GenerateOptions { max_tokens: 2, ..Default::default() };
    let Ok(mut generation) = engine.generate(&[prompt], &options) else { return };
    while let Ok(Some(_)) = block_on(generation.next(engine.tokenizer())) {}
}
