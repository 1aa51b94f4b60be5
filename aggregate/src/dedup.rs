//! Exactly one fact per (account, region, request id): sets of 128-bit keys, one for each event hour.
//!
//! Owns: which ids of which hours are known. Does not own: where they come from; an hour that is not in memory is loaded
//! from the lake when a record of it arrives, so a backfill of any age and a restart meet the same check. A re-delivered
//! record carries the same event time, so looking in its own hour is enough.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use sha2::{Digest, Sha256};
use sluice_schemas::batch::EnrichedBatch;
use sluice_schemas::{Micros, Profile, RequestId, StringTable};

/// Bytes one key takes in a set, free slots included.
const BYTES_PER_KEY: usize = 28;

#[derive(Clone, Copy, Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, key: u128) {
        let (low, high) = (key as u64, (key >> 64) as u64);
        self.0 = (low ^ high.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct BuildKeyHasher;

impl BuildHasher for BuildKeyHasher {
    type Hasher = KeyHasher;
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher::default()
    }
}

/// Known keys of one event hour.
#[derive(Debug, Default)]
struct Hour {
    keys: HashSet<u128, BuildKeyHasher>,
    /// Number of the last batch that brought a key which is not in the lake yet: until then it must stay in memory. 0 for none.
    dirty: u64,
    used: u64,
}

/// The key of a call.
///
/// A UUID is its own key, mixed with account and region; any other id is hashed (SHA-256, first 16 bytes).
#[must_use]
pub fn key(id: RequestId, salt: u128, strings: &StringTable) -> u128 {
    match id {
        RequestId::Uuid(uuid) => uuid ^ salt,
        RequestId::Other(text) => text_key(strings.get(text)) ^ salt,
    }
}

/// The key of an id as the lake stores it.
#[must_use]
pub fn stored_key(account_id: &str, region: &str, request_id: &str) -> u128 {
    let id = parse_uuid(request_id).unwrap_or_else(|| text_key(request_id));
    id ^ salt(account_id, region)
}

pub(crate) fn text_key(text: &str) -> u128 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(16).fold(0, |key, byte| key << 8 | u128::from(*byte))
}

/// What account and region add to a key.
#[must_use]
pub fn salt(account_id: &str, region: &str) -> u128 {
    let hash = |seed| FixedState::with_seed(seed).hash_one((account_id, region));
    u128::from(hash(0x51)) << 64 | u128::from(hash(0x1CE))
}

/// Reads a lower-case hyphenated UUID.
#[must_use]
pub fn parse_uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut value = 0_u128;
    for (at, byte) in bytes.iter().enumerate() {
        let digit = match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => continue,
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => byte - b'0',
            (_, b'a'..=b'f') => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(value)
}

/// The dedup index.
#[derive(Debug)]
pub struct Dedup {
    hours: HashMap<i64, Hour, FixedState>,
    keys: usize,
    keys_max: usize,
    /// Batches seen.
    clock: u64,
}

