//! Chat templates that want more than there is.

use webreft::engine::Input;
use webreft::token::{ChatOptions, Message};

use super::{File, alone, load_for};

/// Why a conversation of a word cannot be rendered.
fn refusal(source: &str) -> String {
    let mut file = File::tiny();
    file.set_str("tokenizer.chat_template", source);
    let bytes = file.bytes();
    alone().bounded(bytes.len(), || {
        let message = Message { role: "user".to_owned(), content: "a".to_owned() };
        let engine = load_for(&bytes, None).expect("a sound template");
        engine.prompt(&Input::Messages(vec![message]), vec![]).err().expect(source).to_string()
    })
}

/// Each doubles or repeats something; none takes memory or time beyond what a small file justifies.
#[test]
fn a_template_that_grows_is_stopped() {
    let loops = [
        "{% set ns.x = ns.x ~ ns.x %}",
        "{% set ns.x = ns.x * 99 %}",
        "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}",
        "{% set ns.x = ns.x | replace('a', 'aaa') | string %}",
        "{% set ns.x = ns.x.join([ns.x, ns.x]) %}",
        "{% set ns.x = [ns.x, ns.x] %}",
        "{% set ns.x = ns.x ~ (ns | tojson(indent=16)) %}",
        "{% set ns.x = ns.x.split('a') | join('aa') %}",
    ];
    let whole = [
        "{% for i in range(99999) %}{% for j in range(99999) %}{{ 'a' * 99999 }}{% endfor %}{% endfor %}",
        "{{ ('a' * 9999999999) | length }}{{ 'a' | indent(9999999999) }}",
        "{% macro f(x) %}{{ f([x, x]) }}{% endmacro %}{{ f('a') }}",
        "{% set ns = namespace() %}{% set ns.ns = ns %}{{ ns }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ ('{0}' * 9999).format(range(9999) | list) }}",
        "{{ ['a' * 9999] * 9999 }}",
        "{{ range(99999) | list | map('string') | map('list') | list }}",
    ];
    let looped = |each: &str| {
        format!(
            "{{% set ns = namespace(x='a') %}}{{% for i in range(99) %}}{each}{{% endfor %}}{{{{ ns.x }}}}"
        )
    };
    for source in loops.into_iter().map(looped).chain(whole.into_iter().map(str::to_owned)) {
        let error = refusal(&source);
        assert!(error.starts_with("chat template line 1: "), "{source}: {error}");
    }
}

/// A model whose template does not parse loads; another template may take its place.
#[test]
fn a_broken_template_fails_when_a_conversation_is_written() {
    let _alone = alone();
    let mut file = File::tiny();
    file.set_str("tokenizer.chat_template", "{% if %}");
    let engine = load_for(&file.bytes(), None).expect("a model that loads");
    let input = Input::Messages(vec![Message { role: "user".to_owned(), content: "a".to_owned() }]);
    let error = engine.prompt(&input, vec![]).err().expect("an error").to_string();
    assert!(error.starts_with("chat template line 1: syntax error: expected an expression"), "{error}");
    let chosen = |name: &str| ChatOptions { template: Some(name.to_owned()), ..ChatOptions::default() };
    let engine = engine.with_chat(chosen("chatml")).expect("a name that there is");
    assert!(engine.prompt(&input, vec![]).is_ok());
    let error = engine.with_chat(chosen("alpaca")).err().expect("an error").to_string();
    let want = "chatTemplate: expected the text of a template, or one of chatml, llama3, gemma and raw, got \"alpaca\"";
    assert_eq!(error, want);
}
