//! Where a file's bytes come from: memory, a file on disk, or whatever else can answer for a range.
//!
//! A model is never held whole: its header is read first, then one tensor (or a few rows of it) at a time.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file of known length whose bytes can be read at any offset.
#[expect(clippy::len_without_is_empty, reason = "the length of a file, not of a collection")]
#[expect(async_fn_in_trait, reason = "one thread reads; no future has to be Send")]
pub trait ByteSource {
    /// Bytes in the file.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`.
    ///
    /// # Errors
    ///
    /// A file error if the range ends after the file or the bytes cannot be read.
    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// A file held in memory.
impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(ByteSource::len(self), offset, buf.len() as u64)?;
        buf.copy_from_slice(&self[offset as usize..][..buf.len()]);
        Ok(())
    }
}

/// A file that somebody else has.
impl<S: ByteSource> ByteSource for &S {
    fn len(&self) -> u64 {
        (*self).len()
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        (*self).read(offset, buf).await
    }
}

/// A file on disk. Where there are no files (in a browser), opening one fails.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// A file error if there is no such file or it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<FileSource> {
        let path = path.as_ref().to_path_buf();
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::open(&path)?;
            let len = file.metadata()?.len();
            Ok((file, len))
        };
        match open() {
            Ok((file, len)) => Ok(FileSource { path, file, len }),
            Err(e) => Err(Error::file(format!("opening {}: {e}", path.display()))),
        }
    }
}

impl ByteSource for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len() as u64)?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buf)).map_err(|e| {
            let (n, path) = (buf.len(), self.path.display());
            Error::file(format!("reading {n} bytes at offset {offset} of {path}: {e}"))
        })
    }
}

/// Says whether `n` bytes at `offset` lie within a file of `len` bytes.
///
/// # Errors
///
/// A file error that names all three numbers.
pub fn check_range(len: u64, offset: u64, n: u64) -> Result<()> {
    match offset.checked_add(n) {
        Some(end) if end <= len => Ok(()),
        _ => Err(Error::file(format!(
            "the file is cut off: expected {n} bytes at offset {offset}, the file has {len} bytes"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{ByteSource, FileSource};

    #[test]
    fn memory_and_file_give_the_same_bytes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let memory = std::fs::read(path).unwrap();
        let file = FileSource::open(path).unwrap();
        assert_eq!(ByteSource::len(&memory), file.len());
        let (mut a, mut b) = ([0; 20], [1; 20]);
        pollster::block_on(memory.read(7, &mut a)).unwrap();
        pollster::block_on(file.read(7, &mut b)).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn reading_past_the_end_says_where_how_much_and_how_long() {
        let source = vec![0; 10];
        for (offset, n) in [(8, 3), (11, 0), (u64::MAX, 1)] {
            let error = pollster::block_on(source.read(offset, &mut vec![0; n])).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("the file is cut off: expected {n} bytes at offset {offset}, the file has 10 bytes")
            );
        }
        assert!(pollster::block_on(source.read(10, &mut [])).is_ok());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = FileSource::open("no/such/file.gguf").unwrap_err();
        assert!(error.to_string().starts_with("opening no/such/file.gguf: "), "{error}");
    }
}
