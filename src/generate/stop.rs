//! Stop strings in a stream of text: found wherever they begin, and never shown in part.

/// Text on its way to the caller, held back where it may be the beginning of a stop string.
pub(super) struct StopFilter {
    stops: Vec<String>,
    held: String,
}

impl StopFilter {
    pub(super) fn new(stops: &[String]) -> StopFilter {
        StopFilter {
            stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            held: String::new(),
        }
    }

    /// The text that can be shown now, and whether a stop string ended it.
    pub(super) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let safe = self.held.len() - self.longest_beginning();
        let rest = self.held.split_off(safe);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is still held back: no stop string came of it.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of what is held that a stop string begins with.
    fn longest_beginning(&self) -> usize {
        let ends = self.held.char_indices().map(|(at, _)| at);
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        ends.into_iter().find(begins).map_or(0, |at| self.held.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use super::StopFilter;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut filter = StopFilter::new(&stops);
        let mut shown = String::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            shown += &text;
            if stopped {
                return (shown, true);
            }
        }
        (shown + &filter.finish(), false)
    }

    #[test]
    fn a_stop_string_ends_the_text_before_it() {
        assert_eq!(run(&["END"], &["to be E", "N", "D of it"]), ("to be ".to_owned(), true));
        assert_eq!(run(&["\n\n", "."], &["a\nb. c"]), ("a\nb".to_owned(), true));
    }

    #[test]
    fn a_beginning_that_comes_to_nothing_is_shown() {
        assert_eq!(run(&["END"], &["E", "NE", "N"]), ("ENEN".to_owned(), false));
        assert_eq!(run(&["é!"], &["é", "?"]), ("é?".to_owned(), false));
    }
}
