//! What request metadata claims: the caller's own words, so none of it is believed before it is checked.
//!
//! Source of the shape: AWS, "Request metadata": at most 16 pairs of text, keys and values of at most 256 characters.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use sluice_schemas::{StringTable, Sym};

use super::text::{escape, is_plain};
use crate::config::MetadataKeys;

/// A claim under one of the configured keys; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The claim; escaped if it cannot be a name. Empty if there is none.
    pub(crate) text: Sym,
    /// `metadata:<key>`.
    pub(crate) evidence: Sym,
    /// Whether it can be a name: text, visible, of bounded length.
    pub(crate) valid: bool,
}

/// The `requestMetadata` object of a call, sorted out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) agent: Claim,
    pub(crate) session: Claim,
    pub(crate) team: Claim,
    /// Pairs that are no claim, a stretch of [`ClaimReader::tags`], sorted by key, invisible characters escaped.
    pub(crate) tags: Range<usize>,
    /// Not an object of distinct keys: nothing in it can be told.
    pub(crate) malformed: bool,
}

/// A configured key and its `metadata:<key>`.
type Key = (Sym, Sym);

/// One pair of a metadata object.
#[derive(Clone, Copy, Debug)]
struct Pair {
    key: Sym,
    value: Sym,
    valid: bool,
}

/// The configured keys and their `metadata:<key>`, by agent, session and team.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyNames([Vec<(String, String)>; 3]);

impl KeyNames {
    pub(crate) fn new(keys: &MetadataKeys) -> Self {
        let label = |names: &Vec<String>| names.iter().map(|name| (name.clone(), format!("metadata:{name}"))).collect();
        Self([&keys.agent, &keys.session, &keys.team].map(label))
    }

    /// Makes them symbols of a table.
    pub(crate) fn intern(&self, strings: &mut StringTable) -> Arc<Keys> {
        let [agent, session, team] = &self.0;
        let mut intern =
            |names: &[(String, String)]| names.iter().map(|(name, label)| (strings.intern(name), strings.intern(label))).collect();
        Arc::new(Keys { agent: intern(agent), session: intern(session), team: intern(team) })
    }
}

/// The configured keys as symbols of a table.
#[derive(Debug)]
pub(crate) struct Keys {
    agent: Vec<Key>,
    session: Vec<Key>,
    team: Vec<Key>,
}

/// Reads the metadata objects of one batch.
#[derive(Debug)]
pub(crate) struct ClaimReader {
    keys: Arc<Keys>,
    /// Tags of all objects read.
    pub(crate) tags: Vec<(Sym, Sym)>,
    /// Reused: pairs of one object, and its text, which the string table cannot lend while it takes new strings.
    pairs: Vec<Pair>,
    json: String,
}

impl ClaimReader {
    pub(crate) fn new(keys: Arc<Keys>) -> Self {
        Self { keys, tags: Vec::new(), pairs: Vec::new(), json: String::new() }
    }

    /// Reads the JSON text of a metadata object; the empty text is an absent one.
    pub(crate) fn read(&mut self, metadata: Sym, strings: &mut StringTable) -> Claims {
        if metadata.is_empty() {
            return Claims::default();
        }
        strings.get(metadata).clone_into(&mut self.json);
        self.pairs.clear();
        if !read_pairs(&self.json, &mut self.pairs, strings) {
            return Claims { malformed: true, ..Claims::default() };
        }
        let agent = take(&mut self.pairs, &self.keys.agent);
        let session = take(&mut self.pairs, &self.keys.session);
        let team = take(&mut self.pairs, &self.keys.team);
        self.pairs.sort_unstable_by(|a, b| strings.get(a.key).cmp(strings.get(b.key)));
        let start = self.tags.len();
        self.tags.extend(self.pairs.iter().map(|pair| (pair.key, pair.value)));
        Claims { agent, session, team, tags: start..self.tags.len(), malformed: false }
    }
}

/// Appends the pairs of an object; `false` for another kind of JSON or a key that occurs twice.
fn read_pairs(json: &str, pairs: &mut Vec<Pair>, strings: &mut StringTable) -> bool {
    let mut reader = serde_json::Deserializer::from_str(json);
    if reader.deserialize_any(Pairs { pairs, strings }).is_err() || reader.end().is_err() {
        return false;
    }
    // An honest object has at most 16 pairs; a forged one of thousands must not cost their square.
    let mut keys: Vec<Sym> = Vec::new();
    if pairs.len() > 1 {
        keys.extend(pairs.iter().map(|pair| pair.key));
        keys.sort_unstable();
    }
    keys.windows(2).all(|two| two[0] != two[1])
}

/// Takes out the pair of the first configured key that has a value.
fn take(pairs: &mut Vec<Pair>, keys: &[Key]) -> Claim {
    for &(key, evidence) in keys {
        if let Some(at) = pairs.iter().position(|pair| pair.key == key && !pair.value.is_empty()) {
            let Pair { value, valid, .. } = pairs.swap_remove(at);
            return Claim { text: value, evidence, valid };
        }
    }
    Claim::default()
}

struct Pairs<'t> {
    pairs: &'t mut Vec<Pair>,
    strings: &'t mut StringTable,
}

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(InternKey(self.strings))? {
            let value = map.next_value::<&RawValue>()?.get();
            let (value, valid) = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(plain) if !plain.contains('\\') => intern_value(plain, self.strings),
                Some(_) => intern_value(&serde_json::from_str::<String>(value).map_err(Error::custom)?, self.strings),
                None if value == "null" => (Sym::EMPTY, false),
                None => (self.strings.intern(&escape(value)), false),
            };
            self.pairs.push(Pair { key, value, valid });
        }
        Ok(())
    }
}

