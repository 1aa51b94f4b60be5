//! Why a query failed, in words that help to mend it.

use std::path::PathBuf;

use datafusion::common::SchemaError;
use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::error::DataFusionError;
use sluice_schemas::ErrorClass;

use crate::lake::LakeError;

/// A query that cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Not SQL, or SQL that does not fit together.
    #[error("the query cannot be understood")]
    Sql {
        /// What the planner said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// A column that is not there.
    #[error("no column '{column}'{}", did_you_mean(suggestion.as_deref()))]
    UnknownColumn {
        /// The column asked for.
        column: String,
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// A table that is not there.
    #[error("no table '{table}'{}", did_you_mean(suggestion.as_deref()))]
    UnknownTable {
        /// The table asked for.
        table: String,
        /// The one that was probably meant.
        suggestion: Option<String>,
    },
    /// A statement that would change something.
    #[error("{statement} is refused: queries only read")]
    ReadOnly {
        /// What it was.
        statement: String,
    },
    /// The query needs more memory than it may have.
    #[error("the query needs more than {limit_bytes} bytes of memory: ask for fewer days or fewer groups")]
    Memory {
        /// The limit.
        limit_bytes: usize,
        /// What the engine said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The answer is too large to be held.
    #[error("the answer is larger than {limit_bytes} bytes: aggregate, filter, or add LIMIT")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The lake's log cannot be read.
    #[error("the lake cannot be read")]
    Lake {
        /// What it said.
        #[source]
        source: Box<LakeError>,
    },
    /// The system refused a thread or a descriptor.
    #[error("the query engine cannot start")]
    Runtime {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file of the lake that cannot be read: removed by a compaction since the file list was read, or no access.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that is not what the log says.
    #[error("a file of the lake is corrupt")]
    Corrupt {
        /// What the reader said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The query failed on the data, for example by a division by zero.
    #[error("the query failed")]
    Execution {
        /// What the engine said.
        #[source]
        source: Box<DataFusionError>,
    },
    /// Stored rows that this program would not have written.
    #[error("column '{column}' of {table} holds '{value}'")]
    Value {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What it holds.
        value: String,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(": did you mean '{name}'?")).unwrap_or_default()
}

impl QueryError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Lake { source } => source.class(),
            Self::File { .. } | Self::Runtime { .. } => ErrorClass::Transient,
            Self::Corrupt { .. } | Self::Value { .. } => ErrorClass::Corrupt,
            _ => ErrorClass::Misconfigured,
        }
    }

    /// Sorts an error of the planner.
    pub(crate) fn of_plan(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let names = valid_fields.iter().map(|field| field.name.as_str());
                    Self::UnknownColumn { column: field.name.clone(), suggestion: nearest(&field.name, names) }
                }
                _ => Self::Sql { source: Box::new(error) },
            },
            _ => Self::Sql { source: Box::new(error) },
        }
    }

    /// Sorts an error of a running query.
    pub(super) fn of_run(error: DataFusionError, limit_bytes: usize) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::Memory { limit_bytes, source: Box::new(error) },
            DataFusionError::ParquetError(_) => Self::Corrupt { source: Box::new(error) },
            _ => Self::Execution { source: Box::new(error) },
        }
    }

    /// Returns the error of a table that is not there.
    pub(super) fn unknown_table(table: &str, tables: &[String]) -> Self {
        Self::UnknownTable { table: table.to_owned(), suggestion: nearest(table, tables.iter().map(String::as_str)) }
    }
}

/// Returns the name that differs least, if it differs by less than half.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = names.map(|name| (levenshtein(&wanted.to_lowercase(), &name.to_lowercase()), name));
    let (distance, name) = scored.min()?;
    (distance * 2 <= wanted.chars().count().max(2)).then(|| name.to_owned())
}
