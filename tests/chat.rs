//! Chat templates of known models, byte for byte as Jinja2 renders them.

use std::path::Path;

use serde_json::Value;
use webreft::token::{ChatTemplate, Message};

/// 4 July 2025, 12:30.
const NOW: i64 = 1_751_632_200;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn check(template: &Path) -> usize {
    let about: Value = serde_json::from_str(&read(&template.with_extension("json"))).unwrap();
    let [bos, eos] = ["bos_token", "eos_token"].map(|key| about[key].as_str().unwrap_or_default().to_owned());
    let chat = ChatTemplate::new(&read(template), bos, eos).unwrap();
    let without_tools = |case: &&Value| case["tools"].is_null();
    let cases: Vec<&Value> = about["cases"].as_array().unwrap().iter().filter(without_tools).collect();
    for case in &cases {
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let text = chat.render(&messages, case["add_generation_prompt"] == true, Some(NOW)).unwrap();
        assert_eq!(Some(text.as_str()), case["rendered"].as_str(), "{template:?} {}", case["name"]);
    }
    cases.len()
}

#[test]
fn known_templates_render_as_in_jinja2() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let cases = files.filter(|path| path.extension().is_some_and(|e| e == "jinja")).map(|path| check(&path));
    assert_eq!(cases.sum::<usize>(), 24);
}
