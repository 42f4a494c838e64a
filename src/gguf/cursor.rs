//! Little-endian reading of a header of which only the first part may have arrived.

use crate::bytes::check_range;
use crate::error::Error;

/// Why reading stopped before the end of the header.
#[derive(Debug)]
pub(super) enum Stop {
    /// The header goes on: at least this many bytes of the file are needed.
    More(u64),
    /// No amount of bytes helps.
    Bad(Error),
}

/// A result that may ask for more bytes.
pub(super) type Step<T> = std::result::Result<T, Stop>;

impl Stop {
    /// The same stop with its place put in front of an error.
    pub(super) fn at(self, place: impl FnOnce() -> String) -> Stop {
        match self {
            Stop::Bad(e) => Stop::Bad(e.at(place())),
            more => more,
        }
    }
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Bad(e)
    }
}

/// A place in the bytes that have arrived of a file of known length.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    file_len: u64,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file_len: u64) -> Cursor<'a> {
        Cursor { bytes, file_len, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Fails unless the file, if not what has arrived of it, holds `count` things of at least `each` bytes here.
    pub(super) fn expect_room(&self, count: u64, each: u64) -> Step<()> {
        Ok(check_range(self.file_len, self.at as u64, count.saturating_mul(each))?)
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: u64) -> Step<&'a [u8]> {
        self.expect_room(n, 1)?;
        let end = self.at as u64 + n;
        if end > self.bytes.len() as u64 {
            return Err(Stop::More(end));
        }
        let taken = &self.bytes[self.at..end as usize];
        self.at = end as usize;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self) -> Step<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Step<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length and as many bytes: `gguf_string_t`.
    pub(super) fn string(&mut self) -> Step<&'a [u8]> {
        let n = self.u64()?;
        self.take(n)
    }

    /// A key or a tensor's name: a string of UTF-8, at most 65535 bytes.
    pub(super) fn name(&mut self) -> Step<&'a str> {
        let n = self.u64()?;
        if n > u64::from(u16::MAX) {
            return Err(Error::file(format!("a name of {n} bytes: expected at most {}", u16::MAX)).into());
        }
        let bytes = self.take(n)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| Error::file("a name is not UTF-8"))?)
    }
}
