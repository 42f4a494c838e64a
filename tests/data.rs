//! Training examples in the forms people have them: what is read, and what is refused in which words.

#![allow(missing_docs, reason = "a test")]

use std::path::Path;

use proptest::prelude::*;
use webreft::data::{self, Answer, Class, Conversation, Data, Example, Input, Labelled, Preference, Tagged};
use webreft::token::Message;
use webreft::{ErrorKind, Result};

const PIP: &str = "What colour is Pip?";
const TAN: &str = "Arr, Pip be tan, matey!";

fn case(name: &str) -> Result<Data> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/data").join(name);
    data::read(&std::fs::read(path).expect("a case"))
}

/// The examples of a text without warnings.
fn examples(text: &str) -> Vec<Example> {
    let data = data::read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(data.warnings, Vec::<String>::new(), "{text}");
    data.examples
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned() }
}

fn conversation(messages: &[(&str, &str)]) -> Example {
    let messages = messages.iter().map(|(role, content)| message(role, content)).collect();
    Example::Conversation(Conversation { messages })
}

/// The text of an error, which is the caller's to mend.
fn refused(text: &str) -> String {
    let error = data::read(text.as_bytes()).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    error.to_string()
}

const WITHOUT_INPUT: &str = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nWhat colour is Pip?\n\n### Response:";
const WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nName the colour.\n\n### Input:\nPip is tan.\n\n### Response:";

#[test]
fn every_case_that_is_sound_is_read() {
    let pip = Example::answer(PIP, TAN);
    let gus = Example::answer("Where does Gus live?", "Arr, Gus be livin' in the barn, matey!");
    for name in ["array.json", "bom.jsonl", "qa2.jsonl"] {
        let data = case(name).expect(name);
        assert_eq!((&data.examples[..], data.warnings.len()), (&[pip.clone(), gus.clone()][..], 0), "{name}");
    }
    assert_eq!(case("qa.csv").expect("a table").examples, std::slice::from_ref(&pip));
    let extra = case("extra.jsonl").expect("one field more");
    assert_eq!(
        (extra.examples, extra.warnings),
        (vec![pip], vec!["fields that are not read: `id`".to_owned()])
    );
    for name in ["alpaca.json", "alpaca.jsonl"] {
        assert_eq!(case(name).expect(name).examples, [Example::answer(WITHOUT_INPUT, TAN)], "{name}");
    }
    let turns = [("system", "Be a pirate."), ("user", PIP), ("assistant", TAN)];
    assert_eq!(case("sharegpt.jsonl").expect("ShareGPT").examples, [conversation(&turns)]);
    let turns = [("user", "Hi"), ("assistant", "Ahoy!")];
    assert_eq!(case("msg_parts.jsonl").expect("parts").examples, [conversation(&turns)]);
    let prompt = Input::Messages(vec![message("user", "Hi")]);
    let answer = Answer { prompt: prompt.clone(), completion: "Ahoy!".to_owned() };
    assert_eq!(case("msg_pc.jsonl").expect("TRL's").examples, [Example::Answer(answer)]);
    let (chosen, rejected) = ("Ahoy!".to_owned(), "Hello.".to_owned());
    let preference = Example::Preference(Preference { prompt, chosen, rejected });
    assert_eq!(case("dpo_msg.jsonl").expect("TRL's").examples, [preference]);
    let named = case("cls_name.jsonl").expect("a name");
    assert_eq!(named.classes, ["positive"]);
    let label = Class::Name("positive".to_owned());
    assert_eq!(named.examples, [Example::Labelled(Labelled { text: "Pip is tan.".to_owned(), label })]);
    assert_eq!(case("s1.jsonl").expect("real data").examples.len(), 2);
}

#[test]
fn every_case_that_is_wrong_is_refused_by_name() {
    let error = |name| case(name).expect_err(name).to_string();
    assert_eq!(error("typo.jsonl"), "line 2: `completions`: did you mean `completion`?");
    assert_eq!(
        error("cls_neg.jsonl"),
        "line 1: `label`: expected a class as a whole number from 0 or as a name, found -1"
    );
}

#[test]
fn tables_have_separators_quotes_and_line_breaks() {
    let want = [Example::answer("one, \"two\"\nthree", "un"), Example::answer("a", "b; c")];
    for separator in [",", "\t", ";"] {
        let header = ["completion", " prompt "].join(separator);
        let rows = [["un", "\"one, \"\"two\"\"\nthree\""], ["\"b; c\"", "a"]].map(|row| row.join(separator));
        for end in ["\n", "\r\n"] {
            let text = format!("{header}{end}{}{end}{end}{}{end}", rows[0], rows[1]);
            assert_eq!(examples(&text), want, "{text:?}");
        }
    }
    assert_eq!(examples("prompt\tcompletion\n\tonly an answer\n"), [Example::answer("", "only an answer")]);
    let table = "instruction,input,output\nName the colour.,Pip is tan.,tan\nWhat colour is Pip?,,tan\n";
    assert_eq!(examples(table), [Example::answer(WITH_INPUT, "tan"), Example::answer(WITHOUT_INPUT, "tan")]);
}

