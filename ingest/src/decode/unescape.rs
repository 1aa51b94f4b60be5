//! Turns the escapes of a JSON string into the bytes they stand for.

use wide::u8x16;

use super::fault::Fault;

/// Appends the bytes that the string `raw` stands for; `raw` has no unescaped quote.
///
/// # Errors
/// [`Fault::Text`] for an escape that does not exist, or half of a surrogate pair.
pub(super) fn unescape(mut raw: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    loop {
        raw = copy_plain(raw, out);
        let Some((&backslash, rest)) = raw.split_first() else {
            return Ok(());
        };
        debug_assert_eq!(backslash, b'\\');
        let (&kind, rest) = rest.split_first().ok_or(Fault::Text)?;
        raw = rest;
        out.push(match kind {
            b'"' | b'\\' | b'/' => kind,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'u' => {
                raw = unicode(raw, out)?;
                continue;
            }
            _ => return Err(Fault::Text),
        });
    }
}

/// Appends the bytes up to the next backslash; returns the rest. Quoted JSON has an escape every few bytes, so a block of
/// fixed size is appended whole and what is past the backslash taken back.
fn copy_plain<'a>(mut raw: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    while let Some((block, rest)) = raw.split_first_chunk::<16>() {
        let length = out.len();
        out.extend_from_slice(block);
        let escapes = u8x16::new(*block).simd_eq(u8x16::splat(b'\\')).to_bitmask();
        if escapes != 0 {
            let plain = escapes.trailing_zeros() as usize;
            out.truncate(length + plain);
            return &raw[plain..];
        }
        raw = rest;
    }
    let plain = raw.iter().position(|&byte| byte == b'\\').unwrap_or(raw.len());
    out.extend_from_slice(&raw[..plain]);
    &raw[plain..]
}

/// Appends the character of a `\u` escape, or of the two that make a surrogate pair; returns what follows it.
fn unicode<'a>(raw: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Fault> {
    let (unit, mut rest) = hex(raw)?;
    let mut code = unit;
    if (0xd800..0xdc00).contains(&unit) {
        let (low, after) = hex(rest.strip_prefix(b"\\u").ok_or(Fault::Text)?)?;
        if !(0xdc00..0xe000).contains(&low) {
            return Err(Fault::Text);
        }
        code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        rest = after;
    }
    let character = char::from_u32(code).ok_or(Fault::Text)?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

/// Reads four hexadecimal digits.
fn hex(raw: &[u8]) -> Result<(u32, &[u8]), Fault> {
    let (digits, rest) = raw.split_first_chunk::<4>().ok_or(Fault::Text)?;
    let mut value = 0;
    for &digit in digits {
        value = value << 4 | char::from(digit).to_digit(16).ok_or(Fault::Text)?;
    }
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn agree(raw: &str) {
        let mut ours = Vec::new();
        let ours = unescape(raw.as_bytes(), &mut ours).map(|()| ours);
        let theirs = serde_json::from_str::<String>(&format!("\"{raw}\""));
        assert_eq!(ours.ok(), theirs.ok().map(String::into_bytes), "{raw}");
    }

    #[test]
    fn every_escape_and_every_half_pair() {
        for raw in [
            r#"\"\\\/\b\f\n\r\t"#,
            r"\u0041\u00e9\u20AC\ud83d\uDE00",
            r"\ud83d",
            r"\ud83dx",
            r"\ud83d\u0041",
            r"\ude00",
            r"\u00",
            r"\u00g0",
            r"\x41",
            r"\u+041",
            "é\\n€",
        ] {
            agree(raw);
        }
        assert_eq!(unescape(b"a\\", &mut Vec::new()), Err(Fault::Text));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(raw in r#"([a-z é😀]|\\[nrtbf/u"]|\\\\|\\u[0-9a-fA-F]{4}|\\ud8[0-9]{2}\\udc[0-9]{2}){0,12}"#) {
            agree(&raw);
        }
    }
}
