//! A lake in a folder of a local file system.
//!
//! A log entry is written under another name, synced, and then given its name by a hard link: it appears whole or not at all, and only
//! if the name was free. Files and the folders that name them are synced before anything refers to them.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::LakeError;
use super::objects::{ObjectEntry, Objects, Put, StagedObject, WriterLock};

/// Prefix of the name under which an object is written before it gets its own; readers of Delta tables pass over dotted names.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Objects below a folder.
#[derive(Debug)]
pub struct LocalObjects {
    root: PathBuf,
    /// Folders known to exist and to be synced.
    folders: Mutex<HashSet<PathBuf>>,
    serial: AtomicU64,
}

impl LocalObjects {
    /// Returns the objects below `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), folders: Mutex::default(), serial: AtomicU64::new(0) }
    }

    fn parent_of(&self, path: &Path) -> PathBuf {
        path.parent().unwrap_or(&self.root).to_owned()
    }

    /// Creates a folder and its parents, each one durably.
    fn ensure_folder(&self, folder: &Path) -> Result<(), LakeError> {
        if self.folders.lock().unwrap_or_else(PoisonError::into_inner).contains(folder) {
            return Ok(());
        }
        if !folder.is_dir() {
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                self.ensure_folder(parent)?;
            }
            match fs::create_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(LakeError::NotAFolder { path: folder.to_owned(), source });
                }
                other => other.map_err(|source| LakeError::io("create", folder, source))?,
            }
            if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_folder(parent)?;
            }
        }
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Ok(())
    }

    /// Writes and syncs a file under a name of its own beside `target`.
    fn write_temporary(&self, target: &Path, bytes: &[u8]) -> Result<PathBuf, LakeError> {
        let folder = self.parent_of(target);
        self.ensure_folder(&folder)?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = folder.join(format!("{TEMPORARY}{}-{serial}-{name}", std::process::id()));
        let written = File::create(&path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        if let Err(source) = written {
            remove_quietly(&path);
            return Err(LakeError::io("write", target, source));
        }
        Ok(path)
    }
}

impl Objects for LocalObjects {
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError> {
        let target = self.locate(path);
        let temporary = self.write_temporary(&target, bytes)?;
        let linked = fs::hard_link(&temporary, &target);
        remove_quietly(&temporary);
        match linked {
            Ok(()) => sync_folder(&self.parent_of(&target)).map(|()| Put::Created),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::Exists),
            // The temporary file beside it could be written, so this is not about rights.
            Err(source) if matches!(source.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
                Err(LakeError::NoHardLinks { path: target, source })
            }
            Err(source) => Err(LakeError::io("write", &target, source)),
        }
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError> {
        let target = self.locate(path);
        let temporary = self.write_temporary(&target, bytes)?;
        if let Err(source) = fs::rename(&temporary, &target) {
            remove_quietly(&temporary);
            return Err(LakeError::io("write", &target, source));
        }
        sync_folder(&self.parent_of(&target))
    }

    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError> {
        let target = self.locate(path);
        let folder = self.parent_of(&target);
        self.ensure_folder(&folder)?;
        File::create(&target).map_err(|source| LakeError::io("write", &target, source))?;
        Ok(Box::new(LocalStaged { path: target, folder }))
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        let path = self.locate(path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LakeError::io("read", &path, source)),
        }
    }

    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError> {
        let path = self.locate(path);
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|source| LakeError::io("read", &path, source))
    }

    fn size(&self, path: &str) -> Result<Option<u64>, LakeError> {
        let path = self.locate(path);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LakeError::io("read", &path, source)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError> {
        let path = self.locate(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(LakeError::io("list", &path, source)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.and_then(|entry| Ok((entry.file_name(), entry.metadata()?)));
            match entry {
                Ok((name, metadata)) => found.push(ObjectEntry {
                    name: name.to_string_lossy().into_owned(),
                    bytes: if metadata.is_dir() { 0 } else { metadata.len() },
                    folder: metadata.is_dir(),
                }),
                // Deleted by another program between the listing and the look at it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(LakeError::io("list", &path, source)),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<(), LakeError> {
        let path = self.locate(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|source| LakeError::io("delete", &path, source)),
        }
    }

    fn delete_empty_folder(&self, folder: &str) -> Result<(), LakeError> {
        let path = self.locate(folder);
        self.folders.lock().unwrap_or_else(PoisonError::into_inner).remove(&path);
        match fs::remove_dir(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
            other => other.map_err(|source| LakeError::io("delete", &path, source)),
        }
    }

    fn settle(&self, folder: &str) -> Result<(), LakeError> {
        let path = self.locate(folder);
        if path.is_dir() { sync_folder(&path) } else { Ok(()) }
    }

    fn lock(&self, path: &str) -> Result<WriterLock, LakeError> {
        let path = self.locate(path);
        self.ensure_folder(&self.parent_of(&path))?;
        let failed = |source| LakeError::io("lock", &path, source);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed)?;
                let pid = pid.trim();
                let pid = if pid.is_empty() { "unknown" } else { pid };
                return Err(LakeError::Locked { lake: self.root.clone(), pid: pid.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(WriterLock { file: Some(file) })
    }

    fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

/// Takes the lock of a local lake from a process that holds it and is silent. It is a courtesy to people who start two processes by
/// mistake; what keeps an old writer from committing is the fence in the log. `false` if nobody holds it.
pub(super) fn take_lock(root: &Path, lock: &str) -> Result<bool, LakeError> {
    let path = root.join(lock);
    let failed = |source| LakeError::io("lock", &path, source);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed(source)),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => fs::remove_file(&path).map(|()| true).map_err(failed),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A file written in pieces; it is open only while a piece is written, so that any number of them can be in the making.
#[derive(Debug)]
struct LocalStaged {
    path: PathBuf,
    folder: PathBuf,
}

impl StagedObject for LocalStaged {
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError> {
        let written = OpenOptions::new().append(true).open(&self.path).and_then(|mut file| file.write_all(bytes));
        written.map_err(|source| LakeError::io("write", &self.path, source))
    }

    fn finish(self: Box<Self>) -> Result<(), LakeError> {
        let synced = File::open(&self.path).and_then(|file| file.sync_all());
        synced.map_err(|source| LakeError::io("sync", &self.path, source))?;
        sync_folder(&self.folder)
    }
}

fn sync_folder(folder: &Path) -> Result<(), LakeError> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| LakeError::io("sync", folder, source))
}

/// Removes a file that nothing refers to; one that stays is swept when the lake is opened next.
fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "temporary file could not be removed");
    }
}
