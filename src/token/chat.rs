//! Chat templates: messages into the text a model was trained on.
//!
//! A template is a program in Jinja that came with the file: it is run with the settings of transformers' `apply_chat_template`, and
//! stopped when it runs too long or makes too much.

use serde::{Deserialize, Serialize};

use super::Tokenizer;
use super::date;
use super::jinja::{Fault, Given, Limits, Template, Value};
use super::turns::{CLOSES, OPENS};
use crate::clock::local_now;
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Steps that a template may take for nothing; a message takes some hundred.
const STEPS: usize = 5_000_000;
/// Bytes that a template may hold for nothing.
const BYTES: usize = 2 << 20;
/// Steps, and bytes held, for each byte of a conversation: a template looks at a message again and again.
const PER_BYTE: usize = 128;
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
    /// Names that the template sees, such as `tools`, `documents`, `date_string` or `enable_thinking`: JSON objects, in whose order
    /// templates write them. The last object that has a name counts.
    pub variables: Vec<String>,
}

/// Variables without which a conversation is another one.
const USED: [&str; 2] = ["tools", "documents"];

impl ChatInputs {
    /// A clock that shows this moment: local time in seconds since 1970.
    pub fn at(now: i64) -> ChatInputs {
        ChatInputs { now: Some(now), variables: Vec::new() }
    }

    /// The same with more variables: a JSON object as text.
    #[must_use]
    pub fn with(&self, variables: &str) -> ChatInputs {
        ChatInputs { now: self.now, variables: [&self.variables[..], &[variables.to_owned()]].concat() }
    }

    /// What `strftime_now` shows when the clock says `text`: `2025-07-04T12:30:00`, or a part of it from the front, a day at least.
    ///
    /// # Errors
    ///
    /// An input error for anything else.
    pub fn moment(text: &str) -> Result<i64> {
        date::moment(text).ok_or_else(|| {
            Error::input(format!(
                "now: expected a local date and time such as 2025-07-04T12:30:00, got {text:?}"
            ))
        })
    }

    /// The names and their values.
    fn read(&self) -> Result<Vec<(String, Value)>> {
        let read = |json: &String| {
            let pairs: Value = serde_json::from_str(json)
                .map_err(|e| Error::input(format!("template variables: expected a JSON object: {e}")))?;
            pairs.named().ok_or_else(|| {
                Error::input(format!("template variables: expected a JSON object, got {}", json.trim()))
            })
        };
        Ok(self.variables.iter().map(read).collect::<Result<Vec<_>>>()?.concat())
    }
}

/// How conversations are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatOptions {
    /// A template in the place of the model's own: its text, or the name of one: `chatml`, `llama3`, `gemma`, or `raw` for none.
    pub template: Option<String>,
    /// What every conversation's template is given besides the messages.
    pub inputs: ChatInputs,
}

