//! Zip archives in memory: torch's files are such, and so are directories on their way through a browser.

use super::{File, control_vector};
use crate::error::{Error, Result};
use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipArchive, ZipWriter};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{Cursor, Read, Write};

/// What an unpacked directory may be in all: a small file can be packed to unpack to anything.
const MAX_DIRECTORY: usize = 1 << 30;

/// The entries of an archive.
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Where each file is, by its name.
    entries: BTreeMap<String, usize>,
    /// Bytes that may still be read.
    left: usize,
}

impl<'a> Archive<'a> {
    /// Opens an archive of which no more than `limit` bytes may be read in all.
    pub(super) fn open(bytes: &'a [u8], limit: usize) -> Result<Archive<'a>> {
        let zip = ZipArchive::new(Cursor::new(bytes));
        let zip = zip.map_err(|error| Error::file(format!("not a zip archive: {error}")))?;
        let names = zip.file_names().map(str::to_owned).zip(0..);
        let entries = names.filter(|(name, _)| !name.ends_with('/')).collect();
        Ok(Archive { zip, entries, left: limit })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// The bytes of a file, none if there is no such file.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(index) = self.entries.get(name) else { return Ok(None) };
        let wrong = |error: &dyn Display| Error::file(format!("zip archive: {name:?}: {error}"));
        let entry = self.zip.by_index(*index).map_err(|error| wrong(&error))?;
        let mut bytes = Vec::new();
        entry.take(self.left as u64 + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error))?;
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| {
            wrong(&format_args!("unpacks to more than the {} bytes that are left for it", self.left))
        })?;
        Ok(Some(bytes))
    }
}

/// An archive of these files, uncompressed, each beginning at a multiple of 64 bytes as torch wants it; the same files are the
/// same bytes.
pub(super) fn pack<'a>(files: impl Iterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let large = u32::try_from(bytes.len()).is_err();
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .with_alignment(64)
            .large_file(large);
        zip.start_file(name, options).expect("memory takes it, and names are short");
        zip.write_all(bytes).expect("memory takes it");
    }
    zip.finish().expect("memory takes it").into_inner()
}

/// A directory's files as one `.zip`; a control vector as it is.
pub fn pack_directory(files: &[File]) -> Vec<u8> {
    if let [(_, bytes)] = files
        && control_vector::is_one(bytes)
    {
        return bytes.clone();
    }
    pack(files.iter().map(|(name, bytes)| (name.clone(), bytes.as_slice())))
}

/// The files in a `.zip`, of all its folders; or a control vector, which is one file.
///
/// # Errors
/// `File` if it is damaged, or unpacks to more than 1 GiB.
pub fn unpack_directory(bytes: &[u8]) -> Result<Vec<File>> {
    if control_vector::is_one(bytes) {
        return Ok(vec![(control_vector::NAME.to_owned(), bytes.to_vec())]);
    }
    let mut archive = Archive::open(bytes, MAX_DIRECTORY)?;
    let mut files = Vec::new();
    for name in archive.names() {
        let bytes = archive.read(&name)?.expect("it is listed");
        files.push((name, bytes));
    }
    Ok(files)
}
