//! The storage below the lake: named objects, of which one can be created only once.
//!
//! Paths are relative to the lake's root, with `/` between the parts. Everything that `put_if_absent`, `put` or a finished
//! [`StagedObject`] reported as done survives a loss of power.

use std::fmt::Debug;
use std::fs::File;
use std::path::PathBuf;

use super::LakeError;

/// Outcome of creating an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there, whole, and was not before.
    Created,
    /// Something of that name was there already and is untouched.
    Exists,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Last part of its path.
    pub name: String,
    /// Size in bytes; 0 for a folder.
    pub bytes: u64,
    /// Whether it holds other objects.
    pub folder: bool,
}

/// Held by the one writer of a lake; released when dropped.
#[derive(Debug, Default)]
pub struct WriterLock {
    /// The locked file, where the storage has locks.
    pub file: Option<File>,
}

/// An object that is written in pieces and exists for readers only once a commit names it.
pub trait StagedObject: Send + Debug {
    /// Adds bytes at its end.
    ///
    /// # Errors
    /// The storage failed.
    fn append(&mut self, bytes: &[u8]) -> Result<(), LakeError>;

    /// Makes it durable.
    ///
    /// # Errors
    /// The storage failed.
    fn finish(self: Box<Self>) -> Result<(), LakeError>;
}

/// Named objects.
pub trait Objects: Send + Sync + Debug {
    /// Creates an object if its name is free, atomically and durably.
    ///
    /// # Errors
    /// The storage failed; the object may or may not exist, and is whole if it does.
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<Put, LakeError>;

    /// Writes an object, replacing what was there, atomically and durably.
    ///
    /// # Errors
    /// The storage failed.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LakeError>;

    /// Begins an object that is written in pieces, replacing what was there.
    ///
    /// # Errors
    /// The storage failed.
    fn stage(&self, path: &str) -> Result<Box<dyn StagedObject>, LakeError>;

    /// Reads a whole object; `None` if it does not exist.
    ///
    /// # Errors
    /// The storage failed.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError>;

    /// Reads `length` bytes from `offset` on.
    ///
    /// # Errors
    /// The storage failed, or the object is shorter.
    fn get_range(&self, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, LakeError>;

    /// Returns the size of an object; `None` if it does not exist.
    ///
    /// # Errors
    /// The storage failed.
    fn size(&self, path: &str) -> Result<Option<u64>, LakeError>;

    /// Lists what is directly in a folder, sorted by name; nothing if there is no such folder.
    ///
    /// # Errors
    /// The storage failed.
    fn list(&self, folder: &str) -> Result<Vec<ObjectEntry>, LakeError>;

    /// Deletes an object; one that does not exist is no error.
    ///
    /// # Errors
    /// The storage failed.
    fn delete(&self, path: &str) -> Result<(), LakeError>;

    /// Removes a folder if nothing is in it.
    ///
    /// # Errors
    /// The storage failed.
    fn delete_empty_folder(&self, folder: &str) -> Result<(), LakeError>;

    /// Makes the names in a folder durable, whoever gave them.
    ///
    /// # Errors
    /// The storage failed.
    fn settle(&self, folder: &str) -> Result<(), LakeError>;

    /// Takes the lock that keeps a second writer out, where the storage has locks.
    ///
    /// # Errors
    /// Another process holds it, or the storage failed.
    fn lock(&self, path: &str) -> Result<WriterLock, LakeError>;

    /// Returns where an object can be found by other programs.
    fn locate(&self, path: &str) -> PathBuf;

    /// Returns the URL of the root, with a `/` at its end, where it is no local folder.
    fn remote(&self) -> Option<String> {
        None
    }
}
