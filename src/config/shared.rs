//! Where fire ids, holds and approvals are kept: what must outlive the disk of the ledger.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
#[cfg(feature = "aws")]
use sluice_enforce::{DynamoLease, DynamoSettings, DynamoStore};
use sluice_enforce::{FileLease, FileStore, Lease, SharedStore};

/// The place of the shared store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SharedPlace {
    /// A file, for one machine.
    File(PathBuf),
    /// A DynamoDB table, for a ledger and its standby on machines of their own.
    #[cfg(feature = "aws")]
    Table(DynamoSettings),
}

impl SharedPlace {
    /// Takes the section `[shared]` if there is one, else the file.
    ///
    /// # Errors
    /// A sentence for people.
    pub(super) fn choose(section: Option<toml::Table>, file: PathBuf) -> Result<Self, String> {
        match section {
            None => Ok(Self::File(file)),
            #[cfg(feature = "aws")]
            Some(table) => table.try_into().map(Self::Table).map_err(|error| error.to_string().trim_end().replace('\n', " ")),
            #[cfg(not(feature = "aws"))]
            Some(_) => Err("this build knows no table: build it with --features aws".to_owned()),
        }
    }

    /// Opens the store; a file is made when there is none, a table is not.
    ///
    /// # Errors
    /// It cannot be reached, or its content is gone.
    pub(crate) fn open(&self) -> anyhow::Result<Arc<dyn SharedStore>> {
        match self {
            Self::File(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
                }
                if std::fs::metadata(path).is_ok_and(|found| found.len() == 0) {
                    let place = path.display();
                    bail!(
                        "shared store {place} is empty: its fire ids and holds are gone; restore it from a copy, or delete it to start anew"
                    );
                }
                Ok(Arc::new(FileStore::open(path).with_context(|| format!("open shared store {self}"))?))
            }
            #[cfg(feature = "aws")]
            Self::Table(settings) => Ok(Arc::new(DynamoStore::open(settings).with_context(|| format!("open shared store {self}"))?)),
        }
    }

    /// Returns the table as the configuration names it; none where the store is a file.
    pub(crate) fn table(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            #[cfg(feature = "aws")]
            Self::Table(settings) => Some(&settings.table),
        }
    }

    /// Opens the lease of the ledger, which is kept beside the store.
    ///
    /// # Errors
    /// It cannot be reached.
    pub(crate) fn lease(&self) -> anyhow::Result<Box<dyn Lease>> {
        match self {
            Self::File(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
                }
                Ok(Box::new(FileLease::new(path.with_extension("lease"))))
            }
            #[cfg(feature = "aws")]
            Self::Table(settings) => Ok(Box::new(DynamoLease::open(settings).with_context(|| format!("open shared store {self}"))?)),
        }
    }

    /// Takes the store from another process that has it open and is silent; `true` if there was one. A table has a fence alone.
    ///
    /// # Errors
    /// It cannot be taken now.
    pub(crate) fn take_from_other(&self) -> anyhow::Result<bool> {
        match self {
            Self::File(path) if path.exists() => {
                Ok(FileStore::take_from_other(path).with_context(|| format!("take over shared store {self}"))?)
            }
            Self::File(_) => Ok(false),
            #[cfg(feature = "aws")]
            Self::Table(_) => Ok(false),
        }
    }

    /// Makes the table unless it exists; `true` if it was made.
    ///
    /// # Errors
    /// It cannot be made, or the store is a file, which needs no making.
    pub(crate) fn create(&self) -> anyhow::Result<bool> {
        match self {
            Self::File(path) => {
                bail!("the shared store is the file {}, which is made by itself: a table is named in [shared]", path.display())
            }
            #[cfg(feature = "aws")]
            Self::Table(settings) => Ok(DynamoStore::ensure_table(settings).with_context(|| format!("create shared store {self}"))?),
        }
    }
}

impl fmt::Display for SharedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            #[cfg(feature = "aws")]
            Self::Table(settings) => write!(f, "DynamoDB table {}", settings.table),
        }
    }
}
