//! Which tokens are edited: pyreft's little language `fN`, `lM`, `fN+lM`, and what it lacks: `all`, `prompt`, `generated`,
//! single tokens and ranges, counted from the prompt's start or with a minus sign from its end.

use crate::error::{Error, Result};
use std::fmt;
use std::ops::Range;

/// The tokens that interventions edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions {
    terms: Vec<Term>,
    /// The one of them that counts, where each has an intervention of its own.
    only: Option<usize>,
    /// Whether unused slots are filled up as pyreft fills them.
    pyreft: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Term {
    /// Every token, of the prompt and after it.
    All,
    /// Every token of the prompt.
    Prompt,
    /// Every token after the prompt.
    Generated,
    /// The first so many of the prompt, and no more than half of it.
    First(usize),
    /// The last so many of the prompt, and no more than half of it.
    Last(usize),
    /// One token of the prompt, counted from its end where negative.
    Single(isize),
    /// Tokens of the prompt as a slice in Python.
    Slice(Option<isize>, Option<isize>),
}

/// A row, and how often it counts in gradients.
pub type CountedRow = [u32; 2];

impl Positions {
    /// Reads `all`, `prompt`, `generated`, `f1`, `l2`, `3`, `-1`, `2:5`, `-3:`, or several of them joined by `+`. In front of
    /// `fN`, `lM` and `fN+lM` the word `pyreft:` asks for pyreft's own locations, unused slots and all.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn parse(text: &str) -> Result<Positions> {
        let (pyreft, list) = match text.strip_prefix("pyreft:") {
            Some(list) => (true, list),
            None => (false, text),
        };
        let terms: Option<Vec<Term>> = list.split('+').map(Term::parse).collect();
        let is_empty = |term: &Term| matches!(term, Term::First(0) | Term::Last(0)); // pyreft's f0+l1
        let terms = terms.map(|terms| terms.into_iter().filter(|term| !is_empty(term)).collect::<Vec<_>>());
        let ends = |terms: &[Term]| terms.iter().all(Term::is_end);
        match terms {
            Some(terms)
                if !terms.is_empty() && one_of_each_end(&terms, pyreft) && (!pyreft || ends(&terms)) =>
            {
                Ok(Positions { terms, only: None, pyreft })
            }
            _ => Err(Error::input(format!(
                "positions {text:?}: expected all, prompt, generated, fN, lM, a place like 3 or -1, a range like 2:5 or -3:, or several joined by +"
            ))),
        }
    }

    /// What interventions of their own edit: all of it where tied, else a part for each of the words joined by `+`.
    pub fn parts(&self, tied: bool) -> Vec<Positions> {
        match self.terms.len() {
            1 => vec![self.clone()],
            _ if tied => vec![self.clone()],
            n => (0..n).map(|only| Positions { only: Some(only), ..self.clone() }).collect(),
        }
    }

    /// The same part of other positions: where each word has an intervention of its own, the word that stands where its own does.
    ///
    /// # Errors
    /// As [`Positions::parse`], and `Input` unless they have as many words.
    pub fn part_of(&self, text: &str) -> Result<Positions> {
        let other = Positions::parse(text)?;
        let (expected, got) = (self.terms.len(), other.terms.len());
        match self.only {
            Some(_) if expected != got => Err(Error::input(format!(
                "positions {text:?}: expected {expected} words joined by +, as in {self}, got {got}"
            ))),
            only => Ok(Positions { only, ..other }),
        }
    }

    /// The edited rows of a sequence of `n_tokens`, the first `n_prompt` of which are the prompt.
    ///
    /// Neither `fN` nor `lM` takes more than half of the prompt, rounded down, as in pyreft; a prompt of one token is edited whole.
    /// Where each word has an intervention of its own, each edits all tokens that its word names, one intervention after the other, as in
    /// pyvene; only the one token of a prompt is not at both of its ends, and belongs to the first of them. One intervention edits a token
    /// once, however many words name it. There are no null slots: pyreft fills up with the token after the prompt what a short prompt
    /// leaves unused, and edits it.
    pub fn rows(&self, n_prompt: usize, n_tokens: usize) -> Vec<CountedRow> {
        if self.pyreft {
            return self.pyreft_rows(n_prompt, n_tokens);
        }
        if let Some(only) = self.only {
            let is_taken = self.is_taken(n_prompt);
            let rows = if is_taken { 0..0 } else { self.terms[only].rows(n_prompt, n_tokens) };
            return rows.map(|row| [row as u32, 1]).collect();
        }
        let mut taken = vec![false; n_tokens];
        let rows = self.terms.iter().flat_map(|term| term.rows(n_prompt, n_tokens));
        rows.filter(|row| !std::mem::replace(&mut taken[*row], true)).map(|row| [row as u32, 1]).collect()
    }

    /// Whether the one token of a prompt of one belongs to the other of its ends.
    pub(crate) fn is_taken(&self, n_prompt: usize) -> bool {
        let taken = |only: usize| self.terms[only].is_end() && self.terms[..only].iter().any(Term::is_end);
        n_prompt == 1 && !self.pyreft && self.only.is_some_and(taken)
    }

    /// pyreft's locations, counted: a slot that a short prompt leaves unused is the token after the prompt, where there is one.
    fn pyreft_rows(&self, n_prompt: usize, n_tokens: usize) -> Vec<CountedRow> {
        let count = |wanted: fn(&Term) -> Option<usize>| self.terms.iter().find_map(wanted).unwrap_or(0);
        let first = count(|term| if let Term::First(n) = term { Some(*n) } else { None });
        let last = count(|term| if let Term::Last(n) = term { Some(*n) } else { None });
        let slots = match self.only {
            None => pyreft_slots(n_prompt, [first, last], true, n_prompt as isize).remove(0),
            Some(only) => {
                let which = usize::from(matches!(self.terms[only], Term::Last(_)));
                let mut groups = pyreft_slots(n_prompt, [first, last], false, n_prompt as isize);
                groups.remove(which.min(groups.len() - 1))
            }
        };
        let mut rows: Vec<CountedRow> = Vec::new();
        for slot in slots.into_iter().map(|slot| slot as u32).filter(|slot| (*slot as usize) < n_tokens) {
            match rows.iter_mut().find(|[row, _]| *row == slot) {
                Some([_, count]) => *count += 1,
                None => rows.push([slot, 1]),
            }
        }
        rows
    }

    /// The word that counts, where each has an intervention of its own; else all of them.
    pub fn word(&self) -> String {
        self.only.map_or_else(|| self.to_string(), |only| self.terms[only].to_string())
    }

    /// Whether tokens after the prompt are edited.
    pub fn beyond_prompt(&self) -> bool {
        let counts = |(number, _): &(usize, &Term)| self.only.is_none_or(|only| only == *number);
        self.terms.iter().enumerate().filter(counts).any(|(_, term)| term.beyond_prompt())
    }
}

