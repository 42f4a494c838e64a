//! Patterns in peft's configuration: which modules a key means.
//!
//! `rank_pattern` and `alpha_pattern` are dicts of regular expressions for the end of a module's path. The first that matches
//! counts: `re.match(rf"(.*\.)?({key})$", path)`, as in peft since 0.15.

use super::keys::shown;
use crate::error::{Error, Result};
use regex::bytes::{Regex, RegexBuilder};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Bytes that a compiled pattern may take.
const MOST: usize = 1 << 20;

/// A dict in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Ordered, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a dict of patterns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Ordered {
    /// The value for each path; none where no pattern matches. `key` is the dict's own.
    ///
    /// # Errors
    /// `Unsupported` for a pattern that is no regular expression of the crate `regex`.
    pub(super) fn of(&self, key: &str, paths: &[&str]) -> Result<Vec<Option<&Value>>> {
        let mut values = vec![None; paths.len()];
        // One pattern at a time: a file may have many, and each compiled one is large.
        for (pattern, value) in &self.0 {
            if values.iter().all(Option::is_some) {
                break;
            }
            let regex = compile(&format!("^(.*\\.)?({pattern})$")).map_err(|error| error.at(key))?;
            for (path, found) in paths.iter().zip(&mut values) {
                if found.is_none() && regex.is_match(path.as_bytes()) {
                    *found = Some(value);
                }
            }
        }
        Ok(values)
    }
}

/// Paths are ASCII; over bytes a pattern is compiled several times as fast.
fn compile(pattern: &str) -> Result<Regex> {
    let regex = RegexBuilder::new(pattern).unicode(false).size_limit(MOST).dfa_size_limit(MOST).build();
    regex.map_err(|error| {
        let error = error.to_string();
        let what = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let pattern = shown(&Value::from(pattern));
        Error::unsupported(format!(
            "pattern {pattern}: {what}; write the ends of the modules' paths, like \"layers.1.self_attn.q_proj\""
        ))
    })
}

/// Fails if the configuration leaves out a module that the tensors have, which peft would not load. A module is its layer and its
/// path.
///
/// # Errors
/// `File` for such a module, `Unsupported` for values that are read as nothing.
pub(super) fn check_selection(config: &Value, modules: &[(usize, &str)]) -> Result<()> {
    let layers = layers(&config["layers_to_transform"])?;
    let excluded = Excluded::read(&config["exclude_modules"])?;
    for (layer, path) in modules {
        if layers.as_ref().is_some_and(|layers| !layers.contains(layer)) {
            let value = shown(&config["layers_to_transform"]);
            return Err(contradiction(
                path,
                &format!("layers_to_transform {value} leaves layer {layer} out"),
            ));
        }
        if excluded.has(path) {
            let value = shown(&config["exclude_modules"]);
            return Err(contradiction(path, &format!("exclude_modules {value} excludes it")));
        }
    }
    Ok(())
}

fn contradiction(path: &str, what: &str) -> Error {
    Error::file(format!("the file has tensors for {path}, but {what}; remove the tensors or change the key"))
}

/// The layers that have adapters, if not all.
fn layers(value: &Value) -> Result<Option<Vec<usize>>> {
    let one = |value: &Value| value.as_u64().and_then(|layer| usize::try_from(layer).ok());
    let layers = match value {
        Value::Null => return Ok(None),
        // peft takes an empty list for none given.
        Value::Array(list) if list.is_empty() => return Ok(None),
        Value::Array(list) => list.iter().map(one).collect(),
        one_layer => one(one_layer).map(|layer| vec![layer]),
    };
    let wrong =
        || Error::file(format!("layers_to_transform {}: expected a layer or a list of layers", shown(value)));
    layers.map(Some).ok_or_else(wrong)
}

/// Modules without an adapter: those of one regular expression, or of some ends of paths.
enum Excluded<'a> {
    Pattern(Regex),
    Ends(Vec<&'a str>),
}

