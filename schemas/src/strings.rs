//! Interned strings of one batch: each distinct text is stored once and named by a small integer.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::str::Utf8Error;

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
    #[inline]
    pub fn intern(&mut self, value: &str) -> Sym {
        let hash = self.hash(value.as_bytes());
        self.find(hash, value.as_bytes()).unwrap_or_else(|| self.add(hash, value))
    }

    /// Returns the symbol of UTF-8 bytes, adding it if it is new; bytes that are in the table already are not checked again.
    ///
    /// # Errors
    /// [`Utf8Error`] when `value` is not UTF-8.
    pub fn intern_utf8(&mut self, value: &[u8]) -> Result<Sym, Utf8Error> {
        let hash = self.hash(value);
        match self.find(hash, value) {
            Some(sym) => Ok(sym),
            None => Ok(self.add(hash, std::str::from_utf8(value)?)),
        }
    }

    #[inline]
    fn hash(&self, value: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(value);
        hasher.finish()
    }

    #[inline]
    fn find(&self, hash: u64, value: &[u8]) -> Option<Sym> {
        self.index.find(hash, |&at| Self::slice(self.text.as_bytes(), &self.ends, at) == value).copied().map(Sym)
    }

    fn add(&mut self, hash: u64, value: &str) -> Sym {
        let at = self.ends.len() as u32;
        self.text.push_str(value);
        self.ends.push(self.text.len() as u32);
        let (text, ends, hasher) = (self.text.as_bytes(), &self.ends, &self.hasher);
        self.index.insert_unique(hash, at, |&other| {
            let mut hasher = hasher.build_hasher();
            hasher.write(Self::slice(text, ends, other));
            hasher.finish()
        });
        Sym(at)
    }

    /// Returns the text of a symbol of this table; the empty string for a foreign one.
    #[inline]
    #[must_use]
    pub fn get(&self, sym: Sym) -> &str {
        self.text.get(Self::range(&self.ends, sym.0)).unwrap_or_default()
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

    #[inline]
    fn slice<'a>(text: &'a [u8], ends: &[u32], at: u32) -> &'a [u8] {
        text.get(Self::range(ends, at)).unwrap_or_default()
    }

    #[inline]
    fn range(ends: &[u32], at: u32) -> Range<usize> {
        let at = at as usize;
        let start = if at == 0 { 0 } else { ends.get(at - 1).copied().unwrap_or(0) as usize };
        start..ends.get(at).copied().unwrap_or(0) as usize
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
        assert_eq!(table.intern_utf8(b"agent-b"), Ok(b));
        assert!(table.intern_utf8(b"agent-\xff").is_err());
        assert_eq!(table.len(), 3);
    }
}