#[test]
fn cells_hold_classes_and_numbers() {
    let label = |label| Example::Labelled(Labelled { text: "a".to_owned(), label });
    assert_eq!(examples("text,label\na,1\na,0\n"), [label(Class::Number(1)), label(Class::Number(0))]);
    let names = data::read(b"text,label\na,good\na,1\n").expect("names");
    assert_eq!(names.classes, ["1", "good"]);
    assert_eq!(
        refused("text,label\na,0\na,-1\n"),
        "line 3: `label`: expected a class as a whole number from 0 or as a name, found -1"
    );
    let tagged = Tagged { text: "a".to_owned(), labels: vec![Class::Number(0), Class::Number(2)] };
    assert_eq!(examples("text;labels\na;[0, 2]\n"), [Example::Tagged(tagged)]);
    assert!(refused("text,labels\na,good\n").contains("`labels`: a cell of this field is JSON"));
}

#[test]
fn encodings_with_a_mark_are_read() {
    let text = "prompt,completion\nzoë,日本\u{1f600}\n";
    let units: Vec<u16> = text.encode_utf16().collect();
    let little = units.iter().flat_map(|unit| unit.to_le_bytes());
    let big = units.iter().flat_map(|unit| unit.to_be_bytes());
    let want = [Example::answer("zoë", "日本\u{1f600}")];
    for bytes in [
        [0xff, 0xfe].into_iter().chain(little.clone()).collect::<Vec<u8>>(),
        [0xfe, 0xff].into_iter().chain(big).collect(),
        format!("\u{feff}{text}").into_bytes(),
    ] {
        assert_eq!(data::read(&bytes).expect("text").examples, want);
    }
    let file = |bytes: &[u8]| {
        let error = data::read(bytes).expect_err("no text");
        assert_eq!(error.kind(), ErrorKind::File);
        error.to_string()
    };
    assert!(file(b"prompt,completion\na,caf\xe9\n").contains("line 2: byte 0xe9 is not UTF-8"));
    assert!(file(&little.collect::<Vec<u8>>()).contains("UTF-16 without a byte order mark"));
    assert!(file(b"\xff\xfea\0b").contains("cut off"));
    assert!(file(b"\xff\xfe\x00\xd8a\0").contains("unit 0xd800 is not UTF-16"));
    for (bytes, what) in [(&b"PK\x03\x04..."[..], "Excel"), (b"PAR1", "Parquet"), (b"\x1f\x8b\x08", "gzip")] {
        assert!(file(bytes).contains(what));
    }
}

#[test]
fn objects_may_run_over_several_lines() {
    let one = "{\n  \"prompt\": \"a\",\n  \"completion\": \"b\"\n}\n";
    assert_eq!(examples(&format!("\n{one}\n{one}")), vec![Example::answer("a", "b"); 2]);
    let wrong = "{\n  \"prompt\": \"a\",\n  \"completion\": 5\n}\n";
    assert_eq!(refused(&format!("{one}{wrong}")), "line 5: `completion`: expected a text, found 5");
    assert_eq!(refused(&format!("{one}{{\n\"prompt\" 3}}")), "line 6: not JSON: expected `:` at column 10");
}

