//! Rows as items: `pk`, `sk` (strings), `body` (JSON), `rev` (number, grows by one with each write), `w` and `made` (ids of the
//! writes that wrote and made it), `ttl` (seconds since 1970, where the row may expire).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use aws_sdk_dynamodb::types::AttributeValue;

/// An item.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Where a row is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Kind of row.
    pub(super) pk: &'static str,
    /// Its id.
    pub(super) sk: String,
}

/// A row that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// JSON.
    pub(super) body: String,
    /// Grows with each write; 1 at first.
    pub(super) revision: u64,
    /// Id of the last write.
    pub(super) write_id: String,
    /// Id of the first write.
    pub(super) made_by: String,
}

impl Key {
    /// Returns the key of a row.
    pub(super) fn new(pk: &'static str, sk: &str) -> Self {
        Self { pk, sk: sk.to_owned() }
    }

    /// Returns the key of a row that exists once.
    pub(super) fn meta(sk: &str) -> Self {
        Self::new("meta", sk)
    }

    /// Returns the key of a line of the audit trail; as text they sort like numbers.
    pub(super) fn line(number: u64) -> Self {
        Self { pk: "audit", sk: format!("{number:020}") }
    }

    /// Returns the number of a line of the audit trail.
    pub(super) fn line_number(&self) -> Option<u64> {
        self.sk.parse().ok()
    }

    /// Returns the key as an item has it.
    pub(super) fn item(&self) -> Item {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        HashMap::from([("pk".to_owned(), text(self.pk)), ("sk".to_owned(), text(&self.sk))])
    }
}

impl Row {
    /// Reads an item; `Err` says what is wrong with it.
    pub(super) fn read(item: &Item) -> Result<Self, &'static str> {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        let revision = item.get("rev").and_then(|value| value.as_n().ok()).and_then(|number| number.parse().ok());
        Ok(Self {
            body: text("body").ok_or("has no text 'body'")?.clone(),
            revision: revision.ok_or("has no number 'rev'")?,
            write_id: text("w").ok_or("has no text 'w'")?.clone(),
            made_by: text("made").ok_or("has no text 'made'")?.clone(),
        })
    }

    /// Returns the item to write.
    pub(super) fn item(self, key: &Key, ttl: Option<i64>) -> Item {
        let mut item = key.item();
        item.insert("body".to_owned(), AttributeValue::S(self.body));
        item.insert("rev".to_owned(), AttributeValue::N(self.revision.to_string()));
        item.insert("w".to_owned(), AttributeValue::S(self.write_id));
        item.insert("made".to_owned(), AttributeValue::S(self.made_by));
        if let Some(ttl) = ttl {
            item.insert("ttl".to_owned(), AttributeValue::N(ttl.to_string()));
        }
        item
    }
}

/// Returns 128 random bits in hexadecimal: a write id.
pub(super) fn random_id() -> String {
    // The keys of `RandomState` come from the system's random source; hashing with two of them gives 128 bits of it.
    let word = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", word(), word())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row { body: "{}".to_owned(), revision: u64::MAX, write_id: "w".to_owned(), made_by: "m".to_owned() }
    }

    #[test]
    fn rows_are_read_as_written() {
        assert_eq!(Row::read(&row().item(&Key::meta("fence"), Some(5))), Ok(row()));
        for (name, fault) in [("body", "body"), ("rev", "rev"), ("w", "'w'"), ("made", "made")] {
            let mut item = row().item(&Key::meta("fence"), None);
            item.insert(name.to_owned(), AttributeValue::Bool(true));
            assert!(Row::read(&item).is_err_and(|text| text.contains(fault)));
        }
        let mut negative = row().item(&Key::meta("fence"), None);
        negative.insert("rev".to_owned(), AttributeValue::N("-1".to_owned()));
        assert!(Row::read(&negative).is_err());
    }

    #[test]
    fn lines_sort_like_numbers() {
        assert!(Key::line(9).sk < Key::line(10).sk && Key::line(10).sk < Key::line(u64::MAX).sk);
        assert_eq!(Key::line(u64::MAX).line_number(), Some(u64::MAX));
    }

    #[test]
    fn ids_differ() {
        assert_ne!(random_id(), random_id());
        assert_eq!(random_id().len(), 32);
    }
}
