//! A model in several files, as `gguf-split` cuts it: each part has its tensors, the first one the metadata besides.
//!
//! Source: `llama_split_path`, `llama_model_loader` in llama.cpp: `split.no`, `split.count`, `split.tensors.count`.

use super::{Header, Metadata, read};
use crate::bytes::ByteSource;
use crate::error::{Error, Result};

/// Reads the headers of a model's files, in any order, as one: a single file, or all parts of a split one.
///
/// # Errors
///
/// As [`read`]; a file error if parts are missing, stand twice, or belong to another model.
pub async fn read_parts<S: ByteSource>(files: &[S]) -> Result<Header> {
    let mut parts = Vec::new();
    for (file, source) in files.iter().enumerate() {
        let mut header = read(source).await?;
        header.tensors.iter_mut().for_each(|tensor| tensor.file = file);
        parts.push((number(&header.metadata, files.len())?, header));
    }
    parts.sort_by_key(|(number, _)| *number);
    if let Some((want, (got, _))) = parts.iter().enumerate().find(|(want, (number, _))| want != number) {
        return Err(Error::file(format!(
            "part {} of {}: expected once, got part {}",
            want + 1,
            files.len(),
            got + 1
        )));
    }
    let mut parts = parts.into_iter().map(|(_, header)| header);
    let first = parts.next().ok_or_else(|| Error::input("a model of no files: expected one at the least"))?;
    let mut tensors = first.tensors;
    tensors.extend(parts.flat_map(|part| part.tensors));
    let (want, got) = (first.metadata.get::<u32>("split.tensors.count")?, tensors.len());
    match want {
        Some(want) if want as usize != got => Err(Error::file(format!(
            "the parts have {got} tensors: expected {want}, as metadata \"split.tensors.count\" says"
        ))),
        _ => Header::new(first.origin, first.metadata, tensors),
    }
}

/// Which part a file is, counted from 0, of as many as there are files.
fn number(metadata: &Metadata, n_files: usize) -> Result<usize> {
    let count = metadata.get::<u32>("split.count")?.unwrap_or(1).max(1) as usize;
    let number = metadata.get::<u32>("split.no")?.unwrap_or(0) as usize;
    if count != n_files {
        return Err(Error::file(format!(
            "the file is part {} of {count}: expected all parts and no others, got {n_files} files",
            number + 1
        )));
    }
    Ok(number)
}
