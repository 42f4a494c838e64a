//! Chat templates: messages into the text a model was trained on.
//!
//! A template is a program in Jinja that came with the file: it is run with the settings of transformers' `apply_chat_template`, and
//! stopped when it runs too long or makes too much.

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use super::jinja::{Fault, Given, Limits, Template, Value};
use super::turns::{CLOSES, OPENS};
use crate::clock::local_now;
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Steps that a template may take for nothing; a message takes some hundred.
const STEPS: usize = 5_000_000;
/// Bytes that a template may hold for nothing.
const BYTES: usize = 4 << 20;
/// Steps, and bytes held, for each byte of a conversation: a template looks at a message again and again.
const PER_BYTE: usize = 64;
/// Times that a message may take all steps of a template's text, and write all of it.
const PER_MESSAGE: usize = 4;
/// Steps for each pair of messages: a template may look at all messages for each of them.
const PER_PAIR: usize = 64;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, as far as the template knows them.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// What a template is given besides the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatInputs {
    /// What `strftime_now` shows: local time in seconds since 1970. None is the machine's own clock.
    pub now: Option<i64>,
    /// Names that the template sees, such as `tools`, `documents`, `date_string` or `enable_thinking`: a JSON object, in whose order
    /// templates write it.
    pub variables: Option<String>,
}

impl ChatInputs {
    /// A clock that shows this moment: local time in seconds since 1970.
    pub fn at(now: i64) -> ChatInputs {
        ChatInputs { now: Some(now), variables: None }
    }

    /// The names and their values.
    fn read(&self) -> Result<Vec<(String, Value)>> {
        let Some(json) = &self.variables else { return Ok(Vec::new()) };
        let pairs: Value = serde_json::from_str(json)
            .map_err(|e| Error::input(format!("template variables: expected a JSON object: {e}")))?;
        pairs.named().ok_or_else(|| {
            Error::input(format!("template variables: expected a JSON object, got {}", json.trim()))
        })
    }
}

/// The chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    /// One that does not parse fails when it is to be rendered: whoever gives text needs none.
    template: std::result::Result<Template, Fault>,
    /// Bytes of its source.
    len: usize,
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
    /// A file error if the entry is no text.
    pub fn from_gguf(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        let source: Option<&str> = metadata.get("tokenizer.chat_template")?;
        Ok(source.map(|source| ChatTemplate::of(source, tokenizer)))
    }

    /// A template for a model with this tokenizer.
    pub fn of(source: &str, tokenizer: &Tokenizer) -> ChatTemplate {
        let [bos, eos] = spelled_ends(tokenizer);
        ChatTemplate::new(source, bos, eos)
    }

    /// A template with the texts of the tokens that begin and end a text.
    pub fn new(source: &str, bos: String, eos: String) -> ChatTemplate {
        let template = Template::parse(source);
        let marks_turns = template.as_ref().is_ok_and(Template::marks_turns);
        ChatTemplate { template, len: source.len(), marks_turns, bos, eos }
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant is to speak.
    ///
    /// Special tokens are spelled out in it, the one that begins a text among them: transformers encodes it with
    /// `parse_special` and without `add_special`.
    ///
    /// # Errors
    ///
    /// An input error if the template refuses the messages, or the variables are no JSON object; an unsupported error if the template
    /// does not parse or fails. Both name the line.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool, inputs: &ChatInputs) -> Result<String> {
        self.run(messages, add_generation_prompt, inputs, None)
    }

    /// Whether the template itself says what the assistant says.
    pub(super) fn marks_turns(&self) -> bool {
        self.marks_turns
    }

    /// [`render`](ChatTemplate::render) without a generation prompt, with the template's own marks.
    pub(super) fn render_marked(&self, messages: &[Message], inputs: &ChatInputs) -> Result<String> {
        self.run(messages, false, inputs, Some([OPENS, CLOSES]))
    }

    fn run(&self, messages: &[Message], asks: bool, inputs: &ChatInputs, marks: Option<[char; 2]>) -> Result<String> {
        let template = self.template.as_ref().map_err(error)?;
        let said = messages.iter().map(|message| {
            let [role, content] = [&message.role, &message.content].map(|text| Value::from(text.as_str()));
            Value::dict(vec![("role", role), ("content", content)])
        });
        let mut names = vec![
            ("messages".to_owned(), Value::list(said.collect())),
            ("add_generation_prompt".to_owned(), Value::from(asks)),
            ("tools".to_owned(), Value::None),
            ("documents".to_owned(), Value::None),
            ("bos_token".to_owned(), Value::from(self.bos.as_str())),
            ("eos_token".to_owned(), Value::from(self.eos.as_str())),
        ];
        names.extend(inputs.read()?);
        let limits = self.limits(messages, inputs);
        let now = inputs.now.unwrap_or_else(local_now);
        template.render(Given { names, now, marks, limits }).map_err(|fault| error(&fault))
    }

    /// What the template may take, by its own size and that of the conversation.
    fn limits(&self, messages: &[Message], inputs: &ChatInputs) -> Limits {
        let said = messages.iter().map(|message| message.role.len() + message.content.len()).sum::<usize>();
        let given = said + inputs.variables.as_ref().map_or(0, String::len);
        let n = messages.len();
        let each = PER_BYTE.saturating_mul(given).saturating_add(PER_MESSAGE * n * self.len);
        let pairs = PER_PAIR.saturating_mul(n).saturating_mul(n);
        Limits {
            steps: STEPS.saturating_add(each).saturating_add(pairs) as u64,
            bytes: BYTES.saturating_add(each),
        }
    }
}

/// The texts of the tokens that begin and end a text.
fn spelled_ends(tokenizer: &Tokenizer) -> [String; 2] {
    [tokenizer.bos(), tokenizer.eos()].map(|id| {
        let text = id.map_or(&[][..], |id| tokenizer.piece(id, true));
        String::from_utf8_lossy(text).into_owned()
    })
}

/// An input error where the template speaks for itself, else an unsupported error.
fn error(fault: &Fault) -> Error {
    let text = format!("chat template line {}: {}", fault.line.max(1), fault.text);
    if fault.refused { Error::input(text) } else { Error::unsupported(text) }
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