impl ChatOptions {
    /// The template that is asked for; none for `raw`.
    ///
    /// # Errors
    ///
    /// An input error for a name that there is not.
    pub(crate) fn chosen(&self, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>> {
        let text = self.template.as_deref().unwrap_or(RAW);
        let named = NAMED.iter().find(|(name, _)| *name == text);
        match named {
            _ if text == RAW => Ok(None),
            Some((_, source)) => Ok(Some(ChatTemplate::of(source, tokenizer))),
            None if text.contains(['{', ' ', '\n']) => Ok(Some(ChatTemplate::of(text, tokenizer))),
            None => Err(Error::input(format!(
                "chatTemplate: expected the text of a template, or one of chatml, llama3, gemma and raw, got {text:?}"
            ))),
        }
    }
}

/// The name of no template: text stays as it is.
const RAW: &str = "raw";

/// Templates that many models share, by name.
const NAMED: [(&str, &str); 3] = [
    (
        "chatml",
        "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}\
         {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ),
    (
        "gemma",
        "{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}{% if message.role == 'system' %}\
         {% set ns.system = message.content | trim + '\n\n' %}{% else %}{% set role = 'model' if message.role == 'assistant' else message.role %}\
         {{ '<start_of_turn>' + role + '\n' + ns.system + message.content | trim + '<end_of_turn>\n' }}{% set ns.system = '' %}{% endif %}\
         {% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ),
];

/// The chat template of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    /// One that does not parse fails when it is to be rendered: a model is of use without one.
    template: std::result::Result<Template, Fault>,
    source: String,
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
        ChatTemplate { template, source: source.to_owned(), marks_turns, bos, eos }
    }

    /// The text of a conversation; with `add_generation_prompt` it ends where the assistant is to speak.
    ///
    /// Special tokens are spelled out in it, the one that begins a text among them: transformers encodes it with
    /// `parse_special` and without `add_special`.
    ///
    /// # Errors
    ///
    /// An input error if the template refuses the messages, or the variables are no JSON objects; an unsupported error if the template
    /// does not parse or fails. Both name the line.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        inputs: &ChatInputs,
    ) -> Result<String> {
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

    fn run(
        &self,
        messages: &[Message],
        asks: bool,
        inputs: &ChatInputs,
        marks: Option<[char; 2]>,
    ) -> Result<String> {
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

    /// Fails if the variables have tools or documents, but the template does not use them.
    ///
    /// # Errors
    ///
    /// An input error that names them, or for variables that are no JSON objects.
    pub fn check_used(&self, inputs: &ChatInputs) -> Result<()> {
        let given = inputs.read()?;
        let is_given = |name: &str| {
            let last = given.iter().rfind(|(given, _)| given == name);
            last.is_some_and(|(_, value)| value.is_true())
        };
        let unused = USED.into_iter().find(|name| is_given(name) && !self.source.contains(name));
        unused.map_or(Ok(()), |name| {
            Err(Error::input(format!(
                "{name}: the model's chat template does not use them; put them into a message, or choose a chatTemplate that does"
            )))
        })
    }

    /// What the template may take, by its own size and that of the conversation.
    fn limits(&self, messages: &[Message], inputs: &ChatInputs) -> Limits {
        let said = messages.iter().map(|message| message.role.len() + message.content.len()).sum::<usize>();
        let given = said + inputs.variables.iter().map(String::len).sum::<usize>();
        let n = messages.len();
        let each = PER_BYTE.saturating_mul(given).saturating_add(PER_MESSAGE * n * self.source.len());
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
    use super::{ChatInputs, ChatTemplate, Message};
    use crate::clock::local_now;
    use crate::error::{Error, ErrorKind};

    fn message(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    fn render(source: &str) -> Result<String, Error> {
        let template = ChatTemplate::new(source, "<s>".into(), "</s>".into());
        template.render(&[message("user", "hi"), message("assistant", " ho ")], true, &ChatInputs::at(0))
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
    fn the_clock_shows_local_time_unless_it_is_set() {
        let template =
            ChatTemplate::new("{{ strftime_now('%Y-%m-%dT%H:%M') }}", String::new(), String::new());
        let set = ChatInputs::at(ChatInputs::moment("2025-07-04T12:30").unwrap());
        assert_eq!(template.render(&[], false, &set).unwrap(), "2025-07-04T12:30");
        let shown =
            ChatInputs::moment(&template.render(&[], false, &ChatInputs::default()).unwrap()).unwrap();
        assert!((0..120).contains(&(local_now() - shown)), "{shown}");
        let error = ChatInputs::moment("today").unwrap_err().to_string();
        assert_eq!(error, "now: expected a local date and time such as 2025-07-04T12:30:00, got \"today\"");
    }

    #[test]
    fn a_template_sees_variables_in_their_order() {
        let source = "{{ tools | tojson }}{{ date_string is defined }}{{ enable_thinking }}";
        let template = ChatTemplate::new(source, String::new(), String::new());
        let given = |json: &str| ChatInputs::default().with(json);
        let inputs = given(r#"{"tools": [{"b": 1, "a": 2}], "enable_thinking": false}"#);
        assert_eq!(template.render(&[], false, &inputs).unwrap(), r#"[{"b": 1, "a": 2}]FalseFalse"#);
        let later = inputs.with(r#"{"tools": [], "date_string": "today"}"#);
        assert_eq!(template.render(&[], false, &later).unwrap(), "[]TrueFalse");
        let unused = |json: &str| template.check_used(&given(json)).err().map(|error| error.to_string());
        let error = unused(r#"{"tools": [1], "documents": [{"text": "a"}]}"#).unwrap();
        assert!(error.starts_with("documents: the model's chat template does not use them"), "{error}");
        assert_eq!(unused(r#"{"tools": [1], "documents": []}"#), None);
        let error = template.render(&[], false, &given("[1]")).unwrap_err();
        assert_eq!(error.to_string(), "template variables: expected a JSON object, got [1]");
        assert_eq!(error.kind(), ErrorKind::Input);
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
            (
                "a\n{{ messages.nothing() }}",
                "chat template line 2: undefined value: 'list object' has no attribute 'nothing'",
            ),
            ("{{ x.y.z }}", "chat template line 1: undefined value"),
            (
                "{{ strftime_now('%Q') }}",
                "chat template line 1: invalid operation: strftime_now: \"%Q\" is not",
            ),
            (
                "{{ {} | tojson(nope=true) }}",
                "chat template line 1: TypeError: tojson() got an unexpected keyword argument 'nope'",
            ),
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
            "{% set ns.x = [ns.x, ns.x] %}{% if i == 40 %}{{ ns.x }}{% endif %}",
            "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% if i == 40 %}{{ ns.x }}{% endif %}",
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
        assert!(
            failure("{{ 'a' * 'b' }}")
                .1
                .contains("TypeError: unsupported operand type(s) for *: 'str' and 'str'")
        );
        assert!(
            failure("{{ 'a' * 1.5 }}")
                .1
                .contains("TypeError: unsupported operand type(s) for *: 'str' and 'float'")
        );
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
            ("{{ [1, 2, 3][1:] }} {{ [1, 2, 3][::-1] }} {{ range(9)[2:4] }}", "[2, 3] [3, 2, 1] range(2, 4)"),
            ("{{ 'ab'[-9223372036854775808:9223372036854775807:9223372036854775807] }}", "a"),
        ];
        for (source, want) in cases {
            assert_eq!(render(source).as_deref(), Ok(want), "{source}");
        }
        assert!(failure("{{ 'a'[::0] }}").1.contains("ValueError: slice step cannot be zero"));
        assert!(failure("{{ 5[1:] }}").1.contains("TypeError: 'int' object is not subscriptable"));
    }

    #[test]
    fn a_long_conversation_is_no_reason_to_stop() {
        let source = "{% for m in messages %}{% if loop.index0 == messages | length - 1 %}last{% endif %}
{%- if m.role == 'user' and m == messages[-1] %}{{ m.content | trim }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}";
        let template = ChatTemplate::new(source, String::new(), String::new());
        let messages: Vec<Message> =
            (0..5000).map(|i| message("user", &format!("{i} ").repeat(50))).collect();
        assert!(template.render(&messages, true, &ChatInputs::default()).unwrap().ends_with("4999"));
    }
    /// What is looked at is all messages, for each of them; what is written is long.
    #[test]
    fn real_work_on_two_thousand_messages_is_no_reason_to_stop() {
        let long = "x".repeat(5000);
        let source = format!(
            "{{% set ns = namespace(all='') %}}{{% for m in messages %}}{{% for later in messages[loop.index:] %}}{{% if later.role == 'system' %}}{long}{{% endif %}}{{% endfor %}}{{% set ns.all = ns.all + m.content %}}{{{{ m.content }}}}{long}{{% endfor %}}{{{{ ns.all | length }}}}"
        );
        let template = ChatTemplate::new(&source, String::new(), String::new());
        let messages: Vec<Message> = (0..2000).map(|_| message("user", "hi")).collect();
        let text = template.render(&messages, true, &ChatInputs::default()).unwrap();
        assert!(text.ends_with("4000") && text.len() > 10_000_000);
    }

    #[test]
    fn a_template_may_be_chosen_by_its_name() {
        let said = [message("system", "Be brief."), message("user", "hi"), message("assistant", "ho")];
        let cases = [
            (
                "chatml",
                "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "llama3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nho<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            (
                "gemma",
                "<s><start_of_turn>user\nBe brief.\n\nhi<end_of_turn>\n<start_of_turn>model\nho<end_of_turn>\n<start_of_turn>model\n",
            ),
        ];
        for (name, want) in cases {
            let source = super::NAMED.iter().find(|(it, _)| *it == name).expect(name).1;
            let template = ChatTemplate::new(source, "<s>".into(), "</s>".into());
            assert_eq!(template.render(&said, true, &ChatInputs::default()).as_deref(), Ok(want), "{name}");
        }
    }
}
