//! What a model is loaded from: a GGUF file, all parts of a split one, or a repository of safetensors with its configuration and tokenizer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::bytes::{ByteSource, FileSource};
use crate::error::{Error, Result};
use crate::gguf::{self, Header};
use crate::repository::{self, Index};

/// The longest text file of a repository that is read; tokenizers of a quarter of a million tokens have 35 MB.
const MAX_TEXT: u64 = 128 << 20;

/// A model's files, of which the headers are read.
pub struct ModelFiles<S> {
    /// What they say.
    pub header: Header,
    /// Those that tensors lie in, by the numbers that the header has.
    pub sources: Vec<S>,
    /// A repository's other files, by their names: configurations, the tokenizer, the chat template.
    pub texts: BTreeMap<String, Vec<u8>>,
}

impl<S: ByteSource> ModelFiles<S> {
    /// Reads the headers of files, each with its name. With a `config.json` among them they are a repository, else GGUF, one or all parts.
    ///
    /// # Errors
    /// As [`gguf::read_parts`] and [`repository::read`].
    pub async fn open(files: Vec<(String, S)>) -> Result<ModelFiles<S>> {
        if files.iter().any(|(name, _)| name == repository::CONFIG) {
            return ModelFiles::repository(files).await;
        }
        let sources: Vec<S> = files.into_iter().map(|(_, source)| source).collect();
        Ok(ModelFiles { header: gguf::read_parts(&sources).await?, sources, texts: BTreeMap::new() })
    }

    /// Reads the header of one GGUF file.
    ///
    /// # Errors
    /// As [`gguf::read_parts`].
    pub async fn gguf(source: S) -> Result<ModelFiles<S>> {
        ModelFiles::open(vec![("model.gguf".to_owned(), source)]).await
    }

    async fn repository(files: Vec<(String, S)>) -> Result<ModelFiles<S>> {
        let (mut texts, mut stored) = (BTreeMap::new(), Vec::new());
        for (name, source) in files {
            if name.ends_with(".safetensors") {
                stored.push((name, source));
            } else {
                let bytes = read_text(&source).await.map_err(|error| error.at(&name))?;
                texts.insert(name, bytes);
            }
        }
        if stored.is_empty() {
            return Err(Error::file(
                "a repository without .safetensors files: expected those beside config.json",
            ));
        }
        let index = texts.get(Index::NAME).map(|bytes| Index::read(bytes)).transpose()?;
        let chosen = Index::choose(index.as_ref(), stored.iter().map(|(name, _)| name.as_str()))?;
        stored.retain(|(name, _)| chosen.contains(name));
        let numbered: Vec<(usize, &str, &S)> = stored
            .iter()
            .enumerate()
            .map(|(number, (name, source))| (number, name.as_str(), source))
            .collect();
        let header = repository::read(&texts[repository::CONFIG], index.as_ref(), &numbered).await?;
        let sources = stored.into_iter().map(|(_, source)| source).collect();
        Ok(ModelFiles { header, sources, texts })
    }
}

async fn read_text(source: &impl ByteSource) -> Result<Vec<u8>> {
    let len = source.len();
    if len > MAX_TEXT {
        return Err(Error::file(format!("{len} bytes: expected at most {MAX_TEXT}")));
    }
    let mut bytes = vec![0; len as usize];
    source.read(0, &mut bytes).await?;
    Ok(bytes)
}

/// The files of a model at a path: the file itself, the other parts if it is one of a split model, or a directory's.
///
/// # Errors
/// `File` for what is not there or cannot be opened.
pub fn find(path: &Path) -> Result<Vec<(String, FileSource)>> {
    let name_of = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.is_dir() {
        let names = parts(&name_of(path));
        let open = |name: String| Ok((name.clone(), FileSource::open(path.with_file_name(name))?));
        return names.into_iter().map(open).collect();
    }
    let at = |error: std::io::Error| Error::file(format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let wanted = ["json", "jinja", "safetensors"];
        if path.extension().is_some_and(|ending| wanted.iter().any(|wanted| ending == *wanted)) {
            files.push((name_of(&path), FileSource::open(&path)?));
        }
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}

/// The names of all parts of a split GGUF file of which `name` is one: `…-00001-of-00003.gguf`.
fn parts(name: &str) -> Vec<String> {
    let cut = || {
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        let count: u32 = count.parse().ok().filter(|_| is_number(count) && is_number(number))?;
        Some((1..=count).map(|part| format!("{stem}-{part:05}-of-{count:05}.gguf")).collect())
    };
    cut().unwrap_or_else(|| vec![name.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_part_names_the_others() {
        assert_eq!(parts("a-00002-of-00002.gguf"), ["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"]);
        assert_eq!(parts("a-2-of-2.gguf"), ["a-2-of-2.gguf"]);
        assert_eq!(parts("model.gguf"), ["model.gguf"]);
    }
}
