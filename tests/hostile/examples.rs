//! Files of training examples that are made to be costly.

use super::alone;
use webreft::data;

/// What a file of examples may say, however long it is.
const LONGEST_ERROR: usize = 20_000;

#[test]
fn files_of_examples_take_no_more_than_they_justify() {
    let examples = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
    let texts = [
        "[".repeat(1 << 20),
        "{\"prompt\":".repeat(1 << 18),
        format!("{{\"prompt\": {}", "[".repeat(1 << 20)),
        format!("[{}]", vec!["0"; 1 << 19].join(",")),
        format!("{{\"{}\": 1}}", "p".repeat(1 << 20)),
        format!("{{\"prompt\": \"{}\", \"completions\": \"b\"}}", "a".repeat(1 << 20)),
        format!("{{\"messages\": [{{\"role\": \"{}\", \"content\": \"a\"}}]}}", "r".repeat(1 << 20)),
        format!("prompt,completion\n\"{}", "a,b\n".repeat(1 << 18)),
        format!("prompt,completion{}\na,b\n", ",x".repeat(1 << 18)),
        format!("{}\n", "\"".repeat(1 << 20)),
        "\n".repeat(1 << 20),
        "{\n".repeat(1 << 18),
        "{}\n".repeat(1 << 18),
        format!("{}x", examples.repeat(1 << 14)),
    ];
    let alone = alone();
    for text in &texts {
        let start: String = text.chars().take(40).collect();
        if let Err(error) = alone.bounded(text.len(), || data::read(text.as_bytes())) {
            assert!(error.to_string().len() <= LONGEST_ERROR, "{start}: {} bytes", error.to_string().len());
        } else {
            assert!(start.starts_with("prompt"), "{start} was read");
        }
    }
}

#[test]
fn names_in_a_warning_are_bounded() {
    let fields: Vec<String> =
        (0..10_000).map(|number| format!("\"{number}{}\": 0", "x".repeat(100))).collect();
    let text = format!("{{\"prompt\": \"a\", \"completion\": \"b\", {}}}", fields.join(", "));
    let alone = alone();
    let warnings = alone.bounded(text.len(), || data::read(text.as_bytes())).expect("an example").warnings;
    assert!(warnings[0].len() < 2000 && warnings[0].ends_with("and 9980 more"), "{}", warnings[0]);
}
