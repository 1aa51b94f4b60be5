//! Who is the ledger for now: a beat that the one who runs renews, and that a standby watches.
//!
//! A lease decides nothing but when a standby begins to take over. What keeps the one before from committing and acting are the fences of
//! the lake and the shared store, so a lease that is lost by mistake costs a restart and nothing else. No clock is compared with another:
//! a standby measures, by its own, how long a beat has not changed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_schemas::Micros;

use crate::store::StoreError;

/// Tries to get at the file, and the pause between them.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Whose.
    pub owner: String,
    /// Grows with each.
    pub count: u64,
    /// The last one of an owner who ended in good order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
}

impl Beat {
    /// Returns the beat of `owner` that follows on `before`.
    #[must_use]
    pub fn after(before: Option<&Self>, owner: &str) -> Self {
        Self { owner: owner.to_owned(), count: before.map_or(0, |beat| beat.count) + 1, released: false }
    }
}

/// Where the beat is kept.
pub trait Lease: Send {
    /// Returns the last beat; none before the first.
    ///
    /// # Errors
    /// Fails if the place cannot be reached.
    fn look(&self) -> Result<Option<Beat>, StoreError>;

    /// Replaces the beat `seen` by `next`; `false` if it is another by now. Repeating it after a lost answer changes nothing.
    ///
    /// # Errors
    /// Fails if the place cannot be reached.
    fn beat(&self, seen: Option<&Beat>, next: &Beat) -> Result<bool, StoreError>;
}

/// What a standby does after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Somebody is the ledger.
    Held,
    /// Nobody is, or whoever was has been silent for as long as the lease lasts.
    Free,
}

/// A standby's memory of what it saw.
#[derive(Clone, Debug)]
pub struct Watcher {
    lasts: Duration,
    seen: Option<Beat>,
    /// Since when, by the standby's own clock, whose zero is nobody else's.
    since: Micros,
}

impl Watcher {
    /// Begins to watch a lease that lasts so long after each beat.
    #[must_use]
    pub const fn new(lasts: Duration, now: Micros) -> Self {
        Self { lasts, seen: None, since: now }
    }

    /// Takes what a look found at `now`.
    pub fn see(&mut self, beat: Option<Beat>, now: Micros) -> Watched {
        if beat != self.seen {
            (self.seen, self.since) = (beat, now);
        }
        let silent = u64::try_from(now.0 - self.since.0).unwrap_or(0);
        let released = self.seen.as_ref().is_some_and(|beat| beat.released);
        if released || Duration::from_micros(silent) >= self.lasts { Watched::Free } else { Watched::Held }
    }

    /// Returns the last beat seen.
    #[must_use]
    pub const fn seen(&self) -> Option<&Beat> {
        self.seen.as_ref()
    }
}

/// A lease in a file, for processes of one machine.
#[derive(Debug)]
pub struct FileLease {
    path: PathBuf,
}

impl FileLease {
    /// Names the file; it is made with the first beat.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn failed(&self, operation: &'static str, error: &std::io::Error) -> StoreError {
        StoreError::Unavailable { operation, detail: format!("{}: {error}", self.path.display()) }
    }

    /// Opens the file and locks it for a moment.
    fn locked(&self) -> Result<File, StoreError> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path);
        let file = open.map_err(|error| self.failed("open the lease", &error))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => return Err(self.failed("lock the lease", &error)),
            }
        }
        let detail = format!("{} is locked by another process", self.path.display());
        Err(StoreError::Unavailable { operation: "lock the lease", detail })
    }

    /// Reads the beat; one that was torn by a crash is none.
    fn read(&self, file: &mut File) -> Result<Option<Beat>, StoreError> {
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| self.failed("read the lease", &error))?;
        Ok(serde_json::from_str(&text).ok())
    }
}

impl Lease for FileLease {
    fn look(&self) -> Result<Option<Beat>, StoreError> {
        if !Path::exists(&self.path) {
            return Ok(None);
        }
        self.read(&mut self.locked()?)
    }

    fn beat(&self, seen: Option<&Beat>, next: &Beat) -> Result<bool, StoreError> {
        let mut file = self.locked()?;
        let found = self.read(&mut file)?;
        if found.as_ref() == Some(next) {
            return Ok(true);
        }
        if found.as_ref() != seen {
            return Ok(false);
        }
        let text = serde_json::to_string(next).map_err(|error| self.failed("write the lease", &error.into()))?;
        let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.set_len(0)).and_then(|()| file.write_all(text.as_bytes()));
        written.map_err(|error| self.failed("write the lease", &error)).map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::time::SECOND;

    use super::*;

    #[test]
    fn a_beat_is_replaced_by_who_saw_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let lease = FileLease::new(folder.path().join("lease"));
        assert_eq!(lease.look().expect("a look"), None);
        let first = Beat::after(None, "a");
        assert!(lease.beat(None, &first).expect("a beat"));
        assert!(lease.beat(None, &first).expect("a repetition"), "its answer was lost");
        assert!(!lease.beat(None, &Beat::after(None, "b")).expect("a look"), "b did not see it");
        let taken = Beat::after(Some(&first), "b");
        assert!(lease.beat(Some(&first), &taken).expect("a beat"));
        assert!(!lease.beat(Some(&first), &Beat::after(Some(&first), "a")).expect("a look"), "a has lost it");
        assert_eq!(lease.look().expect("a look"), Some(taken));
        std::fs::write(folder.path().join("lease"), "{\"own").expect("a torn write");
        assert_eq!(lease.look().expect("a look"), None);
    }

    #[test]
    fn silence_frees_a_lease_and_so_does_its_owner() {
        let at = |seconds: i64| Micros(seconds * SECOND);
        let mut watcher = Watcher::new(Duration::from_secs(10), at(0));
        let beat = |count| Some(Beat { owner: "a".to_owned(), count, released: false });
        assert_eq!(watcher.see(None, at(9)), Watched::Held, "a ledger may be starting");
        assert_eq!(watcher.see(beat(1), at(12)), Watched::Held);
        assert_eq!(watcher.see(beat(2), at(20)), Watched::Held);
        assert_eq!(watcher.see(beat(2), at(29)), Watched::Held);
        assert_eq!(watcher.see(beat(2), at(30)), Watched::Free);
        assert_eq!(watcher.see(beat(3), at(31)), Watched::Held, "it was slow");
        let released = Some(Beat { owner: "a".to_owned(), count: 4, released: true });
        assert_eq!(watcher.see(released.clone(), at(32)), Watched::Free);
        assert_eq!(watcher.seen(), released.as_ref());
    }
}
