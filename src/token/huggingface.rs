//! The tokenizer and the chat template of a repository of the Hugging Face Hub.
//!
//! `tokenizer.json` is a pipeline that can be nearly anything; here it is byte-level BPE (Llama 3, Qwen, GPT-2, SmolLM) or BPE of
//! characters with a token for each byte (Llama 2, Gemma, Phi-3). What it says is read into the same parts that a GGUF file fills: no
//! pattern of the file runs in an engine that goes back, so the time is linear whatever the file. Source: `tokenizers`' own serialization,
//! `PreTrainedTokenizerBase.from_pretrained` for which file says what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::added::{AddedToken, AddedTokens};
use super::bpe::{Bpe, Merge};
use super::pre::Pre;
use super::vocab::{Kind, Spelling, Tokens, Vocab};
use super::{ChatTemplate, Found, Model, Space, TextHashes, Tokenizer, ends, normalized};
use crate::error::{Error, Result};

/// What the files of a repository say of text.
#[derive(Debug)]
pub struct HubText {
    /// Text and token ids.
    pub tokenizer: Tokenizer,
    /// Messages as text; a model that is not made for chat has none.
    pub template: Option<ChatTemplate>,
    /// What tells both from another repository's.
    pub hashes: TextHashes,
}

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIALS: &str = "special_tokens_map.json";
const GENERATION: &str = "generation_config.json";
const TEMPLATE: &str = "chat_template.jinja";
/// Tokens added after the fact, of repositories whose tokenizer_config.json does not have them.
const ADDED: &str = "added_tokens.json";
/// The model's own configuration.
const MODEL: &str = "config.json";

impl HubText {
    /// The files that [`read`](HubText::read) asks for; all but the first may be absent.
    pub const FILES: [&'static str; 7] = [TOKENIZER, CONFIG, SPECIALS, GENERATION, TEMPLATE, ADDED, MODEL];

    /// Reads the files that are there; `file` gives the bytes of one of [`FILES`](HubText::FILES), or none.
    ///
    /// # Errors
    ///
    /// A file error for `tokenizer.json` missing, broken or contradicting itself, an unsupported error for a part of it that is not
    /// here; both name file and part. As [`ChatTemplate::new`] for the template.
    pub fn read<'f>(file: impl Fn(&str) -> Option<&'f [u8]>) -> Result<HubText> {
        let bytes = file(TOKENIZER).ok_or_else(|| Error::file("tokenizer.json: missing"))?;
        let mut json: TokenizerJson = parse(TOKENIZER, bytes)?;
        let optional = |name: &str| file(name).map_or(Ok(Value::Null), |bytes| parse(name, bytes));
        let others = Others {
            config: optional(CONFIG)?,
            specials: optional(SPECIALS)?,
            generation: optional(GENERATION)?,
            added: optional(ADDED)?,
            model: optional(MODEL)?,
        };
        others.add_tokens(&mut json)?;
        let tokenizer = tokenizer(&json, &others, bytes.len()).map_err(|e| e.at(TOKENIZER))?;
        let source = match file(TEMPLATE) {
            Some(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            None => others.template(),
        };
        let hashes = TextHashes::from_bytes(&[Some(bytes), file(SPECIALS)], source.as_deref());
        let template = source.map(|source| ChatTemplate::of(&source, &tokenizer));
        Ok(HubText { tokenizer, template, hashes })
    }
}

fn parse<'b, T: Deserialize<'b>>(name: &str, bytes: &'b [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::file(format!("{name}: {e}")))
}

/// `tokenizer.json`.
#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    model: BpeJson,
}

/// A token of `added_tokens`, or of `added_tokens_decoder`, which has ids as keys.
#[derive(Clone, Deserialize)]
struct Added {
    #[serde(default)]
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

impl From<&Added> for AddedToken {
    fn from(it: &Added) -> AddedToken {
        let Added { id, ref content, special, single_word, lstrip, rstrip, normalized } = *it;
        AddedToken { id, text: content.clone(), special, single_word, lstrip, rstrip, normalized }
    }
}

#[derive(Deserialize)]
struct BpeJson {
    r#type: Option<String>,
    #[serde(default)]
    vocab: Value,
    #[serde(default)]
    merges: Vec<MergeJson>,
    #[serde(default)]
    ignore_merges: Option<bool>,
    #[serde(default)]
    byte_fallback: bool,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// Both forms that `tokenizers` has written merges in.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeJson {
    Pair([String; 2]),
    Line(String),
}

/// The files beside `tokenizer.json`; null where there is none.
struct Others {
    config: Value,
    specials: Value,
    generation: Value,
    added: Value,
    model: Value,
}

impl Others {
    /// The text of a token that has a role, such as `bos_token`: a string, or an object with one.
    fn named(&self, role: &str) -> Option<&str> {
        [&self.config[role], &self.specials[role]]
            .into_iter()
            .find_map(|token| token.as_str().or_else(|| token["content"].as_str()))
    }

