//! Text from tokens as they come, never half a character.

/// Bytes on their way to text: a character may be spread over several tokens.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    /// The begin of a character; at most 3 bytes between calls.
    held: Vec<u8>,
}

impl TextStream {
    /// The text that is complete with this piece; an incomplete character at its end is held back. Bytes that can be no
    /// UTF-8 become `U+FFFD`.
    pub fn push(&mut self, piece: &[u8]) -> String {
        self.held.extend(piece);
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                }
                Err(e) => {
                    let (valid, after) = rest.split_at(e.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    if let Some(n) = e.error_len() {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &after[n..];
                        continue;
                    }
                }
            }
            break;
        }
        self.held.drain(..self.held.len() - rest.len());
        text
    }

    /// What is still held back, as `U+FFFD`: the tokens ended within a character.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::TextStream;

    #[test]
    fn a_character_comes_with_its_last_byte() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"a\xf0\x9f"), "a");
        assert_eq!(stream.push(b"\x98"), "");
        assert_eq!(stream.push(b"\x80!"), "😀!");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn what_can_be_no_character_is_replaced_at_once() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"\xff\xe2\x82a\xe2"), "\u{fffd}\u{fffd}a");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn pieces_give_the_text_of_the_whole(pieces: Vec<Vec<u8>>, text in any::<String>(), cut in 0_usize..9) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).chain(text.as_bytes().chunks(cut + 1)).collect();
            let mut stream = TextStream::default();
            let mut got: String = pieces.iter().map(|piece| stream.push(piece)).collect();
            got += &stream.finish();
            let whole = pieces.concat();
            prop_assert_eq!(got, String::from_utf8_lossy(&whole));
        }
    }
}
