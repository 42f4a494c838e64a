//! Bytes as text: UTF-8, or UTF-16 with a byte order mark.

use crate::error::{Error, Result};
use std::borrow::Cow;

/// Files that are no text, by their first bytes.
const BINARY: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a zip archive, such as an Excel workbook"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"ARROW1", "an Arrow file"),
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
];

const EXPECTED: &str = "expected JSON lines, a JSON array, CSV or TSV as UTF-8";

/// The text of a file, without its byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    if let Some((_, what)) = BINARY.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err(Error::file(format!("the file is {what}: {EXPECTED}")));
    }
    match bytes {
        [0xff, 0xfe, rest @ ..] => decode_utf16(rest, u16::from_le_bytes).map(Cow::Owned),
        [0xfe, 0xff, rest @ ..] => decode_utf16(rest, u16::from_be_bytes).map(Cow::Owned),
        [0xef, 0xbb, 0xbf, rest @ ..] => decode_utf8(rest).map(Cow::Borrowed),
        _ => decode_utf8(bytes).map(Cow::Borrowed),
    }
}

fn decode_utf8(bytes: &[u8]) -> Result<&str> {
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        let line = line_of(&bytes[..at]);
        return Err(Error::file(format!(
            "line {line}: a zero byte, as in UTF-16 without a byte order mark: {EXPECTED}"
        )));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let (line, byte) = (line_of(&bytes[..at]), bytes[at]);
        Error::file(format!("line {line}: byte 0x{byte:02x} is not UTF-8: save the file as UTF-8"))
    })
}

fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    let (units, odd) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len() / 2);
    for decoded in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(c) => text.push(c),
            Err(error) => {
                let (line, unit) = (line_of(text.as_bytes()), error.unpaired_surrogate());
                return Err(Error::file(format!("line {line}: unit 0x{unit:04x} is not UTF-16")));
            }
        }
    }
    match odd {
        [] => Ok(text),
        _ => Err(Error::file("UTF-16 with an odd number of bytes: the file is cut off")),
    }
}

/// The line that follows these bytes, from 1.
fn line_of(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}