    /// Adds the tokens that other files than `tokenizer.json` name; `tokenizer_config.json` also says anew how one is found.
    fn add_tokens(&self, json: &mut TokenizerJson) -> Result<()> {
        let places = (0..).zip(&json.added_tokens).map(|(place, added)| (added.content.clone(), place));
        let places: HashMap<String, usize> = places.collect();
        for added in self.added_tokens()? {
            let in_vocab = json.model.vocab.get(&added.content).and_then(Value::as_u64);
            let place = places.get(&added.content).copied();
            let known = place.map(|place| json.added_tokens[place].id.into()).or(in_vocab);
            if let Some(other) = known.filter(|other| *other != u64::from(added.id)) {
                let (text, id) = (added.content, added.id);
                return Err(Error::file(format!(
                    "token {text:?} has the ids {other} and {id}: expected one"
                )));
            }
            match place {
                Some(place) => json.added_tokens[place] = added,
                None => json.added_tokens.push(added),
            }
        }
        Ok(())
    }

    /// What `added_tokens_decoder` has, or where that is absent, `added_tokens.json`.
    fn added_tokens(&self) -> Result<Vec<Added>> {
        if let Some(decoder) = self.config["added_tokens_decoder"].as_object() {
            let read = |(id, token): (&String, &Value)| {
                let wrong =
                    |what: String| Error::file(format!("{CONFIG}: added_tokens_decoder: {id:?}: {what}"));
                let number = id.parse().map_err(|_| wrong("expected a token's id".to_owned()))?;
                let token: Added =
                    Deserialize::deserialize(token).map_err(|error| wrong(error.to_string()))?;
                Ok(Added { id: number, ..token })
            };
            return decoder.iter().map(read).collect();
        }
        let Some(ids) = self.added.as_object() else { return Ok(Vec::new()) };
        let read = |(text, id): (&String, &Value)| {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| Error::file(format!("{ADDED}: {text:?}: expected a token's id")))?;
            let special = ROLES.iter().any(|role| self.named(role) == Some(text));
            let (content, normalized) = (text.clone(), !special);
            Ok(Added { id, content, special, single_word: false, lstrip: false, rstrip: false, normalized })
        };
        ids.iter().map(read).collect()
    }

    /// Ids that a role has in `generation_config.json`, or where that does not say, in `config.json`: a number, or a list of them.
    fn ids(&self, role: &str) -> Vec<u32> {
        let places = [&self.generation[role], &self.model[role], &self.model["text_config"][role]];
        let ids = match places.into_iter().find(|ids| !ids.is_null()).unwrap_or(&Value::Null) {
            Value::Array(ids) => ids.as_slice(),
            id => std::slice::from_ref(id),
        };
        ids.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    }

    /// A string, or a list of templates by name, of which `default` is meant.
    fn template(&self) -> Option<String> {
        let template = &self.config["chat_template"];
        let named = || template.as_array()?.iter().find(|it| it["name"] == "default")?["template"].as_str();
        template.as_str().or_else(named).map(str::to_owned)
    }
}

/// Roles of tokens, as `tokenizer_config.json` names them.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

