//! Which tokens of a prompt are edited: pyreft's little language `fN`, `lM`, `fN+lM`, and `all`.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;

/// The tokens that interventions edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// Every token, of the prompt and after it.
    All,
    /// The first and the last tokens of the prompt.
    Ends {
        /// How many first ones.
        first: usize,
        /// How many last ones.
        last: usize,
    },
}

/// The part of the positions that one intervention edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// Those at the start of the prompt.
    First,
    /// Those at its end.
    Last,
}

impl Positions {
    /// Reads `f1`, `l2`, `f3+l3` or `all`.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn parse(text: &str) -> Result<Positions> {
        if text == "all" {
            return Ok(Positions::All);
        }
        let mut counts = [0usize; 2];
        for piece in text.split('+') {
            let side = ["f", "l"].iter().position(|side| piece.starts_with(side));
            let count =
                piece.get(1..).and_then(|digits| digits.parse().ok()).filter(|n| (1..=1 << 16).contains(n));
            match (side, count) {
                (Some(side), Some(count)) if counts[side] == 0 => counts[side] = count,
                _ => return Err(unknown(text)),
            }
        }
        Ok(Positions::Ends { first: counts[0], last: counts[1] })
    }

    /// The parts that interventions of their own edit: one, or two where both ends are edited and not tied.
    pub fn parts(self, tied: bool) -> &'static [Part] {
        match self {
            Positions::Ends { first, last } if first > 0 && last > 0 && !tied => &[Part::First, Part::Last],
            _ => &[Part::Whole],
        }
    }

    /// The edited rows of a sequence of `n_tokens`, the first `n_prompt` of which are the prompt.
    ///
    /// Neither end takes more than half of the prompt, rounded down, as in pyreft; a prompt of one token is edited whole.
    pub fn rows(self, part: Part, n_prompt: usize, n_tokens: usize) -> Vec<usize> {
        let Positions::Ends { first, last } = self else { return (0..n_tokens).collect() };
        let half = (n_prompt / 2).max(1).min(n_prompt);
        let first = 0..first.min(half);
        let last: Range<usize> = (n_prompt - last.min(half)).max(first.end).min(n_prompt)..n_prompt;
        match part {
            Part::First => first.collect(),
            Part::Last => last.collect(),
            Part::Whole => first.chain(last).collect(),
        }
    }

    /// Whether tokens after the prompt are edited too.
    pub fn beyond_prompt(self) -> bool {
        self == Positions::All
    }
}

fn unknown(text: &str) -> Error {
    Error::input(format!("positions {text:?}: expected all, fN, lM or fN+lM with N and M from 1 on"))
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Positions::All => write!(f, "all"),
            Positions::Ends { first, last: 0 } => write!(f, "f{first}"),
            Positions::Ends { first: 0, last } => write!(f, "l{last}"),
            Positions::Ends { first, last } => write!(f, "f{first}+l{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_prints_again() {
        for text in ["all", "f1", "l2", "f7+l7", "f1+l12"] {
            assert_eq!(Positions::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "f", "f0", "x1", "f1+f2", "f1+", "l-1", "f1l1", "f99999999"] {
            assert!(Positions::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn neither_end_takes_more_than_half() {
        let both = Positions::Ends { first: 3, last: 3 };
        assert_eq!(both.rows(Part::Whole, 10, 12), [0, 1, 2, 7, 8, 9]);
        assert_eq!(both.rows(Part::Whole, 5, 9), [0, 1, 3, 4]);
        assert_eq!(both.rows(Part::Last, 5, 9), [3, 4]);
        assert_eq!(both.rows(Part::Whole, 1, 4), [0]);
        assert_eq!(Positions::Ends { first: 0, last: 1 }.rows(Part::Whole, 1, 4), [0]);
        assert_eq!(Positions::All.rows(Part::Whole, 2, 4), [0, 1, 2, 3]);
    }
}