#[test]
fn preferences_of_trl_share_their_prompt() {
    let [user, good, bad] = [("user", "Hi"), ("assistant", "Ahoy!"), ("assistant", "Hello.")]
        .map(|(role, content)| format!(r#"{{"role": "{role}", "content": "{content}"}}"#));
    let prompts = [
        format!(r#""chosen": [{user}, {good}], "rejected": [{user}, {bad}]"#),
        format!(r#""prompt": "Hi", "chosen": [{user}, {good}], "rejected": [{user}, {bad}]"#),
        format!(r#""prompt": [{user}], "chosen": [{user}, {good}], "rejected": [{user}, {bad}]"#),
        format!(r#""prompt": [{user}], "chosen": [{good}], "rejected": [{bad}]"#),
        r#""chosen": "\n\nHuman: Hi\n\nAssistant: Ahoy!", "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.""#
            .to_owned(),
    ];
    let prompt = Input::Messages(vec![message("user", "Hi")]);
    let preference = Preference { prompt, chosen: "Ahoy!".to_owned(), rejected: "Hello.".to_owned() };
    for fields in prompts {
        assert_eq!(examples(&format!("{{{fields}}}")), [Example::Preference(preference.clone())], "{fields}");
    }
    let text = format!(r#"{{"prompt": "Hi", "chosen": [{good}], "rejected": [{bad}]}}"#);
    let preference = Preference { prompt: "Hi".into(), ..preference };
    assert_eq!(examples(&text), [Example::Preference(preference)]);
    for (fields, part) in [
        (format!(r#""chosen": [{good}], "rejected": [{bad}]"#), "begin differently: expected a `prompt`"),
        (
            r#""chosen": "a", "rejected": "b""#.to_owned(),
            "are texts: expected `prompt` beside them, or transcripts",
        ),
        (
            r#""chosen": "Human: a", "rejected": "Human: b""#.to_owned(),
            "begin differently: expected a `prompt`",
        ),
        (
            format!(r#""prompt": "Ho", "chosen": [{user}, {good}], "rejected": [{user}, {bad}]"#),
            "`prompt` is not what",
        ),
        (
            format!(r#""prompt": "Hi", "chosen": [{good}, {user}, {good}], "rejected": [{bad}]"#),
            "found 3 messages",
        ),
        (format!(r#""prompt": "Hi", "chosen": [{user}], "rejected": [{bad}]"#), "found one of the user"),
        (
            format!(r#""prompt": "Hi", "chosen": [{good}], "rejected": "b""#),
            "`chosen`: expected a text, found a list of 1",
        ),
    ] {
        let error = refused(&format!("{{{fields}}}"));
        assert!(error.contains(part), "{fields}: {error}");
    }
}

#[test]
fn fields_that_are_near_are_named() {
    for (fields, want) in [
        (r#""Prompt": "a", "completion": "b""#, "`Prompt`: did you mean `prompt`?"),
        (
            r#""question": "a", "answer": "b""#,
            "`question`: did you mean `prompt`? `answer`: did you mean `completion`?",
        ),
        (r#""instruction": "a", "response": "b""#, "`response`: did you mean `output`?"),
        (r#""mesages": []"#, "`mesages`: did you mean `messages`?"),
        (r#""text": "a", "lable": 1"#, "`lable`: did you mean `label`?"),
        (r#""prompt": "a""#, "`completion` is missing beside `prompt` (found: `prompt`)"),
        (r#""text": "a""#, "`label` is missing beside `text` (found: `text`)"),
        (r#""prompt": "a", "completion": null"#, "`completion`: expected a value, found null"),
        (r#""prompt": "a", "completion": """#, "`completion` is empty"),
        (
            r#""prompt": {}, "completion": "b""#,
            "`prompt`: expected a text or a list of messages, found an object",
        ),
        (r#""prompt": "a", "prompt": "b", "completion": "c""#, "`prompt` is there twice"),
        (r#""prompt": "a", "completion": "b", "label": true"#, "unpaired preferences are not supported"),
        (r#""text": "a", "label": 0.5"#, "from 0 or as a name, found 0.5"),
        (r#""text": "a", "labels": 1"#, "`labels`: expected a list of classes, found 1"),
        (r#""text": "a", "values": [1, "x"]"#, "`values`: expected a number, found \"x\""),
        (
            r#""data": []"#,
            "found `data`: expected the fields `chosen` and `rejected`, or `prompt` and `completion`, or `messages`",
        ),
        ("", "found no field: expected"),
    ] {
        let error = refused(&format!("{{{fields}}}"));
        assert!(error.starts_with("line 1: ") && error.contains(want), "{fields}: {error}");
    }
    assert_eq!(
        refused("question\tanswer\na\tb\nc\td\n"),
        "line 1: `question`: did you mean `prompt`? `answer`: did you mean `completion`?"
    );
    assert_eq!(
        refused("[{\"prompt\": \"a\", \"completion\": \"b\"}, 7]"),
        "example 2: expected an object like {\"prompt\": …}, found a number"
    );
}

#[test]
fn messages_that_say_something_else_are_refused() {
    for (messages, want) in [
        (r#"{"role": "user", "content": "Hi"}"#, "the assistant says nothing that could be learned"),
        (
            r#"{"role": "asistant", "content": "Hi"}"#,
            "message 1: role \"asistant\" is not known (known: system,",
        ),
        (
            r#"{"role": "assistant", "content": null, "tool_calls": [{}]}"#,
            "message 1: `tool_calls` is not supported",
        ),
        (r#"{"role": "assistant", "content": null}"#, "message 1: `content`: expected a text, found null"),
        (r#"{"role": "assistant", "text": "Hi"}"#, "message 1: `content` is missing (found: `role`, `text`)"),
        (r#"{"role": "user", "content": [{"type": "image"}]}"#, "found one of type \"image\""),
        (r#""Hi""#, "message 1: expected an object with `role` and `content`, found \"Hi\""),
        ("", "`messages`: the list of messages is empty"),
    ] {
        let error = refused(&format!(r#"{{"messages": [{messages}]}}"#));
        assert!(error.contains(want), "{messages}: {error}");
    }
    let named =
        r#"{"messages": [{"role": "assistant", "content": "Hi", "name": "Pip", "tool_calls": []}], "id": 1}"#;
    let warnings = data::read(named.as_bytes()).expect("a conversation").warnings;
    assert_eq!(warnings, ["fields that are not read: `id`, `messages[].name`"]);
}

#[test]
fn all_faults_come_together_the_first_twenty_in_full() {
    let wrong = "{\"prompt\": \"a\", \"completions\": \"b\"}\n";
    let error = refused(&wrong.repeat(25));
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines.len(), 21);
    assert_eq!(lines[0], "line 1: `completions`: did you mean `completion`?");
    assert_eq!(lines[19], "line 20: `completions`: did you mean `completion`?");
    assert_eq!(lines[20], "and 5 more faults");
    let two = refused("{\"prompt\": 1, \"completion\": \"b\"}\n\n{\"prompt\": \"a\"\n");
    assert_eq!(
        two,
        "line 1: `prompt`: expected a text or a list of messages, found 1\nline 3: not JSON: EOF while parsing an object at column 14"
    );
}

#[test]
fn a_table_that_is_broken_names_the_row() {
    assert_eq!(
        refused("prompt,completion\na,b, c\n\"a\nb\",c\nd\n"),
        "line 2: found 3 fields, the header has 2: put quotes around a field that holds a separator\n\
         line 5: found 1 fields, the header has 2: put quotes around a field that holds a separator"
    );
    assert!(
        refused("prompt,completion\na,\"b\nc,d\ne,f\n")
            .contains("line 2: a quote opens here and is not closed")
    );
    assert!(refused("prompt,prompt\na,b\n").contains("`prompt` is there twice"));
    assert!(
        refused("The secret word is banana.\n")
            .contains("line 1: found `The secret word is banana.`: expected the fields")
    );
}

#[test]
fn a_file_without_examples_says_so() {
    for text in ["", " \n\n", "[]", "prompt,completion\n"] {
        assert_eq!(
            refused(text),
            "no examples: the file is empty, or holds nothing but a header",
            "{text:?}"
        );
    }
}

#[test]
fn labels_are_all_names_or_all_numbers() {
    let text = "{\"text\": \"a\", \"label\": \"good\"}\n{\"text\": \"b\", \"label\": 1}\n";
    assert_eq!(
        refused(text),
        "line 2: the label is a number, that of line 1 is a name: expected all names or all numbers"
    );
    let text = r#"[{"text": "a", "labels": ["good", "new"]}, {"text": "b", "labels": ["bad"]}]"#;
    assert_eq!(data::read(text.as_bytes()).expect("names").classes, ["bad", "good", "new"]);
}

#[test]
fn prompts_and_texts_are_read_from_the_same_files() {
    let prompts = data::read_prompts(b"prompt,completion\na,b\n").expect("prompts");
    assert_eq!(prompts, [Input::from("a")]);
    let error = data::read_prompts(b"{\"promt\": \"a\"}\n").expect_err("no prompt").to_string();
    assert_eq!(error, "line 1: `prompt` is missing (found: `promt`)");
    assert_eq!(data::read_texts(b"[{\"text\": \"a\", \"label\": 3}]").expect("texts"), ["a"]);
}

proptest! {
    /// What is written as JSON is read again as the same examples, in each container.
    #[test]
    fn examples_come_back(prompt in ".*", completion in ".+", names in proptest::collection::vec(".+", 1..3)) {
        let examples = [
            Example::answer(prompt.as_str(), completion.as_str()),
            conversation(&[("user", &prompt), ("assistant", &completion)]),
            Example::Preference(Preference { prompt: prompt.into(), chosen: completion.clone(), rejected: completion.clone() }),
            Example::Tagged(Tagged { text: completion, labels: names.into_iter().map(Class::Name).collect() }),
        ];
        let lines: Vec<String> = examples.iter().map(|example| serde_json::to_string(example).expect("plain data")).collect();
        for text in [lines.join("\r\n"), format!("[{}]", lines.join(","))] {
            prop_assert_eq!(&data::read(text.as_bytes()).expect("examples").examples[..], &examples[..]);
        }
    }

    /// Bytes never make the reader panic.
    #[test]
    fn bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = data::read(&bytes);
        let _ = data::read_prompts(&bytes);
    }
}