/// `pyreft.get_intervention_locations`: for `first` and `last` tokens of a prompt the slots of each group of interventions, one
/// group where they share weights or at most one end is edited; `null` stands in slots that are not used.
pub fn pyreft_slots(n_prompt: usize, [first, last]: [usize; 2], tied: bool, null: isize) -> Vec<Vec<isize>> {
    let (n_first, n_last) = (first.min(n_prompt / 2), last.min(n_prompt / 2));
    let nulls = |n: usize| std::iter::repeat_n(null, n);
    let head = 0..n_first as isize;
    let tail = (n_prompt - n_last) as isize..n_prompt as isize;
    if tied || n_first == 0 || n_last == 0 {
        return vec![head.chain(tail).chain(nulls(first - n_first + last - n_last)).collect()];
    }
    let most = first.max(last);
    vec![head.chain(nulls(most - n_first)).collect(), tail.chain(nulls(most - n_last)).collect()]
}

/// What stands in the places of virtual tokens: edits put learned rows there.
pub(crate) fn virtual_tokens(n: usize) -> impl Iterator<Item = u32> {
    std::iter::repeat_n(0, n)
}

/// The position of a sequence's row: the first rows may have none, and are not turned.
pub(crate) fn position(row: usize, n_unplaced: usize) -> u32 {
    if row < n_unplaced { 0 } else { row as u32 }
}

