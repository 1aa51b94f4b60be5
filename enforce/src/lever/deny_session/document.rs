//! The document of our policy: two statements with a list of values each, and when each value ends.
//!
//! A policy has no place for notes, and a statement for each value would be five times as long. So the `Sid` of a statement carries the
//! ends of its values, in their order: six digits of base 36 each, minutes since 1970, `zzzzzz` for none.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_schemas::Micros;
use sluice_schemas::time::MINUTE;

use crate::iam::evaluate::Context;
use crate::lever::principal::RUNTIME_ACTIONS;

const DIGITS: usize = 6;
const NEVER: &str = "zzzzzz";
/// The two statements: head of their `Sid`, key of their condition.
const USER_IDS: (&str, &str) = ("SluiceUsers", "aws:userid");
const SOURCE_IDENTITIES: (&str, &str) = ("SluiceIdentities", "aws:SourceIdentity");

/// Who is denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// `ROLE-ID:SESSION`.
    UserId(String),
    /// Source identity.
    SourceIdentity(String),
}

impl Key {
    /// Returns what is known of a request that is to be denied.
    pub(super) fn context(&self) -> Context {
        match self {
            Self::UserId(id) => Context::part().with(USER_IDS.1, id),
            Self::SourceIdentity(identity) => Context::part().with(SOURCE_IDENTITIES.1, identity),
        }
    }
}

/// All that stands in the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Denies {
    /// With the minute after which they end; none if they do not end by themselves.
    ends: BTreeMap<Key, Option<u64>>,
    /// Statements of others.
    others: Vec<Value>,
}

/// The minute that a time lies in, or the next.
pub(super) fn until_minute(until: Option<Micros>) -> Option<u64> {
    until.map(|until| u64::try_from(until.0.saturating_add(MINUTE - 1).div_euclid(MINUTE)).unwrap_or_default())
}

/// Characters that count against the quota: those of the document without white space between its parts.
pub(super) fn size(text: &str) -> usize {
    let compact = serde_json::from_str::<Value>(text).map(|value| value.to_string());
    compact.map_or_else(|_| text.chars().count(), |text| text.chars().count())
}

impl Denies {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let statements = match &document["Statement"] {
            Value::Array(statements) => statements.clone(),
            one @ Value::Object(_) => vec![one.clone()],
            _ => return Err("it has no statement".to_owned()),
        };
        let mut denies = Self::default();
        for statement in statements {
            let read =
                Self::own(&statement, USER_IDS, &Key::UserId).or_else(|| Self::own(&statement, SOURCE_IDENTITIES, &Key::SourceIdentity));
            match read {
                Some(ends) => denies.ends.extend(ends),
                None => denies.others.push(statement),
            }
        }
        Ok(denies)
    }

    /// Reads a statement if it is one of ours.
    fn own(statement: &Value, (head, key): (&str, &str), make: &dyn Fn(String) -> Key) -> Option<Vec<(Key, Option<u64>)>> {
        let ends = statement["Sid"].as_str()?.strip_prefix(head)?;
        let values = match &statement["Condition"]["StringEquals"][key] {
            Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?,
            value => vec![value.as_str()?.to_owned()],
        };
        let ends: Vec<&str> = ends.as_bytes().chunks(DIGITS).filter_map(|digits| std::str::from_utf8(digits).ok()).collect();
        // Someone has edited the values: then none ends by itself.
        let is_whole = ends.len() == values.len();
        let end = |at: usize| ends.get(at).filter(|end| is_whole && **end != NEVER).and_then(|end| u64::from_str_radix(end, 36).ok());
        Some(values.into_iter().enumerate().map(|(at, value)| (make(value), end(at))).collect())
    }

    /// Leaves out what has ended, and sessions of a role of the same name that is no more.
    pub(super) fn prune(&mut self, now: Micros, role_id: &str) {
        let minute = u64::try_from(now.0.div_euclid(MINUTE)).unwrap_or_default();
        self.ends.retain(|key, end| {
            let is_of_role = match key {
                Key::UserId(id) => id.split(':').next() == Some(role_id),
                Key::SourceIdentity(_) => true,
            };
            is_of_role && end.is_none_or(|end| end > minute)
        });
    }

    /// Tells whether a deny stands and lasts that long.
    pub(super) fn lasts(&self, key: &Key, until: Option<u64>) -> bool {
        match (self.ends.get(key), until) {
            (None, _) | (Some(Some(_)), None) => false,
            (Some(None), _) => true,
            (Some(Some(end)), Some(until)) => *end >= until,
        }
    }

    pub(super) fn put(&mut self, key: Key, until: Option<u64>) {
        self.ends.insert(key, until);
    }

    pub(super) fn take(&mut self, key: &Key) {
        self.ends.remove(key);
    }

    /// Returns the document; none if nothing is left in it.
    pub(super) fn write(&self) -> Option<String> {
        let users = self.ends.iter().filter_map(|(key, end)| match key {
            Key::UserId(id) => Some((id, *end)),
            Key::SourceIdentity(_) => None,
        });
        let identities = self.ends.iter().filter_map(|(key, end)| match key {
            Key::UserId(_) => None,
            Key::SourceIdentity(identity) => Some((identity, *end)),
        });
        let mut statements: Vec<Value> = self.others.clone();
        statements.extend(statement(USER_IDS, users));
        statements.extend(statement(SOURCE_IDENTITIES, identities));
        (!statements.is_empty()).then(|| json!({ "Version": "2012-10-17", "Statement": statements }).to_string())
    }
}

