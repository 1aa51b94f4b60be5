//! Foreign text on its way to a terminal. Names, ids and errors hold what callers wrote: a session name must not be able to clear the
//! screen, to reorder a line, or to look like another one. This is the only place that decides which characters are shown as they are.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar;

/// Returns a text on one line: every character that could move the cursor, reorder or hide text is written as `\u{…}`, line ends and
/// tabs as `\n`, `\r`, `\t`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    escaped(text, |_, _| false, in_words)
}

/// As [`escape`], for a text of several lines that was put together here: line ends and tabs stay.
#[must_use]
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |char, next| matches!(char, '\n' | '\t') || (char == '\r' && next == Some('\n')), in_words)
}

/// As [`escape_lines`], for a JSON text: it stays JSON and means the same.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    // Outside of its strings JSON has none of these characters but white space.
    escaped(
        json,
        |char, _| matches!(char, '\n' | '\t' | '\r'),
        |char, out| {
            for unit in char.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        },
    )
}

fn escaped(text: &str, stays: impl Fn(char, Option<char>) -> bool, write: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if is_plain(char) || stays(char, chars.peek().copied()) {
            out.push(char);
        } else {
            write(char, &mut out);
        }
    }
    Cow::Owned(out)
}

fn in_words(char: char, out: &mut String) {
    match char {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        char => out.extend(char.escape_unicode()),
    }
}

/// Control characters, every character without a width (joiners, marks, bidi controls, tags) and odd spaces are not plain.
fn is_plain(char: char) -> bool {
    matches!(char, ' '..='~') || (!char.is_control() && !char.is_whitespace() && char.width().unwrap_or(0) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_drives_a_terminal_is_written_out() {
        assert_eq!(escape("a\u{1b}[2J\u{202e}b\u{200b}\u{9b}\n\u{e0041}"), r"a\u{1b}[2J\u{202e}b\u{200b}\u{9b}\n\u{e0041}");
        assert_eq!(escape("Größe 東京"), "Größe 東京");
        assert_eq!(escape_lines("a\r\n\tb\rc\u{1b}"), "a\r\n\tb\\rc\\u{1b}");
        assert_eq!(escape_json("{\"a\":\"\u{9b}\u{e0041}é\"}\n"), "{\"a\":\"\\u009b\\udb40\\udc41é\"}\n");
    }

    proptest! {
        #[test]
        fn nothing_foreign_is_left(text in ".*") {
            prop_assert!(escape(&text).chars().all(is_plain));
            let once = escape(&text);
            prop_assert_eq!(escape(&once), once.as_ref());
            let json = serde_json::Value::from(text.as_str()).to_string();
            let shown = escape_json(&json);
            prop_assert!(shown.chars().all(is_plain));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