impl<'a> Excluded<'a> {
    fn read(value: &'a Value) -> Result<Excluded<'a>> {
        let wrong = || {
            Error::file(format!("exclude_modules {}: expected a pattern or a list of names", shown(value)))
        };
        match value {
            Value::Null => Ok(Excluded::Ends(Vec::new())),
            Value::String(pattern) if pattern.is_empty() => Ok(Excluded::Ends(Vec::new())),
            Value::String(pattern) => {
                let regex = compile(&format!("^({pattern})$"));
                Ok(Excluded::Pattern(regex.map_err(|error| error.at("exclude_modules"))?))
            }
            Value::Array(list) => {
                let ends = list.iter().map(Value::as_str).collect::<Option<Vec<&str>>>();
                ends.map(Excluded::Ends).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }

    fn has(&self, path: &str) -> bool {
        let ends_with =
            |end: &&str| path.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        match self {
            Excluded::Pattern(regex) => regex.is_match(path.as_bytes()),
            Excluded::Ends(ends) => ends.iter().any(ends_with),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PATHS: [&str; 4] = [
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.k_proj",
        "model.layers.11.self_attn.k_proj",
        "model.layers.11.mlp.up_proj",
    ];

    /// Which of [`PATHS`] a pattern matches.
    fn matched(pattern: &str) -> Vec<usize> {
        let ordered = Ordered(vec![(pattern.to_owned(), json!(1))]);
        let values = ordered.of("rank_pattern", &PATHS).expect("a pattern");
        (0..PATHS.len()).filter(|path| values[*path].is_some()).collect()
    }

    #[test]
    fn patterns_match_the_ends_of_paths_as_in_peft() {
        // What Python 3.11 says to re.match(rf"(.*\.)?({key})$", path).
        let expected: [(&str, &[usize]); 17] = [
            ("k_proj", &[1, 2]),
            ("^q_proj", &[]),
            ("q_proj$", &[0]),
            ("_proj", &[]),
            (".*_proj", &[0, 1, 2, 3]),
            ("self_attn.k_proj", &[1, 2]),
            ("layers.1.self_attn.k_proj", &[1]),
            ("model.layers.1.self_attn.k_proj", &[1]),
            ("^model.layers.1.self_attn.k_proj", &[1]),
            ("^model.layers.1.self_attn.k_proj$", &[1]),
            (r"model\.layers\.1\..*", &[0, 1]),
            (r"layers\.\d+\.self_attn\.(q|k)_proj", &[0, 1, 2]),
            ("q_proj|up_proj", &[0, 3]),
            ("layers.1", &[]),
            (r".*\.1\..*q_proj", &[0]),
            ("[qk]_proj", &[0, 1, 2]),
            ("proj", &[]),
        ];
        for (pattern, paths) in expected {
            assert_eq!(matched(pattern), paths, "{pattern}");
        }
    }

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let text = r#"{"self_attn.k_proj": 2, "k_proj": 3, ".*": 4}"#;
        let ordered: Ordered = serde_json::from_str(text).expect("a dict");
        let values = ordered.of("rank_pattern", &PATHS).expect("patterns");
        let expected = [json!(4), json!(2), json!(2), json!(4)];
        assert_eq!(values, expected.iter().map(Some).collect::<Vec<_>>());
        let text = r#"{".*": 4, "k_proj": 3}"#;
        let ordered: Ordered = serde_json::from_str(text).expect("a dict");
        let values = ordered.of("rank_pattern", &PATHS).expect("patterns");
        assert!(values.iter().all(|value| *value == Some(&json!(4))), "{values:?}");
    }

    #[test]
    fn what_is_no_pattern_is_refused_by_name() {
        for (pattern, part) in
            [("(?!k)proj", "look-around"), ("*.q_proj", "repetition"), ("x{9999999}", "pattern")]
        {
            let ordered = Ordered(vec![(pattern.to_owned(), json!(1))]);
            let error = ordered.of("rank_pattern", &PATHS).expect_err("no pattern").to_string();
            assert!(error.starts_with("rank_pattern: pattern"), "{error}");
            assert!(error.contains(part) && error.contains("write the ends"), "{part:?} is not in: {error}");
        }
    }

    #[test]
    fn modules_that_the_configuration_leaves_out_are_contradictions() {
        let modules = [(1, PATHS[0]), (11, PATHS[2])];
        let check = |key: &str, value: Value| {
            check_selection(&json!({ key: value }), &modules).map_err(|error| error.to_string())
        };
        for (key, value) in [
            ("layers_to_transform", json!([1, 11])),
            ("layers_to_transform", json!([])),
            ("layers_to_transform", Value::Null),
            ("exclude_modules", json!(["v_proj", "proj", "layers.0.self_attn.q_proj"])),
            ("exclude_modules", json!("q_proj")),
            ("exclude_modules", json!("")),
        ] {
            assert_eq!(check(key, value.clone()), Ok(()), "{key} {value}");
        }
        for (key, value, part) in [
            ("layers_to_transform", json!([1]), "layers_to_transform [1] leaves layer 11 out"),
            ("layers_to_transform", json!(1), "layers_to_transform 1 leaves layer 11 out"),
            ("layers_to_transform", json!("all"), "expected a layer or a list"),
            ("exclude_modules", json!(["k_proj"]), "exclude_modules [\"k_proj\"] excludes it"),
            ("exclude_modules", json!(".*q_proj"), "excludes it"),
            ("exclude_modules", json!([1]), "expected a pattern or a list of names"),
        ] {
            let error = check(key, value).expect_err("a contradiction");
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}
