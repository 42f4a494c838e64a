//! Conversations written as one text, as Anthropic's hh-rlhf has them: `\n\nHuman: …\n\nAssistant: …`.

use crate::token::Message;

/// What begins a turn, and who speaks in it.
const TURNS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// The turns of a transcript, or none for another text.
pub(super) fn read(text: &str) -> Option<Vec<Message>> {
    let text = format!("\n\n{}", text.trim_start());
    let mut starts: Vec<(usize, usize, &str)> = Vec::new();
    for (mark, role) in TURNS {
        starts.extend(text.match_indices(mark).map(|(at, _)| (at, at + mark.len(), role)));
    }
    starts.sort_unstable();
    if starts.first().is_none_or(|(at, ..)| *at > 0) {
        return None;
    }
    let ends = starts.iter().skip(1).map(|(at, ..)| *at).chain([text.len()]);
    let turn = |((_, start, role), end): (&(usize, usize, &str), usize)| Message {
        role: (*role).to_owned(),
        content: text[*start..end].trim().to_owned(),
    };
    Some(starts.iter().zip(ends).map(turn).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_found_and_other_texts_are_not_transcripts() {
        let turns = |text: &str| read(text).map(|turns| turns.into_iter().map(|it| (it.role, it.content)));
        let all: Vec<_> =
            turns("\n\nHuman: Hi\n\nthere\n\nAssistant: Ho Human: x\n\nHuman: ").unwrap().collect();
        let turn = |role: &str, content: &str| (role.to_owned(), content.to_owned());
        assert_eq!(all, [turn("user", "Hi\n\nthere"), turn("assistant", "Ho Human: x"), turn("user", "")]);
        assert!(turns("Human: Hi").is_some());
        for text in ["", "Hi", "Hi\n\nHuman: Ho", "human: Hi"] {
            assert!(turns(text).is_none(), "{text}");
        }
    }
}
