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

#[cfg(test)]
mod tests {
    use super::super::testing::Writer;
    use super::read_parts;
    use crate::error::Result;

    fn part(number: u32, count: u32, tensor: &str) -> Writer {
        let writer = Writer::default().u32("split.no", number).u32("split.count", count);
        writer.i32s("other", &[]).tensor(tensor, &[8], 0, 0).data(32)
    }

    fn read(parts: &[Vec<u8>]) -> Result<Vec<(String, usize)>> {
        let header = pollster::block_on(read_parts(parts))?;
        assert_eq!(header.metadata.get::<u32>("model")?, Some(7));
        Ok(header.tensors.into_iter().map(|tensor| (tensor.name, tensor.file)).collect())
    }

    #[test]
    fn parts_are_one_model_in_any_order() {
        let first = part(0, 3, "a").u32("model", 7).u32("split.tensors.count", 3).bytes();
        let [second, third] = [part(1, 3, "b"), part(2, 3, "c")].map(|part| part.bytes());
        let tensors = read(&[third.clone(), first.clone(), second.clone()]).unwrap();
        assert_eq!(tensors, [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 0)]);
        let refuse = |parts: &[&Vec<u8>], text: &str| {
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| (*part).clone()).collect();
            assert_eq!(read(&parts).unwrap_err().to_string(), text);
        };
        refuse(&[&first], "the file is part 1 of 3: expected all parts and no others, got 1 files");
        refuse(&[&first, &second, &second], "part 3 of 3: expected once, got part 2");
        let other = part(2, 3, "b").bytes();
        refuse(&[&first, &second, &other], "tensor \"b\": the name stands twice");
        let first = part(0, 1, "a").u32("split.tensors.count", 2).bytes();
        refuse(&[&first], "the parts have 1 tensors: expected 2, as metadata \"split.tensors.count\" says");
    }
}