impl Dedup {
    /// Creates an empty index that keeps about `bytes_max` bytes of hours that are in the lake.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { hours: HashMap::default(), keys: 0, keys_max: bytes_max / BYTES_PER_KEY, clock: 0 }
    }

    /// Marks the calls of a batch that are seen for the first time, in order, and remembers them.
    ///
    /// `load` is called for an event hour that is not in memory and gives the keys the lake and pending segments hold of it.
    ///
    /// # Errors
    /// What `load` says; the index is then as before for that hour.
    pub fn first_seen<E>(&mut self, batch: &EnrichedBatch, load: &mut dyn FnMut(i64) -> Result<Vec<u128>, E>) -> Result<Vec<bool>, E> {
        let salts = profile_salts(batch);
        self.first_of(call_keys(batch, &salts), load)
    }

    /// As [`Dedup::first_seen`], of event times and keys.
    ///
    /// # Errors
    /// What `load` says; the index is then as before for that hour.
    pub fn first_of<E>(
        &mut self,
        keys: impl Iterator<Item = (Micros, u128)>,
        load: &mut dyn FnMut(i64) -> Result<Vec<u128>, E>,
    ) -> Result<Vec<bool>, E> {
        self.clock += 1;
        let keep = keys.map(|(at, key)| self.insert(at, key, load)).collect();
        self.evict();
        keep
    }

    /// Tells whether a key of an hour is known; an hour that is not in memory is loaded.
    ///
    /// # Errors
    /// What `load` says.
    pub fn look<E>(&mut self, hour: i64, key: u128, load: &mut dyn FnMut(i64) -> Result<Vec<u128>, E>) -> Result<bool, E> {
        if !self.hours.contains_key(&hour) {
            let keys: HashSet<u128, BuildKeyHasher> = load(hour)?.into_iter().collect();
            self.keys += keys.len();
            self.hours.insert(hour, Hour { keys, dirty: 0, used: self.clock });
        }
        Ok(self.knows(hour, key).unwrap_or(false))
    }

    /// Forgets a key whose call was taken out of the lake.
    pub fn forget(&mut self, hour: i64, key: u128) {
        if self.hours.get_mut(&hour).is_some_and(|hour| hour.keys.remove(&key)) {
            self.keys -= 1;
        }
    }

    /// Tells whether keys of an hour are in memory.
    #[must_use]
    pub fn has_any(&self, hour: i64) -> bool {
        self.hours.get(&hour).is_some_and(|hour| !hour.keys.is_empty())
    }

    /// Tells whether a key of an hour is known; `None` if the hour is not in memory.
    #[must_use]
    pub fn knows(&self, hour: i64, key: u128) -> Option<bool> {
        self.hours.get(&hour).map(|hour| hour.keys.contains(&key))
    }

    /// Tells of each key of an hour whether it is known; `None` if the hour is not in memory.
    pub fn known(&self, hour: i64, keys: impl Iterator<Item = u128>) -> Option<Vec<bool>> {
        let hour = self.hours.get(&hour)?;
        Some(keys.map(|key| hour.keys.contains(&key)).collect())
    }

    /// Drops the keys that are known in an hour.
    pub fn drop_known(&self, hour: i64, keys: &mut Vec<u128>) {
        if let Some(hour) = self.hours.get(&hour) {
            keys.retain(|key| !hour.keys.contains(key));
        }
    }

    fn insert<E>(&mut self, at: Micros, key: u128, load: &mut dyn FnMut(i64) -> Result<Vec<u128>, E>) -> Result<bool, E> {
        let hour = at.hour();
        let entry = match self.hours.entry(hour) {
            hashbrown::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            hashbrown::hash_map::Entry::Vacant(entry) => {
                let keys: HashSet<u128, BuildKeyHasher> = load(hour)?.into_iter().collect();
                self.keys += keys.len();
                entry.insert(Hour { keys, dirty: 0, used: 0 })
            }
        };
        entry.used = self.clock;
        let new = entry.keys.insert(key);
        if new {
            entry.dirty = self.clock;
            self.keys += 1;
        }
        Ok(new)
    }

    /// Tells the index that the new calls of the first `batches` batches are in the lake. Later ones may be on their way: what they
    /// brought is known here and nowhere else.
    pub fn committed(&mut self, batches: u64) {
        for hour in self.hours.values_mut().filter(|hour| hour.dirty <= batches) {
            hour.dirty = 0;
        }
        self.evict();
    }

    /// Returns the number of keys in memory.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.keys
    }

    /// Returns about how many bytes they take.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.keys * BYTES_PER_KEY
    }

    /// Tells whether no key is in memory.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Forgets stored hours that were looked into, as far as memory asks for it.
    pub fn looked(&mut self) {
        self.clock += 1;
        self.evict();
        self.clock -= 1;
    }

    fn evict(&mut self) {
        while self.keys > self.keys_max {
            let idle = self.hours.iter().filter(|(_, hour)| hour.dirty == 0 && hour.used < self.clock).min_by_key(|(_, hour)| hour.used);
            let Some(oldest) = idle.map(|(at, _)| *at) else {
                return;
            };
            if let Some(hour) = self.hours.remove(&oldest) {
                self.keys -= hour.keys.len();
            }
        }
    }
}

/// Event time and key of each call of a batch. `salts` are those of its profiles.
pub fn call_keys<'a>(batch: &'a EnrichedBatch, salts: &'a [u128]) -> impl Iterator<Item = (Micros, u128)> + 'a {
    batch.batch.invocations.iter().map(|call| {
        let salt = salts.get(call.profile as usize).copied().unwrap_or_default();
        (call.event_time, key(call.request_id, salt, &batch.batch.strings))
    })
}

