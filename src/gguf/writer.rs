//! A GGUF writer, for fixtures and measuring: it writes what it is told, right or wrong.

/// Data begin at a multiple of so many bytes, and so does each tensor's.
pub const ALIGNMENT: usize = 32;

/// A file in the making: its header, and zeros.
#[derive(Clone, Default)]
pub struct Writer {
    entries: Vec<u8>,
    n_entries: u64,
    tensors: Vec<u8>,
    n_tensors: u64,
    n_data: usize,
}

/// A string: its length, and the bytes.
pub fn string(s: impl AsRef<[u8]>) -> Vec<u8> {
    let s = s.as_ref();
    [&(s.len() as u64).to_le_bytes()[..], s].concat()
}

/// An array: the number of its items' type, how many there are, and the items.
pub fn array(item: u32, items: &[Vec<u8>]) -> Vec<u8> {
    [&item.to_le_bytes()[..], &(items.len() as u64).to_le_bytes(), &items.concat()].concat()
}

impl Writer {
    /// A key and a value, as the bytes of the type with this number (`enum gguf_type`).
    #[must_use]
    pub fn entry(mut self, key: &str, kind: u32, value: &[u8]) -> Writer {
        self.n_entries += 1;
        self.entries.extend([&string(key), &kind.to_le_bytes()[..], value].concat());
        self
    }

    /// A key and a count.
    #[must_use]
    pub fn u32(self, key: &str, value: u32) -> Writer {
        self.entry(key, 4, &value.to_le_bytes())
    }

    /// A key and a real number.
    #[must_use]
    pub fn f32(self, key: &str, value: f32) -> Writer {
        self.entry(key, 6, &value.to_le_bytes())
    }

    /// A key and a truth value.
    #[must_use]
    pub fn bool(self, key: &str, value: bool) -> Writer {
        self.entry(key, 7, &[value.into()])
    }

    /// A key and a text.
    #[must_use]
    pub fn str(self, key: &str, value: &str) -> Writer {
        self.entry(key, 8, &string(value))
    }

    /// A key and some texts.
    #[must_use]
    pub fn strs<S: AsRef<[u8]>>(self, key: &str, values: &[S]) -> Writer {
        let items: Vec<Vec<u8>> = values.iter().map(string).collect();
        self.entry(key, 9, &array(8, &items))
    }

    /// A key and some reals.
    #[must_use]
    pub fn f32s(self, key: &str, values: &[f32]) -> Writer {
        let items: Vec<Vec<u8>> = values.iter().map(|x| x.to_le_bytes().to_vec()).collect();
        self.entry(key, 9, &array(6, &items))
    }

    /// A key and some integers.
    #[must_use]
    pub fn i32s(self, key: &str, values: &[i32]) -> Writer {
        let items: Vec<Vec<u8>> = values.iter().map(|x| x.to_le_bytes().to_vec()).collect();
        self.entry(key, 9, &array(5, &items))
    }

    /// A tensor: its name, its shape as ggml has it (the row's length first), the number of its type, and where it begins, from the start of
    /// the data.
    #[must_use]
    pub fn tensor(mut self, name: &str, ne: &[u64], kind: u32, offset: u64) -> Writer {
        self.n_tensors += 1;
        self.tensors.extend(string(name));
        self.tensors.extend((ne.len() as u32).to_le_bytes());
        self.tensors.extend(ne.iter().flat_map(|n| n.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
        self
    }

    /// The header with these counts in its head, up to where the data begin.
    pub fn head_with(&self, version: u32, n_tensors: u64, n_entries: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(n_tensors.to_le_bytes());
        bytes.extend(n_entries.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.tensors);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    /// The header, up to where the data begin.
    pub fn head(&self) -> Vec<u8> {
        self.head_with(3, self.n_tensors, self.n_entries)
    }

    /// So many zeros as data, for files that are made whole.
    #[must_use]
    pub fn data(mut self, bytes: usize) -> Writer {
        self.n_data = bytes;
        self
    }

    /// The whole file with these counts in its head.
    pub fn bytes_with(&self, version: u32, n_tensors: u64, n_entries: u64) -> Vec<u8> {
        let mut bytes = self.head_with(version, n_tensors, n_entries);
        bytes.resize(bytes.len() + self.n_data, 0);
        bytes
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(3, self.n_tensors, self.n_entries)
    }
}