/// Whether no two words say how many tokens of the same end are meant, unless they say the same; pyreft's words say it once.
fn one_of_each_end(terms: &[Term], pyreft: bool) -> bool {
    let kind = std::mem::discriminant::<Term>;
    let contradicts = |term: &Term, before: &Term| kind(before) == kind(term) && (pyreft || before != term);
    let contradicted = |(i, term): (usize, &Term)| terms[..i].iter().any(|before| contradicts(term, before));
    !terms.iter().enumerate().filter(|(_, term)| term.is_end()).any(contradicted)
}

impl Term {
    fn parse(text: &str) -> Option<Term> {
        match text {
            "all" => return Some(Term::All),
            "prompt" => return Some(Term::Prompt),
            "generated" => return Some(Term::Generated),
            _ => {}
        }
        let count = || text.get(1..)?.parse().ok().filter(|n| *n <= 1 << 16);
        let end = |text: &str| match text {
            "" => Some(None),
            _ => text.parse().ok().map(Some),
        };
        match (text.chars().next()?, text.split_once(':')) {
            ('f', None) => count().map(Term::First),
            ('l', None) => count().map(Term::Last),
            (_, Some((from, to))) => Some(Term::Slice(end(from)?, end(to)?)),
            (_, None) => text.parse().ok().map(Term::Single),
        }
    }

    /// Whether it names so many tokens of one of the prompt's ends.
    fn is_end(&self) -> bool {
        matches!(self, Term::First(_) | Term::Last(_))
    }

    fn rows(self, n_prompt: usize, n_tokens: usize) -> Range<usize> {
        let half = (n_prompt / 2).max(1).min(n_prompt);
        // Where a number of Python's stands in the prompt.
        let from_start = |at: isize| {
            let at = if at < 0 { at + n_prompt as isize } else { at };
            at.clamp(0, n_prompt as isize) as usize
        };
        match self {
            Term::All => 0..n_tokens,
            Term::Prompt => 0..n_prompt,
            Term::Generated => n_prompt..n_tokens,
            Term::First(n) => 0..n.min(half),
            Term::Last(n) => n_prompt - n.min(half)..n_prompt,
            Term::Single(at) => {
                let at = if at < 0 { at + n_prompt as isize } else { at };
                let is_there = (0..n_prompt as isize).contains(&at);
                if is_there { at as usize..at as usize + 1 } else { 0..0 }
            }
            Term::Slice(from, to) => {
                let (from, to) = (from.map_or(0, from_start), to.map_or(n_prompt, from_start));
                from..to.max(from)
            }
        }
    }

