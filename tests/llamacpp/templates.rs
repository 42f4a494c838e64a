//! Chat templates, byte for byte.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use webreft::error::ErrorKind;
use webreft::token::{ChatInputs, ChatTemplate, Message};

use super::{assert_ran, folder, is_here, json, keys};

/// 4 July 2025, 12:30: `now` of the manifest.
const NOW: i64 = 1_751_632_200;

/// Calls `check` with each template and what is expected of it.
fn each(check: impl Fn(&str, &ChatTemplate, &[Value])) {
    let folder = folder("templates");
    let manifest = json(&folder.join("manifest.json"));
    assert_eq!(manifest["now"], "2025-07-04T12:30:00");
    let mut n_ran = 0;
    for name in keys(&manifest["templates"]) {
        let path = folder.join(format!("{name}.jinja"));
        if !is_here(&path) {
            continue;
        }
        n_ran += 1;
        let source = std::fs::read_to_string(path).expect(name);
        let want = json(&folder.join(format!("{name}.json")));
        let [bos, eos] =
            ["bos_token", "eos_token"].map(|key| want[key].as_str().unwrap_or_default().to_owned());
        let template = ChatTemplate::new(&source, bos, eos);
        let cases = want["cases"].as_array().expect("cases");
        assert_eq!(cases.len(), keys(&manifest["templates"][name]).count(), "{name}");
        check(name, &template, cases);
    }
    assert_ran("templates", n_ran, 12);
}

fn messages(case: &Value) -> Vec<Message> {
    serde_json::from_value(case["messages"].clone()).expect("messages")
}

/// The tools of a case as they are written in the file: with the keys of their objects in order, as Python keeps them.
fn tools(file: &str, number: usize) -> ChatInputs {
    #[derive(Deserialize)]
    struct File<'f> {
        #[serde(borrow)]
        cases: Vec<Case<'f>>,
    }
    #[derive(Deserialize)]
    struct Case<'f> {
        #[serde(borrow)]
        tools: Option<&'f RawValue>,
    }
    let file: File = serde_json::from_str(file).expect("JSON");
    let tools = file.cases[number].tools.map(|tools| format!("{{\"tools\": {}}}", tools.get()));
    tools.map_or(ChatInputs::at(NOW), |tools| ChatInputs::at(NOW).with(&tools))
}

/// Where a template refuses, so does webreft, in its words; where it fails in Python, it fails.
#[test]
fn templates_render_as_in_jinja2() {
    each(|name, template, cases| {
        let file = std::fs::read_to_string(folder("templates").join(format!("{name}.json"))).expect(name);
        for (number, case) in cases.iter().enumerate() {
            let asks = case["add_generation_prompt"] == true;
            let got = template.render(&messages(case), asks, &tools(&file, number));
            let at = format!("{name} {}", case["name"]);
            let Some(wanted) = case["error"].as_str() else {
                assert_eq!(got.as_deref(), Ok(case["rendered"].as_str().expect("a text")), "{at}");
                continue;
            };
            let error = got.expect_err(&at);
            let (kind, words) = match wanted.strip_prefix("TemplateError: ") {
                Some(words) => (ErrorKind::Input, words),
                None => (ErrorKind::Unsupported, wanted),
            };
            assert_eq!(error.kind(), kind, "{at}: {error}");
            assert!(error.to_string().ends_with(words), "{at}: {error}");
        }
    });
}

/// What training labels: each answer, whole, in whatever a template makes of the conversation.
#[test]
fn every_turn_of_the_assistant_is_found_in_every_template() {
    each(|name, template, cases| {
        for case in cases.iter().filter(|case| case["error"].is_null() && case["tools"].is_null()) {
            let messages = messages(case);
            let turns = template.turns(&messages, &ChatInputs::at(NOW)).expect(name);
            let said: Vec<&str> = turns.spans.iter().map(|span| &turns.text[span.clone()]).collect();
            let answers = messages.iter().filter(|message| message.role == "assistant");
            let answers: Vec<&str> = answers.map(|message| message.content.trim()).collect();
            assert_eq!(said.len(), answers.len(), "{name} {}", case["name"]);
            for (said, answer) in said.iter().zip(answers) {
                let before = said.trim_end().strip_suffix(answer);
                let before =
                    before.unwrap_or_else(|| panic!("{name}: {said:?} does not end with {answer:?}"));
                let thought = ["", "<think>\n\n</think>"]; // Qwen3 and SmolLM3 write an empty one before an answer without
                assert!(thought.contains(&before.trim()), "{name}: {before:?} before {answer:?}");
            }
        }
    });
}

/// What is read and made is bounded, but not so tightly that a long conversation would notice.
#[test]
fn a_thousand_words_are_no_matter_for_any_template() {
    let turns = ["hi", "zq"].repeat(500);
    let message = |(i, content): (usize, &str)| Message {
        role: ["user", "assistant"][i % 2].to_owned(),
        content: content.to_owned(),
    };
    let messages: Vec<Message> = turns.into_iter().enumerate().map(message).collect();
    // One template goes through its tools without asking whether there are any.
    let inputs = ChatInputs::at(NOW).with(r#"{"tools": []}"#);
    each(|name, template, _| {
        let text = template.render(&messages, false, &inputs).expect(name);
        assert_eq!(text.matches("zq").count(), 500, "{name}");
    });
}
