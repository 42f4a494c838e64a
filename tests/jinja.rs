//! Templates against jinja2 with transformers' settings: the same text, or an error where it has one (`jinja/make.py`).

use serde_json::Value;
use webreft::token::{ChatInputs, ChatTemplate};

/// What `jinja/make.py` calls now: 4 July 2025, 12:30:05.
const NOW: i64 = 1_751_632_205;

/// Every filter, test, method, operator and statement on values of every kind.
#[test]
fn templates_mean_what_they_mean_in_jinja2() {
    let file: Value = serde_json::from_str(include_str!("jinja/cases.json")).expect("JSON");
    let inputs = ChatInputs::at(NOW).with(file["variables"].as_str().expect("variables"));
    let mut wrong = Vec::new();
    let cases = file["cases"].as_array().expect("cases");
    for case in cases {
        let source = case[0].as_str().expect("a template");
        let got = ChatTemplate::new(source, String::new(), String::new()).render(&[], false, &inputs);
        let agrees = match (&got, case[1].as_str()) {
            (Ok(text), Some(want)) => text == want,
            (Err(_), None) => true,
            _ => false,
        };
        if !agrees {
            wrong.push(format!(
                "{source}: got {got:?}, want {}",
                if case[1].is_null() { &case[2] } else { &case[1] }
            ));
        }
    }
    assert!(cases.len() > 5000, "only {} cases", cases.len());
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
