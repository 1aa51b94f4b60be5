//! Keeps two processes apart of which one has taken the file from the other, which may be asleep.
//!
//! Whoever takes over while the file is still open elsewhere puts a copy in its place, under a lock that every write takes too. A write
//! looks whether the file it has open is still the one of that name: a process that was overtaken finds another one there, however late
//! it wakes up, and writes nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{FileStore, StoreError};

/// Tries to get at a lock that is held for a write, and the pause between them.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// The lock, and which file is guarded.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    lock: Arc<Mutex<File>>,
    path: PathBuf,
    /// Device and inode of the file that is open.
    own: (u64, u64),
}

/// The lock while it is held.
pub(super) struct Held<'a>(MutexGuard<'a, File>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "the lock of the shared store could not be let go; it is when the process ends");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

fn lock_file(path: &Path) -> io::Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(name)
}

impl Guard {
    /// Opens a file under its lock, and guards it from then on.
    pub(super) fn opening<T, E>(path: &Path, failed: impl Fn(io::Error) -> E, open: impl FnOnce() -> Result<T, E>) -> Result<(Self, T), E> {
        let lock = lock_file(path).and_then(|lock| wait_for(&lock).map(|()| lock)).map_err(&failed)?;
        let opened = open()?;
        let own = identity(path).map_err(&failed)?;
        lock.unlock().map_err(&failed)?;
        Ok((Self { lock: Arc::new(Mutex::new(lock)), path: path.to_owned(), own }, opened))
    }

    /// Takes the lock for a write; `None` if the file was taken over.
    pub(super) fn hold(&self) -> io::Result<Option<Held<'_>>> {
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.lock()?;
        let held = Held(lock);
        Ok((identity(&self.path)? == self.own).then_some(held))
    }
}

/// Waits for the lock as long as a write may take.
fn wait_for(lock: &File) -> io::Result<()> {
    for _ in 0..TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let detail = "the process that has it open was stopped in the middle of a write: end that one";
    Err(io::Error::new(io::ErrorKind::WouldBlock, detail))
}

/// Puts a copy in the place of a file that another process has open, between two of its writes.
fn replace(path: &Path) -> io::Result<()> {
    let lock = lock_file(path)?;
    wait_for(&lock)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".taken");
    let copy = PathBuf::from(name);
    fs::copy(path, &copy)?;
    File::open(&copy)?.sync_all()?;
    fs::rename(&copy, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

impl FileStore {
    /// Takes a file from a process that has it open and is silent: a copy takes its place, and that process writes nothing any more,
    /// however late it wakes up. `false` if nobody has it open.
    ///
    /// # Errors
    /// It cannot be copied, or the other process was stopped in the middle of a write.
    pub fn take_from_other(path: &Path) -> Result<bool, StoreError> {
        match Self::open(path) {
            Ok(_) => Ok(false),
            Err(StoreError::Busy { .. }) => {
                replace(path).map(|()| true).map_err(|error| StoreError::Unavailable { operation: "take over", detail: error.to_string() })
            }
            Err(error) => Err(error),
        }
    }
}
