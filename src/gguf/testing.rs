//! Files in memory, for tests.

pub(crate) use super::writer::{Writer, array, string};

use super::{Header, read};
use crate::error::Result;

impl Writer {
    pub(crate) fn header(&self) -> Result<Header> {
        header(self.bytes())
    }
}

/// The header of a file in memory.
pub(crate) fn header(bytes: Vec<u8>) -> Result<Header> {
    pollster::block_on(read(&bytes))
}
