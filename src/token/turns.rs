//! Which part of a rendered conversation the assistant says: what a training on conversations labels.
//!
//! Templates with `{% generation %}` say it themselves. In others the assistant's messages are rendered once more with marks around
//! them, which must change nothing else; a turn begins where the template would have asked for it, if the text has that place, else
//! with the message. So it is also told where a template rewrites what was said earlier, as Qwen3's does with `<think>`, or never asks.

use std::ops::Range;

use super::{ChatInputs, ChatTemplate, Message};
use crate::error::{Error, Result};

/// Noncharacters: no text has them by right.
pub(super) const OPENS: char = '\u{fdd0}';
pub(super) const CLOSES: char = '\u{fdd1}';

const ASSISTANT: &str = "assistant";

/// A conversation as its template writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    /// The whole text, as [`ChatTemplate::render`] gives it without a generation prompt.
    pub text: String,
    /// The bytes of it that the assistant says, in order.
    pub spans: Vec<Range<usize>>,
    /// Whether a token right after a span that ends a generation is the assistant's too. Where the template marks its turns itself, it
    /// is where the mark is.
    pub with_end: bool,
    /// What of the assistant's messages the template leaves out, so that nothing is learned of it.
    pub dropped: Vec<String>,
}

/// Where marks stand in a text, once they are taken out.
struct Marked {
    text: String,
    opens: Vec<usize>,
    closes: Vec<usize>,
}

impl Marked {
    fn read(marked: &str) -> Marked {
        let mut it = Marked { text: String::with_capacity(marked.len()), opens: vec![], closes: vec![] };
        for c in marked.chars() {
            match c {
                OPENS => it.opens.push(it.text.len()),
                CLOSES => it.closes.push(it.text.len()),
                c => it.text.push(c),
            }
        }
        it
    }
}

impl ChatTemplate {
    /// The text of a conversation and what of it the assistant says.
    ///
    /// # Errors
    ///
    /// As [`ChatTemplate::render`]; an input error for messages that hold U+FDD0 or U+FDD1; an unsupported error where no turn of the
    /// assistant is in the text.
    pub fn turns(&self, messages: &[Message], inputs: &ChatInputs) -> Result<Turns> {
        if messages.iter().any(|message| message.content.contains([OPENS, CLOSES])) {
            return Err(Error::input("a message holds U+FDD0 or U+FDD1, which are no characters"));
        }
        let text = self.render(messages, false, inputs)?;
        if self.marks_turns() {
            let Marked { text, opens, closes } = Marked::read(&self.render_marked(messages, inputs)?);
            let spans = opens.into_iter().zip(closes).map(|(open, close)| open..close).collect();
            return Ok(Turns { text, spans, with_end: false, dropped: Vec::new() });
        }
        match self.spans(messages, &text, inputs) {
            Some(spans) => Ok(Turns { text, spans, with_end: true, dropped: Vec::new() }),
            None => self.sought(messages, text, inputs),
        }
    }

    /// Where every turn of the assistant is, if marks around it tell.
    fn spans(&self, messages: &[Message], text: &str, inputs: &ChatInputs) -> Option<Vec<Range<usize>>> {
        let marked = self.marked(messages, text, inputs)?;
        let mut spans: Vec<Range<usize>> = Vec::new();
        let turns = messages.iter().enumerate().filter(|(_, message)| message.role == ASSISTANT);
        for ((at, message), &close) in turns.zip(&marked.closes) {
            let after = spans.last().map_or(0, |span| span.end);
            let open = marked.opens.iter().copied().find(|open| (after..=close).contains(open));
            let asked = self.asked(&messages[..at], inputs);
            let asked = asked.and_then(|asked| {
                Some(after + text.get(after..open.unwrap_or(close))?.rfind(&asked)? + asked.len())
            });
            let start = asked.or(open)?;
            let space = &message.content[message.content.trim_end().len()..];
            let end = if text[close..].starts_with(space) { close + space.len() } else { close };
            spans.push(start..end);
        }
        Some(spans)
    }

    /// Marks at both ends of what the assistant says or, where the template looks at how it begins, at its end. None if the template
    /// does something else with marks than without, or fails.
    fn marked(&self, messages: &[Message], text: &str, inputs: &ChatInputs) -> Option<Marked> {
        let n_turns = messages.iter().filter(|message| message.role == ASSISTANT).count();
        [OPENS.to_string(), String::new()].into_iter().find_map(|open| {
            let with_marks: Vec<Message> =
                messages.iter().map(|message| with_marks(message, &open)).collect();
            let marked = Marked::read(&self.render(&with_marks, false, inputs).ok()?);
            (marked.text == text && marked.closes.len() == n_turns).then_some(marked)
        })
    }