fn tokenizer(json: &TokenizerJson, others: &Others, n_bytes: usize) -> Result<Tokenizer> {
    let mut tokens = tokens(json, n_bytes)?;
    let steps = Steps::read(json)?;
    let merges = json.model.merges.iter().map(MergeJson::read).collect::<Result<Vec<Merge>>>()?;
    let whole_pieces = json.model.ignore_merges.unwrap_or(false);
    let pre = Pre::of_patterns(&steps.patterns, whole_pieces)?;
    let unknown = json.model.unk_token.as_deref();
    let bpe =
        Bpe::new(&tokens, merges, pre, steps.spelling, unknown.filter(|text| tokens.id(text).is_some()))?;
    let role = |name: &str| {
        let named = others.named(&format!("{name}_token")).and_then(|text| tokens.id(text));
        named.or_else(|| {
            others.ids(&format!("{name}_token_id")).into_iter().find(|&id| (id as usize) < tokens.texts.len())
        })
    };
    let (added_bos, added_eos) = added_by(json.post_processor.as_ref());
    let known = |text: Option<&str>| text.and_then(|text| tokens.id(text));
    let bos = known(added_bos).or_else(|| role("bos"));
    let eos = role("eos").or_else(|| known(added_eos));
    let mut end_ids: BTreeSet<u32> = others.ids("eos_token_id").into_iter().chain(eos).collect();
    end_ids.retain(|&id| (id as usize) < tokens.texts.len());
    end_ids.extend(ends::by_text(&mut tokens));
    let normalize = |text: &str| {
        let text = normalized(text, steps.composes, steps.space);
        if steps.replaces_spaces { text.replace(' ', "▁") } else { text.into_owned() }
    };
    let mut added: Vec<AddedToken> = json.added_tokens.iter().map(AddedToken::from).collect();
    // Those that end a generation are special also where they are not listed, as in llama.cpp.
    let listed: BTreeSet<u32> = added.iter().map(|token| token.id).collect();
    let unlisted = ends::known_texts(&tokens).filter(|(id, _)| !listed.contains(id));
    added.extend(unlisted.map(|(id, text)| AddedToken::special(id, text)));
    let added = AddedTokens::new(added, normalize, steps.replaces_spaces)?;
    Ok(Tokenizer {
        vocab: Vocab::new(&tokens, steps.spelling),
        specials: Found::Added(added),
        model: Model::Bpe(Box::new(bpe)),
        bos,
        eos,
        ends: end_ids,
        add_bos: added_bos.is_some(),
        add_eos: added_eos.is_some(),
        space: steps.space,
        warnings: Vec::new(),
        composes: steps.composes,
        cleans_spaces: false,
    })
}

impl MergeJson {
    fn read(&self) -> Result<Merge> {
        match self {
            MergeJson::Pair([a, b]) => Ok((a.clone(), b.clone())),
            MergeJson::Line(line) => match line.split_once(' ') {
                Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
                None => Err(Error::file(format!("merge {line:?}: expected two parts with a space between"))),
            },
        }
    }
}

/// All tokens by id. Ids that nobody names are gaps; there are no more of them than the file has bytes.
fn tokens(json: &TokenizerJson, n_bytes: usize) -> Result<Tokens<'static>> {
    let model = &json.model;
    if let Some(kind) = model.r#type.as_deref().filter(|kind| *kind != "BPE") {
        return Err(Error::unsupported(format!("model {kind:?} is not supported (supported: BPE)")));
    }
    for (key, text) in [
        ("continuing_subword_prefix", &model.continuing_subword_prefix),
        ("end_of_word_suffix", &model.end_of_word_suffix),
    ] {
        if text.as_deref().is_some_and(|text| !text.is_empty()) {
            return Err(Error::unsupported(format!("model: {key} is not supported")));
        }
    }
    let vocab: HashMap<&str, u32> =
        Deserialize::deserialize(&model.vocab).map_err(|e| Error::file(format!("model: vocab: {e}")))?;
    let mut by_id: BTreeMap<u32, (&str, Kind)> = BTreeMap::new();
    for (text, id) in vocab {
        let is_byte = model.byte_fallback && text.len() == 6 && text.starts_with("<0x");
        let kind = if is_byte { Kind::Byte } else { Kind::Normal };
        if let Some((other, _)) = by_id.insert(id, (text, kind)) {
            return Err(Error::file(format!("tokens {other:?} and {text:?} both have the id {id}")));
        }
    }
    for added in &json.added_tokens {
        let kind = if added.special { Kind::Control } else { Kind::UserDefined };
        by_id.insert(added.id, (&added.content, kind));
    }
    let last = by_id.last_key_value().map(|(id, _)| *id);
    if let Some(id) = last.filter(|id| *id as usize >= n_bytes) {
        let text = format!("a token has the id {id}: expected less than the file's {n_bytes} bytes");
        return Err(Error::file(text));
    }
    let n = last.map_or(0, |id| id as usize + 1);
    let gap = |id| (format!("[EMPTY_{id}]"), Kind::Unused);
    let named = |(text, kind): &(&str, Kind)| ((*text).to_owned(), *kind);
    let all = (0..n as u32).map(|id| by_id.get(&id).map_or_else(|| gap(id), named));
    let (texts, kinds): (Vec<String>, Vec<Kind>) = all.unzip();
    Tokens::new(texts.into_iter().map(|text| text.into_bytes().into()).collect(), kinds)
}