    fn beyond_prompt(self) -> bool {
        matches!(self, Term::All | Term::Generated)
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pyreft {
            write!(f, "pyreft:")?;
        }
        for (number, term) in self.terms.iter().enumerate() {
            let plus = if number == 0 { "" } else { "+" };
            write!(f, "{plus}{term}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: &Option<isize>| end.map_or_else(String::new, |end| end.to_string());
        match self {
            Term::All => write!(f, "all"),
            Term::Prompt => write!(f, "prompt"),
            Term::Generated => write!(f, "generated"),
            Term::First(n) => write!(f, "f{n}"),
            Term::Last(n) => write!(f, "l{n}"),
            Term::Single(at) => write!(f, "{at}"),
            Term::Slice(from, to) => write!(f, "{}:{}", end(from), end(to)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, n_prompt: usize, n_tokens: usize) -> Vec<u32> {
        let rows = Positions::parse(text).unwrap().rows(n_prompt, n_tokens);
        rows.into_iter().map(|[row, _]| row).collect()
    }

    #[test]
    fn what_is_read_prints_again() {
        for text in [
            "all",
            "prompt",
            "generated",
            "f1",
            "l2",
            "f7+l7",
            "f1+l12",
            "3",
            "-1",
            "2:5",
            "-3:",
            "0+2+-1",
            "l1+l1+l1",
            "all+all",
            "pyreft:f3+l3",
        ] {
            assert_eq!(Positions::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "f",
            "f0",
            "x1",
            "f1+f2",
            "f1+",
            "l-1",
            "f1l1",
            "f99999999",
            "1:2:3",
            "--1",
            "pyreft:all",
            "pyreft:l1+l1",
        ] {
            assert!(Positions::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn neither_end_takes_more_than_half() {
        assert_eq!(rows("f3+l3", 10, 12), [0, 1, 2, 7, 8, 9]);
        assert_eq!(rows("f3+l3", 5, 9), [0, 1, 3, 4]);
        assert_eq!(rows("f3+l3", 1, 4), [0]);
        assert_eq!(rows("l1", 1, 4), [0]);
        let parts = Positions::parse("f3+l3").unwrap().parts(false);
        assert_eq!(parts.iter().map(|part| part.rows(5, 9).len()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(parts[1].rows(5, 9), [[3, 1], [4, 1]]);
        assert!(parts[1].rows(1, 4).is_empty());
    }

    #[test]
    fn words_places_and_ranges() {
        assert_eq!(rows("all", 2, 4), [0, 1, 2, 3]);
        assert_eq!(rows("prompt", 2, 4), [0, 1]);
        assert_eq!(rows("generated", 2, 4), [2, 3]);
        assert_eq!(rows("prompt+generated", 2, 4), [0, 1, 2, 3]);
        assert_eq!(rows("1", 3, 5), [1]);
        assert_eq!(rows("-1", 3, 5), [2]);
        assert_eq!(rows("7", 3, 9), [0; 0]);
        assert_eq!(rows("1:3", 4, 5), [1, 2]);
        assert_eq!(rows("-2:", 4, 5), [2, 3]);
        assert_eq!(rows(":-1+-1+0", 3, 5), [0, 1, 2]);
        assert_eq!(rows("3:1", 4, 5), [0; 0]);
    }

    #[test]
    fn interventions_of_their_own_share_tokens_and_a_tied_one_edits_each_once() {
        let positions = Positions::parse("2:5+all+3+l1").unwrap();
        let rows = |part: &Positions| part.rows(5, 6).into_iter().map(|[row, _]| row).collect::<Vec<_>>();
        let parts: Vec<Vec<u32>> = positions.parts(false).iter().map(rows).collect();
        assert_eq!(parts, [vec![2, 3, 4], vec![0, 1, 2, 3, 4, 5], vec![3], vec![4]]);
        assert_eq!(rows(&positions.parts(true)[0]), [2, 3, 4, 0, 1, 5]);
    }

    #[test]
    fn other_positions_are_parted_alike() {
        let parts = Positions::parse("f1+l2").unwrap().parts(false);
        assert_eq!(parts[1].part_of("0+2:4").unwrap().rows(6, 6), [[2, 1], [3, 1]]);
        assert!(parts[1].part_of("2:4").unwrap_err().to_string().contains("expected 2 words"));
        let tied = Positions::parse("f1+l2").unwrap().parts(true);
        assert_eq!(tied[0].part_of("1:4").unwrap().rows(6, 6).len(), 3);
    }

    #[test]
    fn pyreft_fills_up_with_the_token_after_the_prompt() {
        let positions = Positions::parse("pyreft:f3+l3").unwrap();
        assert_eq!(positions.rows(4, 8), [[0, 1], [1, 1], [2, 1], [3, 1], [4, 2]]);
        assert_eq!(positions.parts(false)[1].rows(4, 8), [[2, 1], [3, 1], [4, 1]]);
        assert_eq!(positions.parts(false)[1].rows(4, 4), [[2, 1], [3, 1]]);
    }

    #[test]
    fn only_words_for_it_go_beyond_the_prompt() {
        for (text, beyond) in
            [("all", true), ("generated", true), ("prompt", false), ("f1+l1", false), ("-1", false)]
        {
            assert_eq!(Positions::parse(text).unwrap().beyond_prompt(), beyond, "{text}");
        }
    }
}