fn intern_value(text: &str, strings: &mut StringTable) -> (Sym, bool) {
    if is_plain(text) { (strings.intern(text), true) } else { (strings.intern(&escape(text)), false) }
}

/// Reads a key straight into the string table, invisible characters escaped: two keys that look alike are one.
struct InternKey<'t>(&'t mut StringTable);

impl<'de> DeserializeSeed<'de> for InternKey<'_> {
    type Value = Sym;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Sym, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for InternKey<'_> {
    type Value = Sym;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Sym, E> {
        Ok(self.0.intern(&escape(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Agent, session and team with their evidence, tags, and whether it was malformed.
    fn read(json: &str) -> (String, String, String, String, bool) {
        let mut strings = StringTable::default();
        let metadata = strings.intern(json);
        let mut reader = ClaimReader::new(KeyNames::new(&MetadataKeys::default()).intern(&mut strings));
        let claims = reader.read(metadata, &mut strings);
        let show = |claim: Claim| match (strings.get(claim.text), strings.get(claim.evidence), claim.valid) {
            ("", _, _) => String::new(),
            (text, evidence, true) => format!("{text} {evidence}"),
            (text, evidence, false) => format!("!{text} {evidence}"),
        };
        let tags = reader.tags[claims.tags.clone()].iter().map(|&(key, value)| format!("{}={}", strings.get(key), strings.get(value)));
        (show(claims.agent), show(claims.session), show(claims.team), tags.collect::<Vec<_>>().join(","), claims.malformed)
    }

    #[test]
    fn first_configured_key_with_a_value_is_the_claim() {
        let (agent, session, team, tags, _) =
            read(r#"{"zone":"b","agent":"second","agent_id":"first","sessionId":"s1","team":"pay","app":"x"}"#);
        assert_eq!((&*agent, &*session, &*team), ("first metadata:agent_id", "s1 metadata:sessionId", "pay metadata:team"));
        assert_eq!(tags, "agent=second,app=x,zone=b");
        assert_eq!(read(r#"{"agent_id":"","agent":"a"}"#).0, "a metadata:agent");
        assert_eq!(read(r#"{"agent_id":null}"#).0, "");
        assert_eq!(read(r#"{"agent\u005fid":"\u0061"}"#).0, "a metadata:agent_id");
    }

    #[test]
    fn what_cannot_be_a_name_is_kept_but_not_believed() {
        assert_eq!(read("{\"agent_id\":\"\u{202e}tob\"}").0, "!\\u{202e}tob metadata:agent_id");
        assert_eq!(read(r#"{"agent_id":"\u202etob"}"#).0, "!\\u{202e}tob metadata:agent_id");
        assert_eq!(read(r#"{"agent_id":7.10}"#).0, "!7.10 metadata:agent_id");
        assert_eq!(read(r#"{"agent_id":{"a":1}}"#).0, "!{\"a\":1} metadata:agent_id");
        assert!(read(&format!(r#"{{"agent_id":"{}"}}"#, "x".repeat(257))).0.starts_with('!'));
        assert_eq!(read(r#"{"a\u0007":"b\n"}"#).3, "a\\u{7}=b\\u{a}");
    }

    #[test]
    fn what_is_not_an_object_of_distinct_keys_claims_nothing() {
        for json in
            ["[]", "7", "\"agent\"", "{", "{} {}", r#"{"agent_id":"a","agent_id":"b"}"#, r#"{"agent_id":"a"}x"#, r#"{"a":"\ud800"}"#, " "]
        {
            assert_eq!(read(json), (String::new(), String::new(), String::new(), String::new(), true), "{json}");
        }
        for json in ["", "null", "{}", " { } "] {
            assert_eq!(read(json), Default::default(), "{json}");
        }
    }

    #[test]
    fn tags_of_one_object_are_apart_from_those_of_the_next() {
        let mut strings = StringTable::default();
        let objects = [r#"{"x":"1"}"#, r#"{"agent":"a"}"#, r#"{"z":"3","y":"2"}"#].map(|json| strings.intern(json));
        let mut reader = ClaimReader::new(KeyNames::new(&MetadataKeys::default()).intern(&mut strings));
        let lengths = objects.map(|object| reader.read(object, &mut strings).tags);
        assert_eq!(lengths, [0..1, 1..1, 1..3]);
    }

    proptest! {
        #[test]
        fn no_text_panics(json in any::<String>(), pieces in "(\\{|\\}|\"|:|,|agent_id|null|7|\\\\u202e|\\[){0,20}") {
            read(&json);
            read(&pieces);
        }

        #[test]
        fn reads_what_serde_json_writes(pairs in prop::collection::btree_map("[a-z]{1,6}", any::<String>(), 0..6)) {
            let shown = read(&serde_json::to_string(&pairs).expect("JSON"));
            let claimed = MetadataKeys::default();
            let is_key = |key: &str| [&claimed.agent, &claimed.session, &claimed.team].iter().any(|keys| keys.iter().any(|name| name == key));
            let tags: Vec<_> = pairs.iter().filter(|(key, _)| !is_key(key)).map(|(key, value)| format!("{key}={}", escape(value))).collect();
            if pairs.keys().all(|key| !is_key(key)) {
                prop_assert_eq!(shown.3, tags.join(","));
            }
            prop_assert!(!shown.4);
        }
    }
}
