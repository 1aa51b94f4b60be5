//! Forms of the query API, and the escapes of forms and of the documents in answers.

use std::fmt::Write;

/// Returns the form of a call of a query service; fields without a value are left out.
#[must_use]
pub fn form(name: &str, version: &str, fields: &[(&str, &str)]) -> String {
    let mut form = format!("Action={name}&Version={version}");
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        form.push('&');
        form.push_str(field);
        form.push('=');
        form.push_str(&escape(value));
    }
    form
}

/// Escapes everything but letters, digits and `-_.~` (RFC 3986).
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

/// Turns `%XX` into the bytes they stand for; `None` for an escape that is none.
#[must_use]
pub fn unescape(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Reads the fields of a form.
#[must_use]
pub fn fields(form: &str) -> Vec<(String, String)> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, value)| Some((unescape(name)?, unescape(&value.replace('+', "%20"))?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_there_and_back() {
        let form = form("GetRole", "2010-05-08", &[("RoleName", "a+b/é &="), ("Marker", "")]);
        assert_eq!(form, "Action=GetRole&Version=2010-05-08&RoleName=a%2Bb%2F%C3%A9%20%26%3D");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields(&form), [pair("Action", "GetRole"), pair("Version", "2010-05-08"), pair("RoleName", "a+b/é &=")]);
        assert_eq!(
            [unescape("%7B%22a%22%7d"), unescape("%4"), unescape("%zz"), unescape("%ff")],
            [Some("{\"a\"}".to_owned()), None, None, None]
        );
    }
}
