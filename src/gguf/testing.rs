//! A GGUF writer for tests: it writes what it is told, right or wrong.

use super::{Header, read};
use crate::error::Result;

/// A file in the making.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    entries: Vec<u8>,
    n_entries: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    data: Vec<u8>,
}

/// A length and the bytes.
pub(crate) fn string(s: impl AsRef<[u8]>) -> Vec<u8> {
    let s = s.as_ref();
    [&(s.len() as u64).to_le_bytes()[..], s].concat()
}

/// An array's head and its items.
pub(crate) fn array(item: u32, items: &[Vec<u8>]) -> Vec<u8> {
    [&item.to_le_bytes()[..], &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
}

impl Writer {
    pub(crate) fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Writer {
        self.n_entries += 1;
        self.entries.extend([&string(key), &kind.to_le_bytes()[..], value].concat());
        self
    }

    pub(crate) fn u32(self, key: &str, value: u32) -> Writer {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn bool(self, key: &str, value: bool) -> Writer {
        self.entry(key, 7, &[value.into()])
    }

    pub(crate) fn str(self, key: &str, value: &str) -> Writer {
        self.entry(key, 8, &string(value))
    }

    pub(crate) fn strs<S: AsRef<[u8]>>(self, key: &str, values: &[S]) -> Writer {
        let items: Vec<Vec<u8>> = values.iter().map(string).collect();
        self.entry(key, 9, &array(8, &items))
    }

    pub(crate) fn f32s(self, key: &str, values: &[f32]) -> Writer {
        let items: Vec<Vec<u8>> = values.iter().map(|x| x.to_le_bytes().to_vec()).collect();
        self.entry(key, 9, &array(6, &items))
    }

    pub(crate) fn i32s(self, key: &str, values: &[i32]) -> Writer {
        let items: Vec<Vec<u8>> = values.iter().map(|x| x.to_le_bytes().to_vec()).collect();
        self.entry(key, 9, &array(5, &items))
    }

    pub(crate) fn tensor(mut self, name: &str, ne: &[u64], kind: u32, offset: u64) -> Writer {
        self.n_tensors += 1;
        self.tensors.extend(string(name));
        self.tensors.extend((ne.len() as u32).to_le_bytes());
        self.tensors.extend(ne.iter().flat_map(|n| n.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self
    }

    pub(crate) fn data(mut self, bytes: usize) -> Writer {
        self.data = vec![0; bytes];
        self
    }

    /// The file with these counts in its head.
    pub(crate) fn bytes_with(&self, version: u32, n_tensors: u64, n_entries: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(n_tensors.to_le_bytes());
        bytes.extend(n_entries.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes_with(3, self.n_tensors, self.n_entries)
    }

    pub(crate) fn header(&self) -> Result<Header> {
        header(self.bytes())
    }
}

/// The header of a file in memory.
pub(crate) fn header(bytes: Vec<u8>) -> Result<Header> {
    pollster::block_on(read(&bytes))
}