/// What account and region of each profile add to keys.
#[must_use]
pub fn profile_salts(batch: &EnrichedBatch) -> Vec<u128> {
    let strings = &batch.batch.strings;
    let salt = |profile: &Profile| salt(strings.get(profile.account_id), strings.get(profile.region));
    batch.batch.profiles.iter().map(salt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_schemas::{Batch, Invocation, Usage};
    use std::convert::Infallible;

    fn batch(ids: &[(i64, u128)]) -> EnrichedBatch {
        let mut batch = Batch::default();
        let profile = Profile { account_id: batch.strings.intern("1"), region: batch.strings.intern("r"), ..Profile::default() };
        batch.profiles.push(profile);
        for (hour, id) in ids {
            batch.invocations.push(Invocation {
                event_time: Micros(hour * sluice_schemas::time::HOUR),
                request_id: RequestId::Uuid(*id),
                profile: 0,
                usage: Usage::default(),
                basis: sluice_schemas::CostBasis::Exact,
                latency_ms: None,
                extras: None,
            });
        }
        EnrichedBatch { batch, ..EnrichedBatch::default() }
    }

    #[test]
    fn each_id_once_within_and_across_batches() {
        let mut dedup = Dedup::new(1 << 20);
        let mut load = |_| Ok::<_, Infallible>(Vec::new());
        assert_eq!(dedup.first_seen(&batch(&[(1, 7), (1, 7), (2, 8)]), &mut load), Ok(vec![true, false, true]));
        assert_eq!(dedup.first_seen(&batch(&[(1, 7), (2, 9)]), &mut load), Ok(vec![false, true]));
    }

    #[test]
    fn an_evicted_hour_comes_back_from_the_lake() {
        let mut dedup = Dedup::new(0);
        let mut lake: Vec<u128> = Vec::new();
        let first = batch(&[(1, 7)]);
        assert_eq!(dedup.first_seen(&first, &mut |_| Ok::<_, Infallible>(Vec::new())), Ok(vec![true]));
        lake.push(7 ^ salt("1", "r"));
        assert_eq!(dedup.len(), 1, "not in the lake: must stay");
        dedup.committed(1);
        assert_eq!(dedup.first_seen(&batch(&[(2, 8)]), &mut |_| Ok::<_, Infallible>(Vec::new())), Ok(vec![true]));
        assert_eq!(dedup.len(), 1, "hour 1 was evicted");
        let mut loads = 0;
        let again = dedup.first_seen(&first, &mut |hour| {
            loads += 1;
            Ok::<_, Infallible>(if hour == 1 { lake.clone() } else { Vec::new() })
        });
        assert_eq!((again, loads), (Ok(vec![false]), 1));
    }

    #[test]
    fn an_hour_stays_while_a_batch_of_it_is_on_its_way() {
        let mut dedup = Dedup::new(0);
        let mut load = |_| Ok::<_, Infallible>(Vec::new());
        assert_eq!(dedup.first_seen(&batch(&[(1, 7)]), &mut load), Ok(vec![true]));
        assert_eq!(dedup.first_seen(&batch(&[(2, 8)]), &mut load), Ok(vec![true]));
        // The first batch is in the lake, the second was not part of the commit.
        dedup.committed(1);
        assert_eq!(dedup.first_seen(&batch(&[(3, 9)]), &mut load), Ok(vec![true]));
        assert_eq!(dedup.first_seen(&batch(&[(2, 8)]), &mut load), Ok(vec![false]));
    }

    #[test]
    fn a_failed_load_is_not_taken_for_an_empty_hour() {
        let mut dedup = Dedup::new(1 << 20);
        assert_eq!(dedup.first_seen(&batch(&[(1, 7)]), &mut |_| Err("offline")), Err("offline"));
        assert_eq!(dedup.first_seen(&batch(&[(1, 7)]), &mut |_| Ok::<_, &str>(vec![7 ^ salt("1", "r")])), Ok(vec![false]));
    }

    #[test]
    fn stored_ids_have_the_key_of_decoded_ones() {
        let strings = StringTable::default();
        let text = "00000000-0000-0000-0000-0000000000ff";
        assert_eq!(parse_uuid(text), Some(255));
        assert_eq!(stored_key("1", "r", text), key(RequestId::Uuid(255), salt("1", "r"), &strings));
        assert_eq!(parse_uuid(&text.to_uppercase()), None);
        assert_ne!(stored_key("1", "r", "abc"), stored_key("2", "r", "abc"));
    }
}
