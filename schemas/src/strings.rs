//! Interned strings of one batch: each distinct text is stored once and named by a small integer.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// A string of a [`StringTable`]. Only meaningful together with the table that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sym(pub u32);

impl Sym {
    /// The empty string, in every table; stands for "absent".
    pub const EMPTY: Self = Self(0);

    /// Tells whether this is the empty string.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The distinct strings of a batch, in one buffer.
#[derive(Clone, Debug)]
pub struct StringTable {
    text: String,
    /// End of each string in `text`; string `n` starts where `n - 1` ended.
    ends: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
}

impl Default for StringTable {
    fn default() -> Self {
        let mut table = Self { text: String::new(), ends: Vec::new(), index: HashTable::new(), hasher: FixedState::default() };
        let empty = table.intern("");
        debug_assert_eq!(empty, Sym::EMPTY);
        table
    }
}

impl StringTable {
    /// Returns the symbol of `value`, adding it if it is new.
    ///
    /// A table holds at most 4 GiB of text, far above a batch's byte cap.
    pub fn intern(&mut self, value: &str) -> Sym {
        let hash = self.hasher.hash_one(value);
        let found = self.index.find(hash, |&at| Self::slice(&self.text, &self.ends, at) == value);
        if let Some(&at) = found {
            return Sym(at);
        }
        let at = self.ends.len() as u32;
        self.text.push_str(value);
        self.ends.push(self.text.len() as u32);
        let (text, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        self.index.insert_unique(hash, at, |&other| hasher.hash_one(Self::slice(text, ends, other)));
        Sym(at)
    }

    /// Returns the text of a symbol of this table; the empty string for a foreign one.
    #[must_use]
    pub fn get(&self, sym: Sym) -> &str {
        Self::slice(&self.text, &self.ends, sym.0)
    }

    /// Returns the number of distinct strings, the empty one included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Tells whether only the empty string is present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.len() <= 1
    }

    fn slice<'a>(text: &'a str, ends: &[u32], at: u32) -> &'a str {
        let at = at as usize;
        let start = if at == 0 { 0 } else { ends.get(at - 1).copied().unwrap_or(0) as usize };
        let end = ends.get(at).copied().unwrap_or(0) as usize;
        text.get(start..end).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distinct_text_once() {
        let mut table = StringTable::default();
        let (a, b) = (table.intern("agent-a"), table.intern("agent-b"));
        assert_eq!(table.intern("agent-a"), a);
        assert_ne!(a, b);
        assert_eq!((table.get(a), table.get(b), table.get(Sym::EMPTY)), ("agent-a", "agent-b", ""));
        assert_eq!(table.len(), 3);
        assert_eq!(table.get(Sym(99)), "");
    }
}
