//! GGUF, the container: metadata and where each tensor lies; never the values.
//!
//! ```text
//! magic "GGUF" · version 2 or 3 · tensors n · pairs m · m × (key, type, value)
//!   · n × (name, dimensions, type, offset) · padding to the alignment · data
//! ```
//!
//! The header is read in growing pieces from the start of the file. Every count and length is held against the
//! bytes the file has before anything of that size is made. Source: `ggml/docs/gguf.md`, `ggml/src/gguf.cpp`.

mod cursor;
mod metadata;
mod split;
mod tensor;
mod types;
mod writer;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

pub use self::metadata::{FromMetadata, Given, Metadata, Strings, ValueRef};
pub use self::split::read_parts;
pub use self::tensor::TensorInfo;
pub use self::types::GgmlType;
pub use self::writer::{ALIGNMENT, Writer, array, string};

use self::cursor::{Cursor, Step, Stop};
use self::metadata::Value;
use crate::bytes::ByteSource;
use crate::error::{Error, Faults, Result};

/// The first piece that is read; each further one doubles what is there.
const FIRST_READ: u64 = 64 << 10;
/// No header in the wild is a quarter of this.
const MAX_HEADER: u64 = 64 << 20;
/// Alignment of tensors where `general.alignment` does not say.
const DEFAULT_ALIGNMENT: u32 = 32;

/// What a GGUF file says about itself, or what a repository of safetensors would say if it were one.
#[derive(Clone, Debug)]
pub struct Header {
    /// Whose habits the values have.
    pub origin: Origin,
    /// The key-value pairs.
    pub metadata: Metadata,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Vectors that lie in no file but follow from a repository's configuration, by their names in GGUF.
    pub derived: HashMap<String, Vec<f32>>,
    /// What a repository calls its tensors, by their names in GGUF.
    pub own_names: HashMap<String, String>,
    by_name: HashMap<String, usize>,
}

/// Who wrote a model's values: the same model differs by the order of rotary pairs, and by one in Gemma's norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// llama.cpp's converter, as a GGUF file of this version.
    Gguf(u32),
    /// Transformers.
    HuggingFace,
}

impl Header {
    /// Metadata and tensors as one header.
    ///
    /// # Errors
    /// `File` if a tensor's name stands twice.
    pub(crate) fn new(origin: Origin, metadata: Metadata, tensors: Vec<TensorInfo>) -> Result<Header> {
        let by_name = tensor::index(&tensors)?;
        let (derived, own_names) = (HashMap::new(), HashMap::new());
        Ok(Header { origin, metadata, tensors, derived, own_names, by_name })
    }

    /// What the file itself calls a tensor.
    pub fn own_name<'n>(&'n self, name: &'n str) -> &'n str {
        self.own_names.get(name).map_or(name, String::as_str)
    }

    /// Numbers in all tensors.
    pub fn n_params(&self) -> u64 {
        let counts = self.tensors.iter().map(|tensor| tensor.dims.iter().map(|n| *n as u64).product::<u64>());
        counts.sum()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// The tensor of this name, or none.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&i| &self.tensors[i])
    }
}

/// Reads the header of a GGUF file.
///
/// # Errors
///
/// A file error if the file is not GGUF, cut off or damaged; an unsupported error for a version or byte order that
/// webreft does not read; whatever the source says when it cannot be read.
pub async fn read(source: &impl ByteSource) -> Result<Header> {
    let file_len = source.len();
    let mut bytes = Vec::new();
    let mut want = FIRST_READ;
    loop {
        let have = bytes.len();
        bytes.resize(want.min(file_len) as usize, 0);
        source.read(have as u64, &mut bytes[have..]).await?;
        match Parts::read(&bytes, file_len) {
            Ok(parts) => return parts.into_header(bytes, file_len),
            Err(Stop::Bad(error)) => return Err(error),
            Err(Stop::More(end)) if end > MAX_HEADER => {
                return Err(Error::file(format!(
                    "the header goes on to byte {end}: expected at most {MAX_HEADER}"
                )));
            }
            Err(Stop::More(end)) => want = end.max(2 * bytes.len() as u64).min(MAX_HEADER),
        }
    }
}

/// Reads the header of a whole GGUF file.
///
/// # Errors
/// As [`read`].
pub fn read_whole(bytes: &[u8]) -> Result<Header> {
    let file_len = bytes.len() as u64;
    match Parts::read(bytes, file_len) {
        Ok(parts) => parts.into_header(bytes.to_vec(), file_len),
        Err(Stop::Bad(error)) => Err(error),
        Err(Stop::More(end)) => {
            Err(Error::file(format!("the file is cut off: expected {end} bytes, it has {file_len}")))
        }
    }
}

/// A header as it was read, before its parts are held against each other.
struct Parts {
    version: u32,
    entries: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
    len: usize,
}

impl Parts {
    fn read(bytes: &[u8], file_len: u64) -> Step<Parts> {
        let mut cursor = Cursor::new(bytes, file_len);
        let version = read_version(&mut cursor).map_err(|stop| stop.at(|| "not a GGUF file".into()))?;
        check_version(version)?;
        let n_tensors = cursor.u64()?;
        let n_entries = cursor.u64()?;
        let entries = metadata::read_entries(&mut cursor, n_entries)?;
        let tensors = tensor::read_table(&mut cursor, n_tensors)?;
        Ok(Parts { version, entries, tensors, len: cursor.at() })
    }

    fn into_header(self, mut bytes: Vec<u8>, file_len: u64) -> Result<Header> {
        bytes.truncate(self.len);
        let metadata = Metadata::new(bytes, self.entries);
        let alignment = metadata.get("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() {
            let got = alignment;
            return Err(Error::file(format!(
                "metadata \"general.alignment\": expected a power of two, got {got}"
            )));
        }
        let data_start = (self.len as u64).next_multiple_of(alignment.into());
        let mut tensors = self.tensors;
        tensor::place(&mut tensors, data_start, alignment.into(), file_len)?;
        let mut faults = Faults::default();
        faults.note(tensor::check_apart(&tensors));
        let header = faults.note(Header::new(Origin::Gguf(self.version), metadata, tensors));
        faults.check()?;
        Ok(header.expect("nothing is wrong"))
    }
}

/// The version, after the magic in front of it.
fn read_version(cursor: &mut Cursor) -> Step<u32> {
    let magic: [u8; 4] = cursor.array()?;
    if &magic != b"GGUF" {
        let got = magic.escape_ascii();
        return Err(Error::file(format!("expected magic \"GGUF\", got \"{got}\"")).into());
    }
    cursor.u32()
}

fn check_version(version: u32) -> Result<()> {
    match version {
        2 | 3 => Ok(()),
        v if (1..1 << 16).contains(&v.swap_bytes()) => Err(Error::unsupported(
            "GGUF of big-endian byte order is not supported (supported: little-endian)",
        )),
        v => Err(Error::unsupported(format!("GGUF version {v} is not supported (supported: 2, 3)"))),
    }
}

/// A name from a file for an error: in quotes, escaped, and no longer than a line.
fn quoted(name: &str) -> String {
    const LINE: usize = 80;
    match name.char_indices().nth(LINE) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    }
}
