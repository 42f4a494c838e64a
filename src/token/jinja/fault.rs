//! Why a template fails.

/// What a template's step gives, or why it fails.
pub(in super::super) type Outcome<T> = std::result::Result<T, Fault>;

/// Why a template fails, in Python's words where Python has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Fault {
    /// Whether the template itself refuses the messages, with `raise_exception`.
    pub(in super::super) refused: bool,
    /// What is wrong.
    pub(in super::super) text: String,
    /// The line of the template, from 1; 0 as long as nobody has noted it.
    pub(in super::super) line: usize,
}

impl Fault {
    fn new(kind: &str, text: impl AsRef<str>) -> Fault {
        Fault { refused: false, text: format!("{kind}{}", text.as_ref()), line: 0 }
    }

    /// The template's own word against its messages.
    pub(super) fn refusal(text: &str) -> Fault {
        Fault { refused: true, ..Fault::new("", text) }
    }

    /// The template does not parse.
    pub(super) fn syntax(text: impl AsRef<str>) -> Fault {
        Fault::new("syntax error: ", text)
    }

    /// Something undefined is used.
    pub(super) fn undefined(text: impl AsRef<str>) -> Fault {
        Fault::new("undefined value: ", text)
    }

    /// Python's `TypeError`.
    pub(super) fn of_type(text: impl AsRef<str>) -> Fault {
        Fault::new("TypeError: ", text)
    }

    /// Python's `ValueError`.
    pub(super) fn value(text: impl AsRef<str>) -> Fault {
        Fault::new("ValueError: ", text)
    }

    /// Another of Python's or Jinja's errors, with its name.
    pub(super) fn other(text: impl AsRef<str>) -> Fault {
        Fault::new("", text)
    }

    /// Something that Jinja has and webreft has not.
    pub(super) fn unsupported(text: impl AsRef<str>) -> Fault {
        Fault::new("unsupported: ", text)
    }

    /// The template takes more than it may.
    pub(super) fn limit(text: &str) -> Fault {
        Fault::new("", text)
    }

    /// Notes the line, unless an inner part has.
    pub(super) fn at(mut self, line: usize) -> Fault {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}
