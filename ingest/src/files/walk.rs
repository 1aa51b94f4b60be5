//! Lists the log files below the paths that were asked for, in the layouts in which Bedrock and CloudTrail fill a bucket.
//!
//! Sources: AWS, "Monitor model invocation using Amazon CloudWatch Logs and Amazon S3" and "Finding your CloudTrail log files".

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sluice_schemas::Micros;

use crate::source::SourceError;

/// Folder of the invocation logs; its `data` folders hold the bodies too large for a log.
const INVOCATION_LOGS: &str = "BedrockModelInvocationLogs";
const OFFLOADED_BODIES: &str = "data";
/// CloudTrail's log folder.
const TRAIL_EVENTS: &str = "CloudTrail";

/// Tells whether a file lies where CloudTrail writes.
pub(super) fn is_trail(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == TRAIL_EVENTS)
}

/// Siblings of CloudTrail's log folder that hold something else than events of the management plane.
const NOT_TRAIL_EVENTS: [&str; 4] = ["CloudTrail-Digest", "CloudTrail-Insight", "CloudTrail-NetworkActivity", "CloudTrail-Aggregated"];
/// Endings of files that are still being written by another program.
const UNFINISHED: [&str; 4] = ["tmp", "part", "partial", "swp"];
/// Endings of files that are no logs. Whatever is not listed is read: a log must not be missed for its name.
const NOT_LOGS: [&str; 38] = [
    "avro", "bin", "bmp", "conf", "crc", "css", "csv", "db", "doc", "docx", "exe", "gif", "htm", "html", "ico", "jpeg", "jpg", "js",
    "lock", "md", "mov", "mp3", "mp4", "orc", "parquet", "pdf", "png", "py", "redb", "rs", "sh", "sqlite", "svg", "toml", "wav", "webp",
    "xml", "yaml",
];

/// A path that was asked for.
#[derive(Clone, Debug)]
pub(super) struct Root {
    path: PathBuf,
    is_file: bool,
}

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its absolute path without symbolic links.
    pub(super) path: PathBuf,
    /// Bytes stored.
    pub(super) size: u64,
    /// When it was last written, as the file system says.
    pub(super) modified: Micros,
    /// Number that stays with it when it is renamed; 0 where there is none.
    pub(super) inode: u64,
}

/// What was found below the roots.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files, by path, each once.
    pub(super) files: Vec<Found>,
    /// Folders that could not be listed and files that could not be looked at, with what the system said.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

/// Checks the paths that were asked for.
pub(super) fn roots(paths: &[PathBuf]) -> Result<Vec<Root>, SourceError> {
    let root = |path: &PathBuf| {
        let open = |source| SourceError::Open { path: path.clone(), source };
        let canonical = fs::canonicalize(path).map_err(open)?;
        let metadata = fs::metadata(&canonical).map_err(open)?;
        if metadata.is_file() || metadata.is_dir() {
            Ok(Root { path: canonical, is_file: metadata.is_file() })
        } else {
            Err(SourceError::NotAFile { path: path.clone() })
        }
    };
    if paths.is_empty() { Err(SourceError::NoPath) } else { paths.iter().map(root).collect() }
}

/// Lists the files of all roots. A file that was asked for by its own path is taken whatever its name.
pub(super) fn list(roots: &[Root]) -> Listing {
    let mut walk = Walk::default();
    for root in roots {
        if root.is_file {
            walk.look_at(root.path.clone(), fs::metadata(&root.path));
        } else if walk.visited.insert(root.path.clone()) {
            walk.folders.push(root.path.clone());
        }
    }
    while let Some(folder) = walk.folders.pop() {
        if let Err(error) = walk.list_folder(&folder) {
            walk.listing.unreadable.push((folder, error.to_string()));
        }
    }
    let mut listing = walk.listing;
    listing.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    listing.files.dedup_by(|a, b| a.path == b.path);
    listing.unreadable.sort_unstable();
    listing.unreadable.dedup_by(|a, b| a.0 == b.0);
    listing
}

#[derive(Default)]
struct Walk {
    folders: Vec<PathBuf>,
    /// Every folder seen, so that a symbolic link leads nowhere twice.
    visited: HashSet<PathBuf>,
    listing: Listing,
}

impl Walk {
    fn list_folder(&mut self, folder: &Path) -> io::Result<()> {
        let holds_bodies = folder.components().any(|part| part.as_os_str() == INVOCATION_LOGS);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                self.follow(path);
            } else if kind.is_dir() {
                let skipped = is_hidden(&name) || is_other_folder(&name) || (holds_bodies && name == OFFLOADED_BODIES);
                self.enter(path, skipped);
            } else if kind.is_file() {
                self.admit(path, entry.metadata());
            } else {
                tracing::debug!(path = %path.display(), "skipped: neither a file nor a folder");
            }
        }
        Ok(())
    }

    fn enter(&mut self, path: PathBuf, skipped: bool) {
        if skipped {
            tracing::debug!(path = %path.display(), "skipped: a folder of something else than logs");
        } else if self.visited.insert(path.clone()) {
            self.folders.push(path);
        }
    }

    fn admit(&mut self, path: PathBuf, metadata: io::Result<Metadata>) {
        if path.file_name().is_some_and(is_log) {
            self.look_at(path, metadata);
        } else {
            tracing::debug!(path = %path.display(), "skipped: not a log by its name");
        }
    }

    /// Follows a symbolic link to where it ends; the file or folder there is read under its own path, once.
    fn follow(&mut self, link: PathBuf) {
        match fs::canonicalize(&link).and_then(|path| Ok((fs::metadata(&path)?, path))) {
            Ok((metadata, path)) if metadata.is_dir() => self.enter(path, link.file_name().is_some_and(is_hidden)),
            Ok((metadata, path)) if metadata.is_file() => self.admit(path, Ok(metadata)),
            Ok(_) => tracing::debug!(path = %link.display(), "skipped: neither a file nor a folder"),
            Err(error) => tracing::debug!(path = %link.display(), %error, "skipped: a link that leads nowhere"),
        }
    }

    fn look_at(&mut self, path: PathBuf, metadata: io::Result<Metadata>) {
        match metadata {
            Ok(metadata) => {
                self.listing.files.push(Found { size: metadata.len(), modified: modified(&metadata), inode: inode(&metadata), path });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.listing.unreadable.push((path, error.to_string())),
        }
    }
}

fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_encoded_bytes().first(), Some(b'.' | b'_'))
}

fn is_other_folder(name: &OsStr) -> bool {
    NOT_TRAIL_EVENTS.iter().any(|other| name == *other)
}

fn is_log(name: &OsStr) -> bool {
    let ending = Path::new(name).extension().map(|ending| ending.to_ascii_lowercase());
    let is_one_of = |endings: &[&str]| ending.as_ref().is_some_and(|ending| endings.iter().any(|other| ending == *other));
    !is_hidden(name) && !name.as_encoded_bytes().ends_with(b"~") && !is_one_of(&UNFINISHED) && !is_one_of(&NOT_LOGS)
}

/// Returns when a file was last written; the epoch where the system does not tell.
pub(super) fn modified(metadata: &Metadata) -> Micros {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Micros(since.and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(0))
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}
