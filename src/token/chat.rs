//! Chat templates: messages into the text a model was trained on.
//!
//! A template is a program in Jinja that came with the file: it is run by minijinja with the settings of transformers'
//! `apply_chat_template`, and stopped when it runs too long or makes too much.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value, context};
use regex::{Captures, Regex};
use serde::{Deserialize, Serialize};

use super::Tokenizer;
use super::bounds::{ALLOWANCE, bound};
use super::metered::Program;
use super::python::{Refusal, clock, raise_exception, tojson};
use super::turns::{CLOSES, OPENS};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Instructions of a template that are run at most; a message takes some hundred.
const FUEL: u64 = 5_000_000;
/// Levels that a template nests at most, a macro counting for several: the stack in a browser is small.
const MAX_DEPTH: usize = 200;
/// Bytes that a template may read and make for nothing.
const ALLOWED: usize = 4 << 20;
/// Bytes that it may read and make for each byte of a conversation: it looks at a message again and again.
const ALLOWED_PER_BYTE: usize = 64;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, as far as the template knows them.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// The chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    program: Program,
    /// Whether it has `{% generation %}`.
    marks_turns: bool,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The template that a GGUF file carries, or none: a model that is not made for chat has none.
    ///
    /// # Errors
    ///
    /// An unsupported error that names the line if the template cannot be read.
    pub fn from_gguf(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        ChatTemplate::parse(metadata, spelled_ends(tokenizer))
    }

    /// The same with the texts of the tokens that begin and end a text, where there may be no tokenizer.
    pub(crate) fn parse(metadata: &Metadata, [bos, eos]: [String; 2]) -> Result<Option<ChatTemplate>> {
        let source: Option<&str> = metadata.get("tokenizer.chat_template")?;
        source.map(|source| ChatTemplate::new(source, bos, eos)).transpose()
    }

    /// A template for a model with this tokenizer.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::new`].
    pub fn of(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let [bos, eos] = spelled_ends(tokenizer);
        ChatTemplate::new(source, bos, eos)
    }

    /// A template with the texts of the tokens that begin and end a text.
    ///
    /// # Errors
    ///
    /// An unsupported error that names the line if the template cannot be read.
    pub fn new(source: &str, bos: String, eos: String) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_DEPTH);
        bound(&mut environment);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", tojson);
        let marked = with_printed_marks(source);
        let marks_turns = marked != source;
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.expect("the usual delimiters are valid");
        let program = Program::compile(marked, NAME, syntax).map_err(error)?;
        Ok(ChatTemplate { environment, program, marks_turns, bos, eos })
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant is to speak.
    ///
    /// Special tokens are spelled out in it, the one that begins a text among them: transformers encodes it with
    /// `parse_special` and without `add_special`.
    ///
    /// `now` is what the clock of the reader shows, in seconds since 1970, for templates that write the date; without it
    /// they are told that there is no clock.
    ///
    /// # Errors
    ///
    /// An input error if the template refuses the messages; an unsupported error if it fails. Both name the line.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        now: Option<i64>,
    ) -> Result<String> {
        self.render_with_tools(messages, None, add_generation_prompt, now)
    }

    /// [`render`](ChatTemplate::render) with tools that the assistant may call: a list as JSON, in whose order templates write it.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`]; an input error for tools that are no JSON.
    pub fn render_with_tools(
        &self,
        messages: &[Message],
        tools: Option<&str>,
        add_generation_prompt: bool,
        now: Option<i64>,
    ) -> Result<String> {
        let read: Value = match tools {
            Some(json) => serde_json::from_str(json).map_err(|e| Error::input(format!("tools: {e}")))?,
            None => Value::from(()),
        };
        let values = context! { add_generation_prompt, tools => read, ..clock(now) };
        self.run(messages, tools.unwrap_or_default(), values)
    }

    /// Whether the template itself says what the assistant says.
    pub(super) fn marks_turns(&self) -> bool {
        self.marks_turns
    }

    /// [`render`](ChatTemplate::render) without a generation prompt, with the template's own marks.
    pub(super) fn render_marked(&self, messages: &[Message], now: Option<i64>) -> Result<String> {
        let values = context! {
            add_generation_prompt => false,
            tools => (),
            turn_opens => OPENS.to_string(),
            turn_closes => CLOSES.to_string(),
            ..clock(now)
        };
        self.run(messages, "", values)
    }

    fn run(&self, messages: &[Message], tools: &str, values: Value) -> Result<String> {
        let given = messages.iter().map(|message| message.role.len() + message.content.len()).sum::<usize>();
        let allowed = (given + tools.len()).saturating_mul(ALLOWED_PER_BYTE).saturating_add(ALLOWED);
        let allowance = Value::from_pairs([(ALLOWANCE, Value::from(allowed))]);
        let values = context! {
            messages => Serde(messages),
            documents => (),
            bos_token => &self.bos,
            eos_token => &self.eos,
            ..context! { ..values, ..allowance }
        };
        self.program.run(&self.environment, values).map_err(error)
    }
}