/// What normalizer and pre-tokenizer do to a text.
struct Steps {
    spelling: Spelling,
    patterns: Vec<String>,
    space: Space,
    /// Whether characters are composed first: Unicode's form C.
    composes: bool,
    /// Whether `▁` stands for a space from the normalizer on.
    replaces_spaces: bool,
}

/// What `ByteLevel` cuts by unless it is told not to.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What `Metaspace` cuts by unless it is told not to: each space begins a piece.
const WORDS: &str = r"[ ▁][^ ▁]*|[^ ▁]+";

impl Steps {
    fn read(json: &TokenizerJson) -> Result<Steps> {
        let mut steps = Steps {
            spelling: Spelling::Spaces,
            patterns: Vec::new(),
            space: Space::Never,
            composes: false,
            replaces_spaces: false,
        };
        for step in sequence(json.normalizer.as_ref(), "normalizers") {
            steps.normalize(step)?;
        }
        for step in sequence(json.pre_tokenizer.as_ref(), "pretokenizers") {
            steps.cut(step)?;
        }
        Ok(steps)
    }

    fn normalize(&mut self, step: &Value) -> Result<()> {
        match step["type"].as_str() {
            Some("NFC") => self.composes = true,
            Some("Prepend") if step["prepend"] == "▁" => self.space = Space::Always,
            Some("Replace") if step["pattern"]["String"] == " " && step["content"] == "▁" => {
                self.replaces_spaces = true;
            }
            _ => return Err(unsupported("normalizer", step)),
        }
        Ok(())
    }

    fn cut(&mut self, step: &Value) -> Result<()> {
        let regex = step["pattern"]["Regex"].as_str();
        match (step["type"].as_str(), step["behavior"].as_str()) {
            (Some("ByteLevel"), _) if step["add_prefix_space"] != true => {
                self.spelling = Spelling::Letters;
                if step["use_regex"] != false {
                    self.patterns.push(GPT2.to_owned());
                }
            }
            (Some("Digits"), _) => {
                let each = step["individual_digits"] == true;
                self.patterns.push(if each { r"\p{N}" } else { r"\p{N}+" }.to_owned());
            }
            (Some("Split"), Some("Isolated")) if regex.is_some() && step["invert"] != true => {
                self.patterns.extend(regex.map(str::to_owned));
            }
            // Gemma's, which comes after all spaces were replaced and finds none.
            (Some("Split"), _) if step["pattern"]["String"] == " " => {}
            (Some("Metaspace"), _) if step["replacement"] == "▁" => {
                self.space = match step["prepend_scheme"].as_str() {
                    Some("always") => Space::Lacking,
                    Some("first") => Space::First,
                    None if step["add_prefix_space"] != false => Space::Lacking,
                    _ => self.space,
                };
                if step["split"] != false {
                    self.patterns.push(WORDS.to_owned());
                }
            }
            _ => return Err(unsupported("pre_tokenizer", step)),
        }
        Ok(())
    }
}

fn unsupported(part: &str, step: &Value) -> Error {
    let text: String = step.to_string().chars().take(200).collect();
    Error::unsupported(format!("{part} {text} is not supported"))
}

/// The steps of a `Sequence`, or the one step.
fn sequence<'j>(step: Option<&'j Value>, key: &str) -> &'j [Value] {
    match step {
        None | Some(Value::Null) => &[],
        Some(step) if step["type"] == "Sequence" => step[key].as_array().map_or(&[], Vec::as_slice),
        Some(step) => std::slice::from_ref(step),
    }
}

/// The texts of the tokens that the post-processor puts before and after a text.
fn added_by(step: Option<&Value>) -> (Option<&str>, Option<&str>) {
    let template = sequence(step, "processors").iter().find(|step| step["type"] == "TemplateProcessing");
    let parts = template.and_then(|step| step["single"].as_array()).map_or(&[][..], Vec::as_slice);
    let at = parts.iter().position(|part| part["Sequence"].is_object()).unwrap_or(parts.len());
    let (before, after) = parts.split_at(at);
    let special = |part: &&Value| special_id(part).is_some();
    (before.iter().rfind(special).and_then(special_id), after.iter().find(special).and_then(special_id))
}

fn special_id(part: &Value) -> Option<&str> {
    part["SpecialToken"]["id"].as_str()
}
