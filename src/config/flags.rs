//! The `[flags]` section: the DynamoDB table whose rows agents elsewhere look at (docs/flags.md).

use std::fmt;

#[cfg(feature = "aws")]
use anyhow::Context;
#[cfg(feature = "aws")]
use sluice_enforce::{DynamoSettings, DynamoStore};

/// The table; there is none in a build without the AWS clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FlagsTable {
    /// Its name and how it is reached.
    #[cfg(feature = "aws")]
    Table(DynamoSettings),
}

impl FlagsTable {
    /// Reads the section.
    ///
    /// # Errors
    /// A sentence for people.
    pub(super) fn parse(section: toml::Table) -> Result<Self, String> {
        #[cfg(feature = "aws")]
        return section.try_into().map(Self::Table).map_err(|error| error.to_string().trim_end().replace('\n', " "));
        #[cfg(not(feature = "aws"))]
        Err(format!("this build knows no table ({} keys are given): build it with --features aws", section.len()))
    }

    /// Makes the table unless it exists; `true` if it was made.
    ///
    /// # Errors
    /// It cannot be made, or one of that name has another key.
    pub(crate) fn create(&self) -> anyhow::Result<bool> {
        match *self {
            #[cfg(feature = "aws")]
            Self::Table(ref settings) => DynamoStore::ensure_flags(settings).with_context(|| format!("create {self}")),
        }
    }
}

impl fmt::Display for FlagsTable {
    #[cfg_attr(not(feature = "aws"), expect(unused_variables, reason = "there is nothing to show without a table"))]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            #[cfg(feature = "aws")]
            Self::Table(ref settings) => write!(f, "DynamoDB table {}", settings.table),
        }
    }
}
