//! GGUF files in the making, right or wrong: the smallest model that answers, and whatever is to be changed in it.

/// A file in the making.
#[derive(Clone)]
pub(crate) struct File {
    /// Keys, and the type and bytes of each value.
    pub(crate) entries: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<Tensor>,
    /// Counts in the head, where they are to lie.
    pub(crate) n_entries: Option<u64>,
    pub(crate) n_tensors: Option<u64>,
}

/// A tensor and its entry in the table.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Dimensions, the fastest first, as in the file.
    pub(crate) ne: Vec<u64>,
    /// `enum ggml_type`.
    pub(crate) kind: u32,
    /// Where it is said to lie, if not where it does.
    pub(crate) offset: Option<u64>,
    pub(crate) data: Vec<u8>,
}

pub(crate) const U32: u32 = 4;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A length and the bytes.
pub(crate) fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

/// The head of an array that says to have `len` items.
pub(crate) fn array_head(item: u32, len: u64) -> Vec<u8> {
    [&item.to_le_bytes()[..], &len.to_le_bytes()].concat()
}

/// An array.
pub(crate) fn array(item: u32, items: &[Vec<u8>]) -> Vec<u8> {
    [array_head(item, items.len() as u64), items.concat()].concat()
}

/// Blocks of Q8_0: a scale of 1/64 and small numbers.
fn q8_0(blocks: usize) -> Vec<u8> {
    let block = |i: usize| {
        let quants = (0..32).map(move |j| ((7 * i + 5 * j) % 11) as u8);
        [0x00, 0x24].into_iter().chain(quants)
    };
    (0..blocks).flat_map(block).collect()
}

fn ones(n: usize) -> Vec<u8> {
    1.0f32.to_le_bytes().repeat(n)
}

impl File {
    /// A llama of one layer: 32 wide, two heads that share one of keys, eight tokens, matrices in Q8_0.
    pub(crate) fn tiny() -> File {
        let mut file = File { entries: Vec::new(), tensors: Vec::new(), n_entries: None, n_tensors: None };
        file.set_str("general.architecture", "llama");
        file.set_str("general.name", "tiny");
        for (key, count) in [
            ("block_count", 1),
            ("context_length", 64),
            ("embedding_length", 32),
            ("feed_forward_length", 32),
            ("attention.head_count", 2),
            ("attention.head_count_kv", 1),
            ("rope.dimension_count", 16),
        ] {
            file.set_u32(&format!("llama.{key}"), count);
        }
        file.set_f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
        file.set_f32("llama.rope.freq_base", 10000.0);
        file.set_str("tokenizer.ggml.model", "llama");
        file.set_strs("tokenizer.ggml.tokens", &["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁a"]);
        let floats = |values: [f32; 8]| values.map(|x| x.to_le_bytes().to_vec());
        file.set("tokenizer.ggml.scores", ARRAY, array(F32, &floats([0., 0., 0., -3., -4., -5., -2., -1.])));
        let kinds = [2, 3, 3, 1, 1, 1, 1, 1].map(|kind: i32| kind.to_le_bytes().to_vec());
        file.set("tokenizer.ggml.token_type", ARRAY, array(5, &kinds));
        file.set_str(
            "tokenizer.chat_template",
            "{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}",
        );
        for (name, rows) in [
            ("token_embd", 8),
            ("blk.0.attn_q", 32),
            ("blk.0.attn_k", 16),
            ("blk.0.attn_v", 16),
            ("blk.0.attn_output", 32),
            ("blk.0.ffn_gate", 32),
            ("blk.0.ffn_up", 32),
            ("blk.0.ffn_down", 32),
        ] {
            file.push(&format!("{name}.weight"), &[32, rows], 8, q8_0(rows as usize));
        }
        for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"] {
            file.push(&format!("{name}.weight"), &[32], 0, ones(32));
        }
        file
    }

    /// Gives a key this value, the one it has or a new one.
    pub(crate) fn set(&mut self, key: &str, kind: u32, value: Vec<u8>) {
        match self.entries.iter_mut().find(|entry| entry.0 == key.as_bytes()) {
            Some(entry) => (entry.1, entry.2) = (kind, value),
            None => self.entries.push((key.into(), kind, value)),
        }
    }

    pub(crate) fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, U32, value.to_le_bytes().into());
    }

    pub(crate) fn set_f32(&mut self, key: &str, value: f32) {
        self.set(key, F32, value.to_le_bytes().into());
    }

    pub(crate) fn set_str(&mut self, key: &str, value: &str) {
        self.set(key, STRING, string(value));
    }

    pub(crate) fn set_strs<S: AsRef<[u8]>>(&mut self, key: &str, values: &[S]) {
        let values: Vec<Vec<u8>> = values.iter().map(string).collect();
        self.set(key, ARRAY, array(STRING, &values));
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.retain(|entry| entry.0 != key.as_bytes());
    }

    pub(crate) fn push(&mut self, name: &str, ne: &[u64], kind: u32, data: Vec<u8>) {
        self.tensors.push(Tensor { name: name.to_owned(), ne: ne.to_vec(), kind, offset: None, data });
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("the file has it")
    }

    /// The header, up to the padding before the data.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.n_entries.unwrap_or(self.entries.len() as u64).to_le_bytes());
        for (key, kind, value) in &self.entries {
            bytes.extend([&string(key), &kind.to_le_bytes()[..], value].concat());
        }
        let mut at = 0;
        for tensor in &self.tensors {
            bytes.extend(string(&tensor.name));
            bytes.extend((tensor.ne.len() as u32).to_le_bytes());
            bytes.extend(tensor.ne.iter().flat_map(|n| n.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.unwrap_or(at).to_le_bytes());
            at += (tensor.data.len() as u64).next_multiple_of(32);
        }
        bytes
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(&tensor.data);
        }
        bytes
    }
}
