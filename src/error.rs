//! The one error: what went wrong, and what the caller can do about it.
//!
//! A text names thing, expected, got and where, in lower case and without a full stop:
//! `tensor "blk.3.ffn_up.weight": format IQ2_XS is not supported (supported: F32, F16, BF16, Q8_0, Q4_0)`.

use std::fmt;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is damaged, cut off, or not what it should be: get another file.
    File,
    /// The file is sound, but webreft does not do this: another model, or another browser.
    Unsupported,
    /// The GPU is missing, lost or out of memory: reload, or a smaller model.
    Device,
    /// The call asks for something that cannot be: fix the call.
    Input,
    /// The caller's signal ended the call; nothing is wrong.
    Aborted,
}

impl ErrorKind {
    /// The word for this kind, the same in Rust's output and in JavaScript's `error.kind`.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::File => "file",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Device => "device",
            ErrorKind::Input => "input",
            ErrorKind::Aborted => "aborted",
        }
    }
}

/// A failure of the world outside: a file, a device, or a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    retryable: bool,
}

/// Shorthand for results with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), retryable: false }
    }

    /// A damaged or wrong file.
    pub fn file(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::File, message)
    }

    /// Something sound that webreft does not do.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unsupported, message)
    }

    /// A GPU that is missing, lost or full.
    pub fn device(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Device, message)
    }

    /// A call that asks for something that cannot be.
    pub fn input(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Input, message)
    }

    /// A call that its caller ended.
    pub fn aborted(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Aborted, message)
    }

    /// A call with a name that is none of those there are.
    pub(crate) fn not_known<T: AsRef<str>>(
        what: &str,
        got: &str,
        known: impl IntoIterator<Item = T>,
    ) -> Error {
        let known: Vec<T> = known.into_iter().collect();
        let known = known.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
        Error::input(format!("{what} {got:?} is not known (known: {known})"))
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether its source has said that the same call can succeed when it is made again: a network that failed.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The same error, which passes.
    #[must_use]
    pub fn retryable(mut self) -> Error {
        self.retryable = true;
        self
    }

    /// The same error with its place put in front: `where: what`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

/// What is found wrong with one thing, so that one error tells all of it.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    told: Vec<Error>,
    /// Those beyond [`Faults::MOST`].
    untold: usize,
}

impl Faults {
    /// Told at most: nobody reads more, and a file must not decide how long a text becomes.
    const MOST: usize = 1000;

    /// What a result holds; where it is an error, none, and the error is noted.
    pub(crate) fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// One more.
    pub(crate) fn add(&mut self, error: Error) {
        match self.told.len() < Faults::MOST {
            true => self.told.push(error),
            false => self.untold += 1,
        }
    }

    /// Fails with everything noted, each after a semicolon. A file that is damaged besides being unsupported is damaged;
    /// what is noted can pass if all of it can.
    pub(crate) fn check(self) -> Result<()> {
        let Some(first) = self.told.first() else { return Ok(()) };
        let grave = [ErrorKind::File, ErrorKind::Unsupported];
        let grave = grave.into_iter().find(|kind| self.told.iter().any(|error| error.kind == *kind));
        let messages: Vec<&str> = self.told.iter().map(|error| error.message.as_str()).collect();
        let mut message = messages.join("; ");
        if self.untold > 0 {
            message += &format!("; and {} more", self.untold);
        }
        let retryable = self.told.iter().all(|error| error.retryable);
        Err(Error { kind: grave.unwrap_or(first.kind), message, retryable })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind, Faults};

    fn told(errors: impl IntoIterator<Item = Error>) -> Error {
        let mut faults = Faults::default();
        errors.into_iter().for_each(|error| faults.add(error));
        faults.check().unwrap_err()
    }

    #[test]
    fn the_gravest_kind_is_that_of_all() {
        let error = told([Error::input("a"), Error::unsupported("b"), Error::file("c")]);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::File, "a; b; c"));
        assert_eq!(told([Error::input("a"), Error::unsupported("b")]).kind(), ErrorKind::Unsupported);
        assert_eq!(told([Error::input("a")]).kind(), ErrorKind::Input);
        assert!(Faults::default().check().is_ok());
    }

    #[test]
    fn what_can_pass_stays_so_with_its_place_and_with_others_like_it() {
        let network = || Error::file("dropped").retryable();
        assert!(network().at("model.gguf").is_retryable());
        assert!(told([network(), network()]).is_retryable());
        assert!(!told([network(), Error::file("damaged")]).is_retryable());
    }

    #[test]
    fn no_file_makes_a_text_without_end() {
        let error = told((0..100_000).map(|_| Error::file("x"))).to_string();
        assert!(error.len() < 4000 && error.ends_with("; x; and 99000 more"), "{}", error.len());
    }
}
