//! What tells one file's tokenizer and chat template from another's.

use super::Metadata;
use crate::error::Result;
use crate::gguf::Strings;
use sha2::{Digest, Sha256};

/// Hashes of what a model's file says of text: the first 16 bytes of SHA-256, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextHashes {
    /// Of all that decides which ids a text becomes.
    pub tokenizer: String,
    /// Of the chat template, where there is one.
    pub template: Option<String>,
}

impl TextHashes {
    /// The hashes for a GGUF file.
    ///
    /// # Errors
    /// `File` for keys of another type than they should have.
    pub fn from_gguf(metadata: &Metadata) -> Result<TextHashes> {
        let mut digest = Sha256::new();
        let mut add = |key: &str, bytes: &[u8]| {
            for part in [key.as_bytes(), bytes] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        };
        for key in ["model", "pre"] {
            let text: Option<&str> = metadata.get(&format!("tokenizer.ggml.{key}"))?;
            text.into_iter().for_each(|text| add(key, text.as_bytes()));
        }
        for key in ["tokens", "merges"] {
            let list: Option<Strings<'_>> = metadata.get(&format!("tokenizer.ggml.{key}"))?;
            list.iter().flat_map(Strings::iter).for_each(|text| add(key, text));
        }
        let scores: Option<Vec<f32>> = metadata.get("tokenizer.ggml.scores")?;
        add("scores", bytemuck::cast_slice(&scores.unwrap_or_default()));
        let types: Option<Vec<i32>> = metadata.get("tokenizer.ggml.token_type")?;
        add("token_type", bytemuck::cast_slice(&types.unwrap_or_default()));
        for key in ["bos_token_id", "eos_token_id", "unknown_token_id"] {
            let id: Option<u32> = metadata.get(&format!("tokenizer.ggml.{key}"))?;
            id.into_iter().for_each(|id| add(key, &id.to_le_bytes()));
        }
        for key in ["add_bos_token", "add_eos_token", "add_space_prefix"] {
            let flag: Option<bool> = metadata.get(&format!("tokenizer.ggml.{key}"))?;
            flag.into_iter().for_each(|flag| add(key, &[u8::from(flag)]));
        }
        let template: Option<&str> = metadata.get("tokenizer.chat_template")?;
        Ok(TextHashes { tokenizer: hex(digest), template: template.map(of_template) })
    }

    /// The hashes for files of a repository and its template.
    pub(super) fn from_bytes(files: &[Option<&[u8]>], template: Option<&str>) -> TextHashes {
        let mut digest = Sha256::new();
        for bytes in files.iter().flatten() {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        TextHashes { tokenizer: hex(digest), template: template.map(of_template) }
    }
}

fn of_template(text: &str) -> String {
    hex(Sha256::new_with_prefix(text))
}

fn hex(digest: Sha256) -> String {
    digest.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