    /// Seeks each turn in the text by its words, where marks do not tell: whole, or without what is thought before it.
    fn sought(&self, messages: &[Message], text: String, inputs: &ChatInputs) -> Result<Turns> {
        let (mut spans, mut dropped) = (Vec::new(), Vec::new());
        let mut after = 0;
        for (at, message) in messages.iter().enumerate() {
            let whole = message.content.trim();
            let answer = whole.rsplit("</think>").next().unwrap_or(whole).trim();
            let asked = self.asked(&messages[..at], inputs).filter(|_| message.role == ASSISTANT);
            let from = asked.and_then(|asked| Some(after + text[after..].find(&asked)? + asked.len()));
            let from = from.unwrap_or(after);
            let found = [whole, answer].into_iter().filter(|words| !words.is_empty()).find_map(|words| {
                let start = from + text[from..].find(words)?;
                Some((start..start + words.len(), words))
            });
            let is_turn = message.role == ASSISTANT;
            match found {
                Some((span, words)) => {
                    if is_turn && words != whole {
                        dropped.push(left_out(at, "what it says up to </think>"));
                    }
                    after = span.end;
                    if is_turn {
                        spans.push(span);
                    }
                }
                None if is_turn => dropped.push(left_out(at, "all of it")),
                None => {}
            }
        }
        if spans.is_empty() && !dropped.is_empty() {
            let first = messages.iter().position(|message| message.role == ASSISTANT);
            return Err(unclear(first.unwrap_or_default()));
        }
        Ok(Turns { text, spans, with_end: true, dropped })
    }

    /// What the template writes to ask for the assistant's next turn, if it does.
    fn asked(&self, before: &[Message], inputs: &ChatInputs) -> Option<String> {
        let [asking, silent] = [true, false].map(|asks| self.render(before, asks, inputs).ok());
        let asked = asking?.strip_prefix(&silent?)?.to_owned();
        Some(asked).filter(|asked| !asked.is_empty())
    }
}

/// White space stays outside of the marks, for templates that trim.
fn with_marks(message: &Message, open: &str) -> Message {
    if message.role != ASSISTANT {
        return message.clone();
    }
    let content = &message.content;
    let core = content.trim();
    let start = content.len() - content.trim_start().len();
    let (before, after) = (&content[..start], &content[start + core.len()..]);
    Message { role: message.role.clone(), content: format!("{before}{open}{core}{CLOSES}{after}") }
}

fn left_out(at: usize, what: &str) -> String {
    format!("message {}: the chat template leaves out {what}; it is not learned", at + 1)
}

fn unclear(at: usize) -> Error {
    let number = at + 1;
    Error::unsupported(format!(
        "chat template: what the assistant says in message {number} cannot be told from the rest of the text"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{ChatInputs, ChatTemplate, Message};
    use crate::error::ErrorKind;

    fn messages() -> Vec<Message> {
        let said =
            [("user", "hi"), ("assistant", " ho\n"), ("user", "so"), ("assistant", "<think>a</think>b")];
        said.map(|(role, content)| Message { role: role.into(), content: content.into() }).into()
    }

    fn turns(source: &str) -> Result<Vec<String>, crate::error::Error> {
        let template = ChatTemplate::new(source, "<s>".into(), "</s>".into());
        let turns = template.turns(&messages(), &ChatInputs::default())?;
        assert_eq!(turns.text, template.render(&messages(), false, &ChatInputs::default())?);
        Ok(turns.spans.into_iter().map(|span| turns.text[span].to_owned()).collect())
    }

    #[test]
    fn what_a_template_marks_is_what_it_says() {
        let source = "{% for m in messages %}{% if m.role == 'assistant' %}\n[{% generation %}\n{{ m.content }}!{% endgeneration %}\n]{% else %}{{ m.content }}{% endif %}{% endfor %}";
        assert_eq!(turns(source).unwrap(), [" ho\n!", "<think>a</think>b!"]);
    }

    #[test]
    fn a_turn_begins_where_it_is_asked_for_and_ends_with_what_is_said() {
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        assert_eq!(turns(source).unwrap(), [" ho\n", "<think>a</think>b"]);
    }

    #[test]
    fn a_template_may_trim_and_rewrite() {
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1] | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
        assert_eq!(turns(source).unwrap(), ["ho", "b"]);
        let silent = "{% for m in messages %}({{ m.content | trim }}){% endfor %}";
        assert_eq!(turns(silent).unwrap(), ["ho", "<think>a</think>b"]);
    }

    #[test]
    fn what_a_template_leaves_out_is_told() {
        let both = "message 4: the chat template leaves out all of it; it is not learned";
        let thought =
            "message 4: the chat template leaves out what it says up to </think>; it is not learned";
        for (source, said, dropped) in [
            (
                "{% for m in messages %}({{ m.content.split('</think>')[-1] }}){% endfor %}",
                vec!["ho", "b"],
                vec![thought],
            ),
            (
                "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
                vec!["ho", "<think>a</think>b"],
                vec![],
            ),
            ("{{ messages[0].content }}{{ messages[1].content }}", vec!["ho"], vec![both]),
        ] {
            let template = ChatTemplate::new(source, String::new(), String::new());
            let turns = template.turns(&messages(), &ChatInputs::default()).unwrap();
            let spans: Vec<&str> = turns.spans.iter().map(|span| &turns.text[span.clone()]).collect();
            assert_eq!(
                (spans, turns.dropped),
                (said, dropped.into_iter().map(str::to_owned).collect()),
                "{source}"
            );
        }
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for source in
            ["{% for m in messages %}{{ m.content | length }}{% endfor %}", "{{ messages[0].content }}"]
        {
            let error = turns(source).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{source}: {error}");
        }
        let template = ChatTemplate::new("{{ messages[0].content }}", String::new(), String::new());
        let message = Message { role: "user".into(), content: "\u{fdd0}".into() };
        let error = template.turns(&[message], &ChatInputs::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
