//! What request metadata claims: the caller's own words, so none of it is believed before it is checked.
//!
//! Source of the shape: AWS, "Request metadata": at most 16 pairs of text, keys and values of at most 256 characters.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::text::{escape, is_plain};
use crate::config::MetadataKeys;

/// A claim under one of the configured keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Which of the configured keys it stood under.
    pub(crate) key: usize,
    /// The claim; escaped if it cannot be a name.
    pub(crate) text: Box<str>,
    /// Whether it can be a name: text, visible, of bounded length.
    pub(crate) valid: bool,
}

/// The `requestMetadata` object of a call, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) agent: Option<Claim>,
    pub(crate) session: Option<Claim>,
    pub(crate) team: Option<Claim>,
    /// Pairs that are no claim, sorted by key, invisible characters escaped.
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
    /// Not an object of distinct keys: nothing in it can be told.
    pub(crate) malformed: bool,
}

impl Claims {
    /// Reads the JSON text of a metadata object; the empty text is an absent one.
    pub(crate) fn parse(json: &str, keys: &MetadataKeys) -> Self {
        if json.is_empty() {
            return Self::default();
        }
        let Some(mut pairs) = read_pairs(json) else {
            return Self { malformed: true, ..Self::default() };
        };
        let agent = take(&mut pairs, &keys.agent);
        let session = take(&mut pairs, &keys.session);
        let team = take(&mut pairs, &keys.team);
        let shown = |text: &str| Box::from(&*escape(text));
        let mut tags: Vec<(Box<str>, Box<str>)> = pairs.iter().map(|(key, value)| (shown(key), shown(&display(value)))).collect();
        tags.sort_unstable();
        // Two keys may look alike once escaped; a map has each once.
        tags.dedup_by(|(next, _), (kept, _)| next == kept);
        Self { agent, session, team, tags, malformed: false }
    }
}

/// Returns the pairs in order, or `None` for another kind of JSON or a key that occurs twice.
fn read_pairs(json: &str) -> Option<Vec<(String, Value)>> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let pairs = reader.deserialize_any(Pairs).ok()?;
    reader.end().ok()?;
    Some(pairs)
}

/// Takes out the pair of the first configured key that has a value.
fn take(pairs: &mut Vec<(String, Value)>, keys: &[String]) -> Option<Claim> {
    keys.iter().enumerate().find_map(|(key, name)| {
        let at = pairs.iter().position(|(found, value)| found == name && *value != Value::Null && *value != "")?;
        let (_, value) = pairs.swap_remove(at);
        let valid = value.as_str().is_some_and(is_plain);
        Some(Claim { key, text: Box::from(&*escape(&display(&value))), valid })
    })
}

/// Returns a text as it is and anything else as JSON.
fn display(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs: Self::Value = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            pairs.push((key, value));
        }
        let mut keys: Vec<_> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|two| two[0] == two[1]) {
            return Err(A::Error::custom("a key occurs twice"));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(json: &str) -> Claims {
        Claims::parse(json, &MetadataKeys::default())
    }

    fn claim(key: usize, text: &str, valid: bool) -> Option<Claim> {
        Some(Claim { key, text: text.into(), valid })
    }

    #[test]
    fn first_configured_key_with_a_value_is_the_claim() {
        let claims = parse(r#"{"zone":"b","agent":"second","agent_id":"first","sessionId":"s1","team":"pay","app":"x"}"#);
        assert_eq!(claims.agent, claim(0, "first", true));
        assert_eq!(claims.session, claim(2, "s1", true));
        assert_eq!(claims.team, claim(0, "pay", true));
        let tags: Vec<_> = claims.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        assert_eq!(tags, [("agent", "second"), ("app", "x"), ("zone", "b")]);
        assert_eq!(parse(r#"{"agent_id":"","agent":"a"}"#).agent, claim(1, "a", true));
        assert_eq!(parse(r#"{"agent_id":null}"#).agent, None);
    }

    #[test]
    fn what_cannot_be_a_name_is_kept_but_not_believed() {
        assert_eq!(parse("{\"agent_id\":\"\u{202e}tob\"}").agent, claim(0, "\\u{202e}tob", false));
        assert_eq!(parse(r#"{"agent_id":7}"#).agent, claim(0, "7", false));
        assert_eq!(parse(r#"{"agent_id":{"a":1}}"#).agent, claim(0, r#"{"a":1}"#, false));
        assert!(parse(&format!(r#"{{"agent_id":"{}"}}"#, "x".repeat(257))).agent.is_some_and(|claim| !claim.valid));
        let tags = parse(r#"{"a\u0007":"b\n"}"#).tags;
        assert_eq!(tags, [("a\\u{7}".into(), "b\\u{a}".into())]);
    }

    #[test]
    fn what_is_not_an_object_of_distinct_keys_claims_nothing() {
        for json in ["[]", "7", "\"agent\"", "{", "{} {}", r#"{"agent_id":"a","agent_id":"b"}"#, r#"{"agent_id":"a"}x"#] {
            assert_eq!(parse(json), Claims { malformed: true, ..Claims::default() }, "{json}");
        }
        for json in ["", "null", "{}", " { } "] {
            assert_eq!(parse(json), Claims::default(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(json in any::<String>(), pieces in "(\\{|\\}|\"|:|,|agent_id|null|7|\\\\u202e|\\[)*") {
            let _ = parse(&json);
            let _ = parse(&pieces);
        }
    }
}
