//! A bounded store of what was worked out from a text, kept across batches by one worker.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// Bytes of texts and results above which a memo starts afresh: about 20,000 principals. A miss costs a few microseconds, so starting
/// afresh is cheaper than keeping an order of use.
const BYTE_BUDGET: usize = 8 << 20;
/// Assumed cost of an entry beside twice its text.
const ENTRY_BYTES: usize = 192;

/// Results by the text they were worked out from. A number given out stays valid until [`Memo::trim`].
#[derive(Debug)]
pub(crate) struct Memo<T> {
    index: HashTable<u32>,
    entries: Vec<(Box<str>, T)>,
    bytes: usize,
    hasher: FixedState,
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self { index: HashTable::new(), entries: Vec::new(), bytes: 0, hasher: FixedState::default() }
    }
}

impl<T> Memo<T> {
    /// Returns the number of the result for `text`, which `make` works out the first time.
    pub(crate) fn number(&mut self, text: &str, make: impl FnOnce(&str) -> T) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(&at) = self.index.find(hash, |&at| &*self.entries[at as usize].0 == text) {
            return at;
        }
        let at = self.entries.len() as u32;
        self.entries.push((text.into(), make(text)));
        self.bytes += 2 * text.len() + ENTRY_BYTES;
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, at, |&other| hasher.hash_one(&*entries[other as usize].0));
        at
    }

    /// Returns a result by its number.
    pub(crate) fn get(&self, number: u32) -> &T {
        &self.entries[number as usize].1
    }

    /// Forgets everything if it outgrew the budget; to be called between batches.
    pub(crate) fn trim(&mut self) {
        if self.bytes > BYTE_BUDGET {
            self.clear();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_out_once_and_stays_bounded() {
        let mut memo = Memo::default();
        let mut made = 0;
        for text in ["a", "b", "a", "", "b"] {
            let number = memo.number(text, |text| {
                made += 1;
                text.len()
            });
            assert_eq!(*memo.get(number), text.len());
        }
        assert_eq!(made, 3);
        memo.trim();
        assert_eq!(memo.entries.len(), 3);
        for number in 0..50_000 {
            memo.number(&format!("text {number}"), str::len);
        }
        memo.trim();
        assert_eq!((memo.entries.len(), memo.bytes), (0, 0));
    }
}
