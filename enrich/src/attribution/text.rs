//! Which foreign text may become a name, and how the rest is shown without doing harm.

use std::borrow::Cow;

/// Longest name in characters: the longest value of request metadata.
const MAX_CHARS: usize = 256;

/// Tells whether a text may serve as a name: 1 to 256 characters, none of them invisible, not padded with spaces.
///
/// Invisible and direction-changing characters would let one agent look like another in every table that shows it.
pub(crate) fn is_plain(text: &str) -> bool {
    if text.is_empty() || text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    if is_printable_ascii(text) {
        return text.len() <= MAX_CHARS;
    }
    text.chars().count() <= MAX_CHARS && !text.chars().any(is_invisible)
}

/// Tells whether a text is of the common kind, in which nothing can be invisible.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Control, white space other than the plain space, zero-width, direction-changing and private-use tag characters.
fn is_invisible(c: char) -> bool {
    c != ' ' && (c.is_control() || c.is_whitespace())
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Writes invisible characters as `\u{…}`, so that a refused text can be kept and shown.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if is_printable_ascii(text) || !text.chars().any(is_invisible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_invisible(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_visible_and_bounded() {
        for good in ["a", "checkout-bot", "Übersetzer 2", "bot@example.com", &"x".repeat(256), &"ü".repeat(256)] {
            assert!(is_plain(good), "{good}");
        }
        let (long, wide) = ("x".repeat(257), "ü".repeat(257));
        for bad in
            ["", " a", "a ", "a\nb", "a\u{7f}", "a\u{85}", "\u{202e}tob", "a\u{200b}b", "a\u{a0}b", "a\u{2028}", "\u{feff}a", &long, &wide]
        {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }

    #[test]
    fn escapes_only_what_cannot_be_seen() {
        assert_eq!(escape("tob\u{202e}\n"), "tob\\u{202e}\\u{a}");
        assert!(matches!(escape("plain ü"), Cow::Borrowed("plain ü")));
    }
}
