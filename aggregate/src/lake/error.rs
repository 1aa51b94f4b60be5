//! What can go wrong with the lake, and what each failure asks of the caller.

use std::io;
use std::path::{Path, PathBuf};

use sluice_schemas::ErrorClass;

/// A failed operation on the lake.
///
/// After an error of [`super::Lake::commit`] or [`super::Lake::replace`] the epoch may or may not be committed: open the lake again, which
/// finishes or forgets it, and read [`super::Lake::state`].
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// Another process holds the writer's lock.
    #[error("lake {lake} is in use by process {pid}: stop it first, or write to another folder")]
    Locked {
        /// Root of the lake.
        lake: PathBuf,
        /// Process id found in the lock file; `unknown` when it holds none.
        pid: String,
    },
    /// No free space.
    #[error("disk full at {path}: free some space, the lake goes on from its last commit")]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be written or read by this user.
    #[error("no permission for {path}: give this user read and write access to the lake's folder")]
    Permission {
        /// What was being accessed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is mounted read-only.
    #[error("{path} is on a read-only file system: mount it for writing, or choose another folder")]
    ReadOnly {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file stands where a folder is needed.
    #[error("{path} is not a folder: choose another path for the lake")]
    NotAFolder {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system cannot create a file atomically.
    #[error("the file system of {path} has no hard links, which a safe commit needs: choose a local disk for the lake")]
    NoHardLinks {
        /// The log entry that was to be created.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure of the storage.
    #[error("cannot {what} {path}")]
    Io {
        /// What was attempted: `write`, `read`, `list`.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A storage elsewhere did not do what was asked.
    #[error("cannot {what} {}: {problem}; {fix}", path.display())]
    Remote {
        /// What was attempted: `write`, `read`, `list`.
        what: &'static str,
        /// On which object.
        path: PathBuf,
        /// What the service said.
        problem: String,
        /// What to do.
        fix: String,
        /// Whether another try may succeed.
        is_transient: bool,
    },
    /// No lake at this path.
    #[error("no lake at {path}: it has no table 'calls'")]
    NotALake {
        /// The path.
        path: PathBuf,
    },
    /// A newer writer took over.
    #[error("fenced: writer {ours} was superseded by {theirs}")]
    Fenced {
        /// Fence of this writer.
        ours: u64,
        /// What was found in the log.
        theirs: String,
    },
    /// Stored bytes contradict themselves.
    #[error("corrupt {path}: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The table needs abilities this program does not have.
    #[error("table {table} needs {needs}, which this version cannot read or write")]
    Unsupported {
        /// The table.
        table: String,
        /// The ability.
        needs: String,
    },
    /// A table of this name exists with columns that do not fit.
    #[error("column '{column}' of table {table} is {found}, not {expected}: choose another name for the table")]
    SchemaChanged {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type in the lake.
        found: String,
        /// The type asked for.
        expected: String,
    },
    /// Not a name a table can have.
    #[error("'{name}' cannot name a table: use lower-case letters, digits and '_', a letter first")]
    TableName {
        /// The refused name.
        name: String,
    },
    /// No table of this name.
    #[error("no table '{table}' in the lake")]
    UnknownTable {
        /// The name.
        table: String,
    },
    /// Rows that do not fit the table they were appended to.
    #[error("rows do not fit table {table}: {detail}")]
    Rows {
        /// The table.
        table: String,
        /// What does not fit.
        detail: String,
    },
    /// A file to be replaced is no longer part of the table.
    #[error("{path} is no longer part of table {table}: read the table again")]
    Conflict {
        /// The table.
        table: String,
        /// The file.
        path: String,
    },
    /// An earlier commit failed half-way.
    #[error("an earlier commit failed: open the lake again")]
    NeedsReopen,
    /// A reader was asked to write.
    #[error("this lake was opened for reading")]
    ReadHandle,
    /// A sealed epoch that is not the next one.
    #[error("epoch {got} cannot follow epoch {last}")]
    EpochOrder {
        /// The last committed one.
        last: u64,
        /// The one handed in.
        got: u64,
    },
    /// Encoding or decoding Parquet failed.
    #[error("cannot encode or decode {path}")]
    Parquet {
        /// File or table.
        path: String,
        /// What failed.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A column operation failed.
    #[error("cannot convert rows of {path}")]
    Arrow {
        /// File or table.
        path: String,
        /// What failed.
        #[source]
        source: arrow::error::ArrowError,
    },
}

impl LakeError {
    /// Wraps a failure of the storage by what a person can do about it.
    #[must_use]
    pub fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            io::ErrorKind::PermissionDenied => Self::Permission { path, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, source },
            io::ErrorKind::NotADirectory => Self::NotAFolder { path, source },
            _ => Self::Io { what, path, source },
        }
    }

    pub(crate) fn corrupt(path: impl Into<PathBuf>, detail: impl ToString) -> Self {
        Self::Corrupt { path: path.into(), detail: detail.to_string() }
    }

    pub(crate) fn parquet(path: &str) -> impl FnOnce(parquet::errors::ParquetError) -> Self + '_ {
        move |source| {
            let parquet::errors::ParquetError::External(inner) = source else {
                return Self::Parquet { path: path.to_owned(), source };
            };
            // The storage's own error comes back through the encoder: keep what a person can do about it.
            let inner = match inner.downcast::<io::Error>() {
                Ok(error) => return error.downcast().unwrap_or_else(|error| Self::io("write", Path::new(path), error)),
                Err(inner) => inner,
            };
            Self::Parquet { path: path.to_owned(), source: parquet::errors::ParquetError::External(inner) }
        }
    }

    pub(crate) fn arrow(path: &str) -> impl FnOnce(arrow::error::ArrowError) -> Self + '_ {
        move |source| Self::Arrow { path: path.to_owned(), source }
    }

    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::DiskFull { .. } | Self::Io { .. } | Self::Conflict { .. } | Self::Remote { is_transient: true, .. } => {
                ErrorClass::Transient
            }
            Self::Fenced { .. } => ErrorClass::Fenced,
            Self::Corrupt { .. } | Self::Parquet { .. } => ErrorClass::Corrupt,
            Self::Rows { .. }
            | Self::NeedsReopen
            | Self::ReadHandle
            | Self::EpochOrder { .. }
            | Self::Arrow { .. }
            | Self::UnknownTable { .. } => ErrorClass::Bug,
            Self::Locked { .. }
            | Self::Remote { .. }
            | Self::Permission { .. }
            | Self::ReadOnly { .. }
            | Self::NotAFolder { .. }
            | Self::NoHardLinks { .. }
            | Self::NotALake { .. }
            | Self::Unsupported { .. }
            | Self::SchemaChanged { .. }
            | Self::TableName { .. } => ErrorClass::Misconfigured,
        }
    }
}