/// The texts of the tokens that begin and end a text.
fn spelled_ends(tokenizer: &Tokenizer) -> [String; 2] {
    [tokenizer.bos(), tokenizer.eos()].map(|id| {
        let text = id.map_or(&[][..], |id| tokenizer.piece(id, true));
        String::from_utf8_lossy(text).into_owned()
    })
}

/// What the template is called in the environment.
const NAME: &str = "chat template";

/// `{% generation %}` marks for training what the assistant says. Here it prints a variable, which is empty unless marks are wanted;
/// the tags around that keep what the original does to white space at either side.
fn with_printed_marks(source: &str) -> String {
    let tags = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the pattern compiles");
    let mark = |tag: &Captures| {
        let [left, right] = [1, 3].map(|group| tag.get(group).map_or("", |it| it.as_str()));
        let name = if tag.get(2).is_some() { "turn_closes" } else { "turn_opens" };
        format!("{{%{left} if true %}}{{{{ {name} }}}}{{% endif {right}%}}")
    };
    tags.replace_all(source, mark).into_owned()
}

/// An input error where the template speaks for itself, else an unsupported error.
fn error(e: minijinja::Error) -> Error {
    let chain = || std::iter::successors(Some(&e as &dyn std::error::Error), |e| e.source());
    let inner = chain().filter_map(|e| e.downcast_ref::<minijinja::Error>()).last().unwrap_or(&e);
    let line = inner.line().or(e.line()).map_or_else(String::new, |line| format!(" line {line}"));
    let refusal = inner.detail().filter(|_| chain().any(|e| e.is::<Refusal>()));
    match (refusal, inner.detail()) {
        (Some(message), _) => Error::input(format!("chat template{line}: {message}")),
        (None, Some(detail)) => {
            Error::unsupported(format!("chat template{line}: {}: {detail}", inner.kind()))
        }
        (None, None) => Error::unsupported(format!("chat template{line}: {}", inner.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::{ChatTemplate, Message};
    use crate::error::{Error, ErrorKind};

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    fn render(source: &str) -> Result<String, Error> {
        let template = ChatTemplate::new(source, "<s>".into(), "</s>".into())?;
        template.render(&[message("user", "hi"), message("assistant", " ho ")], true, Some(0))
    }

    fn failure(source: &str) -> (ErrorKind, String) {
        let error = render(source).unwrap_err();
        (error.kind(), error.to_string())
    }

    #[test]
    fn a_template_sees_messages_tokens_and_the_prompt() {
        let text = render(
            "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'].strip() }}{{ eos_token }}{% endfor %}
{%- if add_generation_prompt %}
[assistant]{% endif %}
",
        );
        assert_eq!(text.unwrap(), "<s>[user] hi</s>[assistant] ho</s>[assistant]");
    }

    #[test]
    fn python_methods_and_json_work_as_in_transformers() {
        let cases = [
            ("{{ 'a,b'.split(',') | tojson }}", r#"["a", "b"]"#),
            ("{{ {'b': 1, 'a': [true, none, 'é<\n']} | tojson }}", r#"{"b": 1, "a": [true, null, "é<\n"]}"#),
            ("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}"),
            ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
            ("{{ 'abc'.startswith('ab') and 'abc'.endswith('bc') }}", "True"),
            ("{{ '  x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'x'.replace('x', 'y').upper() }}", "x | x|Y"),
            (
                "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "013",
            ),
            ("{{ strftime_now('%d %b %Y') }}", "01 Jan 1970"),
            ("a{% generation %}b{%- endgeneration -%} c", "abc"),
            ("{{ messages[0].missing }}{{ tools is none }}", "True"),
        ];
        for (source, want) in cases {
            assert_eq!(render(source).as_deref(), Ok(want), "{source}");
        }
    }

    #[test]
    fn without_a_clock_there_is_no_date() {
        let template =
            ChatTemplate::new("{{ strftime_now is defined }}", String::new(), String::new()).unwrap();
        assert_eq!(template.render(&[], false, None).unwrap(), "False");
    }

    #[test]
    fn a_template_that_refuses_says_so_in_its_own_words() {
        let source =
            "{% macro no(x) %}\n{{ raise_exception('no ' + x) }}{% endmacro %}\n\n{{ no('system') }}";
        assert_eq!(failure(source), (ErrorKind::Input, "chat template line 2: no system".into()));
    }

    #[test]
    fn a_broken_template_is_told_by_its_line() {
        for (source, start) in [
            ("a\n{% if %}", "chat template line 2: syntax error: "),
            ("a\n\n{{ x | nothing }}", "chat template line 3: unknown filter: "),
            ("a\n{{ messages.nothing() }}", "chat template line 2: unknown method: "),
            ("{{ x.y.z }}", "chat template line 1: undefined value"),
            (
                "{{ strftime_now('%Q') }}",
                "chat template line 1: invalid operation: strftime_now: \"%Q\" is not",
            ),
            ("{{ {} | tojson(sort_keys=true) }}", "chat template line 1: "),
        ] {
            let (kind, text) = failure(source);
            assert_eq!(kind, ErrorKind::Unsupported, "{text}");
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn a_template_that_runs_too_long_is_stopped() {
        let (_, text) =
            failure("{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}");
        assert!(text.contains("fuel"), "{text}");
        let (_, text) = failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
        assert!(text.contains("recursion"), "{text}");
        let nested = "{% if true %}".repeat(100_000);
        assert_eq!(failure(&nested).0, ErrorKind::Unsupported);
        assert_eq!(failure(&format!("{{{{ {} }}}}", "(".repeat(100_000))).0, ErrorKind::Unsupported);
    }

    #[test]
    fn a_template_that_makes_too_much_is_stopped() {
        let doubled = |how: &str| {
            format!(
                "{{% set ns = namespace(x='ab') %}}{{% for i in range(60) %}}{how}{{% endfor %}}{{{{ ns.x | length }}}}"
            )
        };
        let doubling = [
            "{% set ns.x = ns.x ~ ns.x %}",
            "{% set ns.x = ns.x + ns.x %}",
            "{% set ns.x = ns.x * 2 %}",
            "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}",
            "{% set ns.x = ns.x | replace('ab', 'abab') %}",
            "{% set ns.x = ns.x.replace('ab', 'abab') %}",
            "{% set ns.x = [ns.x, ns.x] | join(ns.x) %}",
            "{% set ns.x = ns.x.join([ns.x, ns.x]) %}",
            "{% set ns.x = '%s%s' | format(ns.x, ns.x) %}",
            "{% set ns.x = '{0}{0}'.format(ns.x) %}",
            "{% set ns.x = [ns.x, ns.x] %}",
            "{% set ns.x = {'a': ns.x, 'b': ns.x} %}",
            "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns.x = twice(ns.x) %}",
            "{% filter replace('ab', 'abab') %}{{ ns.x }}{% endfilter %}{% set ns.x = ns.x ~ ns.x %}",
        ];
        let at_once = [
            "{{ 'a' * 10**9 }}",
            "{{ ['a'] * 10**9 }}",
            "{{ 'a' * 10**30 }}",
            "{{ range(10**9) }}",
            "{{ 'a' | indent(10**9, true) }}",
            "{{ 'a' | indent(width=10**9, first=true) }}",
            "{{ ['a'] | batch(10**9, 'x') }}",
            "{{ ['a'] | slice(10**9) | list }}",
            "{{ '%1000000000d' | format(1) }}",
            "{{ '%.1000000000f' | format(1.5) }}",
            "{{ '%*d' | format(10**9, 1) }}",
            "{{ '{:>1000000000}'.format(1) }}",
            "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
            "{% for i in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
            "{% set a = 'a' * 1000000 %}{% for i in range(99999) %}{% if 'b' in a %}{% endif %}{% endfor %}",
            "{% set a = 'a' * 1000000 %}{% for i in range(99999) %}{% if a is in(a) %}{% endif %}{% endfor %}",
            "{% set a = 'a' * 1000000 %}{% for i in range(99999) %}{% if a.endswith('b') %}{% endif %}{% endfor %}",
            "{% set a = range(99999) | list %}{% for i in range(99999) %}{% if a == a %}{% endif %}{% endfor %}",
            "{% set a = range(99999) | list %}{% for i in range(99999) %}{% set b = a | select('none') %}{% endfor %}",
            "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
            "{% set ns = namespace(a=[]) %}{% for i in range(9999) %}{% set ns.a = [ns.a] %}{% endfor %}",
        ];
        let sources = doubling.into_iter().map(doubled).chain(at_once.into_iter().map(str::to_owned));
        let took = sources.map(|source| {
            let (kind, text) = failure(&source);
            assert_eq!(kind, ErrorKind::Unsupported, "{source}: {text}");
            let words = ["more text than its messages justify", "nest deeper", "too many elements"];
            assert!(words.iter().any(|word| text.contains(word)), "{source}: {text}");
        });
        assert_eq!(took.count(), doubling.len() + at_once.len());
    }

    #[test]
    fn numbers_texts_and_lists_multiply_as_in_python() {
        let text = render(
            "{{ 2 * 3 }} {{ 2 * 1.5 }} {{ 'ab' * 2 }} {{ 2 * 'ab' }} {{ [1] * 2 }} {{ 'a' * -1 }}|{{ true * 2 }}",
        );
        assert_eq!(text.unwrap(), "6 3.0 abab abab [1, 1] |2");
        assert!(failure("{{ 'a' * 'b' }}").1.contains("unsupported types"));
        assert!(failure("{{ 'a' * 1.5 }}").1.contains("unsupported types"));
    }

    #[test]
    fn parts_are_those_of_python() {
        let cases = [
            ("{{ [][::-1] }}{{ ''[::-1] }}", "[]"),
            (
                "{{ 'abcde'[::-1] }} {{ 'abcde'[1:3] }} {{ 'abcde'[-2:] }} {{ 'abcde'[:-2] }}",
                "edcba bc de abc",
            ),
            ("{{ 'abcde'[::2] }} {{ 'abcde'[3:0:-2] }} {{ 'abcde'[3::-2] }} {{ 'äöü'[1] }}", "ace db db ö"),
            ("{{ 'abcde'[9:] }}|{{ 'abcde'[-9:2] }}|{{ 'abcde'[2:1] }}|{{ 'abcde'[1:2:-1] }}", "|ab||"),
            ("{{ [1, 2, 3][1:] }} {{ [1, 2, 3][::-1] }} {{ range(9)[2:4] }}", "[2, 3] [3, 2, 1] [2, 3]"),
            ("{{ 'ab'[-9223372036854775808:9223372036854775807:9223372036854775807] }}", "a"),
        ];
        for (source, want) in cases {
            assert_eq!(render(source).as_deref(), Ok(want), "{source}");
        }
        assert!(failure("{{ 'a'[::0] }}").1.contains("step size of 0"));
        assert!(failure("{{ 5[1:] }}").1.contains("cannot be sliced"));
    }

    #[test]
    fn a_long_conversation_is_no_reason_to_stop() {
        let source = "{% for m in messages %}{% if loop.index0 == messages | length - 1 %}last{% endif %}
{%- if m.role == 'user' and m == messages[-1] %}{{ m.content | trim }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}";
        let template = ChatTemplate::new(source, String::new(), String::new()).unwrap();
        let messages: Vec<Message> =
            (0..5000).map(|i| message("user", &format!("{i} ").repeat(50))).collect();
        assert!(template.render(&messages, true, None).unwrap().ends_with("4999"));
    }
}
