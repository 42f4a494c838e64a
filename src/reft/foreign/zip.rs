//! Zip archives in memory: torch's files are such, and so are directories on their way through a browser.

use super::{File, control_vector};
use crate::error::{Error, Result};
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};
use rawzip::extra_fields::ExtraFieldId;
use rawzip::path::EntryPath;
use rawzip::{
    CompressionMethod, Header, ZipArchive, ZipArchiveEntryWayfinder, ZipArchiveWriter, ZipSliceArchive,
    ZipVerification, crc32,
};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;

/// What an unpacked directory may be in all: a small file can be packed to unpack to anything.
const MAX_DIRECTORY: usize = 1 << 30;

/// Files in an archive begin at a multiple of this, as in torch's.
const ALIGNMENT: usize = 64;
/// Bytes of a file's local header before its name.
const LOCAL_HEADER: usize = 30;
/// Bytes of an extra field before its data.
const EXTRA_FIELD: usize = 4;
/// The extra field that torch pads headers with: the letters FB.
const PADDING: ExtraFieldId = ExtraFieldId::new(0x4246);

/// The entries of an archive.
pub(super) struct Archive<'a> {
    zip: ZipSliceArchive<&'a [u8]>,
    /// Where each file is, and how it is packed, by its name.
    entries: BTreeMap<String, (ZipArchiveEntryWayfinder, CompressionMethod)>,
    /// Bytes that may still be read.
    left: usize,
}

impl<'a> Archive<'a> {
    /// Opens an archive of which no more than `limit` bytes may be read in all.
    pub(super) fn open(bytes: &'a [u8], limit: usize) -> Result<Archive<'a>> {
        let wrong = |error: rawzip::Error| Error::file(format!("not a zip archive: {error}"));
        let zip = ZipArchive::from_slice(bytes).map_err(wrong)?;
        let mut entries = BTreeMap::new();
        for entry in zip.entries() {
            let entry = entry.map_err(wrong)?;
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
            if !name.ends_with('/') {
                entries.insert(name, (entry.wayfinder(), entry.compression_method()));
            }
        }
        Ok(Archive { zip, entries, left: limit })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// The bytes of a file, none if there is no such file.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((place, method)) = self.entries.get(name) else { return Ok(None) };
        let wrong = |error: &dyn Display| Error::file(format!("zip archive: {name:?}: {error}"));
        let entry = self.zip.get_entry(*place).map_err(|error| wrong(&error))?;
        let too_large =
            || wrong(&format_args!("unpacks to more than the {} bytes that are left for it", self.left));
        let packed = entry.data();
        let bytes = match *method {
            CompressionMethod::STORE if packed.len() > self.left => return Err(too_large()),
            CompressionMethod::STORE => packed.to_vec(),
            CompressionMethod::DEFLATE => {
                decompress_to_vec_with_limit(packed, self.left).map_err(|error| match error.status {
                    TINFLStatus::HasMoreOutput => too_large(),
                    _ => wrong(&error),
                })?
            }
            other => return Err(wrong(&format_args!("packed by {other:?}: expected stored or deflated"))),
        };
        let found = ZipVerification { crc: crc32(&bytes), uncompressed_size: bytes.len() as u64 };
        entry.claim_verifier().valid(found).map_err(|error| wrong(&error))?;
        self.left -= bytes.len();
        Ok(Some(bytes))
    }
}

/// An archive of these files, uncompressed, each beginning at a multiple of 64 bytes as torch wants it; the same files are the
/// same bytes.
pub(super) fn pack<'a>(files: impl Iterator<Item = (String, &'a [u8])>) -> Vec<u8> {
    let mut zip = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in files {
        write(&mut zip, &name, bytes).expect("memory takes it, and names are short");
    }
    zip.finish().expect("memory takes it")
}

fn write(
    zip: &mut ZipArchiveWriter<Vec<u8>>,
    name: &str,
    bytes: &[u8],
) -> std::result::Result<(), rawzip::Error> {
    let begin = zip.stream_offset() as usize + LOCAL_HEADER + name.len() + EXTRA_FIELD;
    let padding = vec![0; begin.next_multiple_of(ALIGNMENT) - begin];
    let file = zip.new_file(EntryPath::verbatim(name.as_bytes()));
    let (mut entry, config) = file.extra_field(PADDING, &padding, Header::LOCAL)?.start()?;
    let mut writer = config.wrap(&mut entry);
    writer.write_all(bytes)?;
    let (_, output) = writer.finish()?;
    entry.finish(output)?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    const TEXT: &[u8] = &[b'a'; 1000];

    fn deflated(method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipArchiveWriter::new(Vec::new());
        let (mut entry, config) = zip.new_file("a.txt").compression_method(method).start().unwrap();
        let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::default()));
        writer.write_all(TEXT).unwrap();
        let (encoder, output) = writer.finish().unwrap();
        encoder.finish().unwrap();
        entry.finish(output).unwrap();
        zip.finish().unwrap()
    }

    fn read(zip: &[u8], limit: usize) -> std::result::Result<Option<Vec<u8>>, String> {
        let read = Archive::open(zip, limit).and_then(|mut archive| archive.read("a.txt"));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn deflated_files_are_unpacked_up_to_a_limit() {
        let zip = deflated(CompressionMethod::DEFLATE);
        assert_eq!(read(&zip, 1000), Ok(Some(TEXT.to_vec())));
        let error = read(&zip, 999).unwrap_err();
        assert_eq!(error, "zip archive: \"a.txt\": unpacks to more than the 999 bytes that are left for it");
        let error = read(&deflated(CompressionMethod::LZMA), 1000).unwrap_err();
        assert!(error.contains("LZMA") && error.ends_with("expected stored or deflated"), "{error}");
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let mut zip = pack(std::iter::once(("a.txt".to_owned(), TEXT)));
        assert_eq!(read(&zip, 1000), Ok(Some(TEXT.to_vec())));
        assert_eq!(
            read(&zip, 999).unwrap_err().split(": ").last(),
            Some("unpacks to more than the 999 bytes that are left for it")
        );
        let begin = zip.windows(8).position(|it| it == &TEXT[..8]).unwrap();
        assert!(begin.is_multiple_of(ALIGNMENT));
        zip[begin] ^= 1;
        let error = read(&zip, 1000).unwrap_err();
        assert!(error.starts_with("zip archive: \"a.txt\": "), "{error}");
    }
}