fn statement<'a>((head, key): (&str, &str), ends: impl Iterator<Item = (&'a String, Option<u64>)>) -> Option<Value> {
    let (values, ends): (Vec<&String>, Vec<String>) =
        ends.map(|(value, end)| (value, end.map_or_else(|| NEVER.to_owned(), base36))).unzip();
    (!values.is_empty()).then(|| {
        json!({
            "Sid": format!("{head}{}", ends.concat()),
            "Effect": "Deny",
            "Action": RUNTIME_ACTIONS,
            "Resource": "*",
            "Condition": { "StringEquals": { key: values } },
        })
    })
}

fn base36(mut number: u64) -> String {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(number % 36).unwrap_or_default()];
        number /= 36;
    }
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iam::evaluate::Policy;

    fn user(session: &str) -> Key {
        Key::UserId(format!("AROAEXAMPLE:{session}"))
    }

    #[test]
    fn what_is_written_is_read() {
        let mut denies = Denies::default();
        assert_eq!(denies.write(), None);
        denies.put(user("b"), Some(29_000_000));
        denies.put(user("a"), None);
        denies.put(Key::SourceIdentity("alice".to_owned()), Some(29_000_001));
        let text = denies.write().unwrap();
        assert_eq!(Policy::read("ours", &text).fault(), None);
        assert!(text.contains(&format!("\"SluiceUserszzzzzz{}\"", base36(29_000_000))), "{text}");
        assert_eq!(Denies::read(&text).unwrap(), denies);
        denies.prune(Micros(29_000_000 * MINUTE), "AROAEXAMPLE");
        assert_eq!(denies.ends.len(), 2, "b has ended");
        denies.prune(Micros(0), "AROANEW");
        assert_eq!(denies.ends.len(), 1, "another role has the name");
    }

    #[test]
    fn what_others_wrote_stays() {
        let theirs = json!({"Sid": "Theirs", "Effect": "Deny", "Action": "s3:*", "Resource": "*"});
        let mut denies = Denies::read(&json!({"Version": "2012-10-17", "Statement": theirs}).to_string()).unwrap();
        denies.put(user("aa"), Some(1));
        let edited = denies.write().unwrap().replace("\"AROAEXAMPLE:aa\"", "\"AROAEXAMPLE:aa\",\"AROAEXAMPLE:bb\"");
        let mut read = Denies::read(&edited).unwrap();
        assert_eq!(read.ends, BTreeMap::from([(user("aa"), None), (user("bb"), None)]), "ends that fit no longer are none");
        read.take(&user("aa"));
        read.take(&user("bb"));
        assert_eq!(read.write().unwrap(), json!({"Version": "2012-10-17", "Statement": [theirs]}).to_string());
        assert!(Denies::read("{}").is_err() && Denies::read("x").is_err());
    }

    #[test]
    fn ends_and_sizes() {
        assert_eq!([until_minute(None), until_minute(Some(Micros(0))), until_minute(Some(Micros(1)))], [None, Some(0), Some(1)]);
        assert_eq!(base36(36 * 36 + 35), "00010z");
        assert_eq!(size("{ \"a\" : \"b c\" }"), "{\"a\":\"b c\"}".len());
        assert_eq!(size("{ no json"), 9);
        let mut denies = Denies::default();
        denies.put(user("a"), Some(5));
        assert!(denies.lasts(&user("a"), Some(5)) && !denies.lasts(&user("a"), Some(6)) && !denies.lasts(&user("a"), None));
        denies.put(user("a"), None);
        assert!(denies.lasts(&user("a"), Some(6)) && denies.lasts(&user("a"), None) && !denies.lasts(&user("b"), None));
    }
}
