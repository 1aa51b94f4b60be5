//! Why a Cost and Usage Report could not be read, and what to do.

use std::path::PathBuf;

use datafusion::arrow::error::ArrowError;
use parquet::errors::ParquetError;
use sluice_schemas::ErrorClass;

/// A report that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CurError {
    /// In S3.
    #[error("{path} is in S3: copy the report first (aws s3 sync {path} ./cur), then name the folder")]
    Remote {
        /// The path.
        path: String,
    },
    /// The system said no.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder without a report.
    #[error("no file of a report (.parquet, .csv, .csv.gz) below {}: name the folder 'data' of the export, or a file", path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// The same report in two forms would be counted twice.
    #[error("{} holds both Parquet and CSV files, and the same lines may be in both: name the folder of one of them", path.display())]
    Mixed {
        /// The folder.
        path: PathBuf,
    },
    /// Versions of one period, none of which tells by its name that it is the newest.
    #[error("{} holds several versions of one billing period ({}): name the folder of one of them", path.display(), versions.join(", "))]
    Versions {
        /// The folder of the period.
        path: PathBuf,
        /// Its versions.
        versions: Vec<String>,
    },
    /// No lines at all.
    #[error("{} has no lines: wait for the first delivery of the export, or name another folder", path.display())]
    Empty {
        /// The path.
        path: PathBuf,
    },
    /// A column without which nothing can be compared.
    #[error(
        "{} has no column '{column}': it is no Cost and Usage Report, or its query leaves the column out; add it to the export's query (it has {found})",
        path.display()
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// Some of the columns it has.
        found: String,
    },
    /// A value that is not what its column holds.
    #[error("{} line {line}: {column} is '{value}', which is no {what}: the file may be cut or changed; fetch it again", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line or row, from 1, the header not counted.
        line: u64,
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        what: &'static str,
    },
    /// Billed in another currency than the lake's.
    #[error("{} line {line}: billed in {currency}, and costs in the lake are US dollars: export the report in USD", path.display())]
    Currency {
        /// The file.
        path: PathBuf,
        /// Line or row, from 1.
        line: u64,
        /// The currency.
        currency: String,
    },
    /// A column of a type that this program cannot take for what it should hold.
    #[error("{}: column '{column}' is of type {data_type}, not {what}", path.display())]
    Type {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// Its type.
        data_type: String,
        /// What it should hold.
        what: &'static str,
    },
    /// Not CSV.
    #[error("{} is not a CSV file of a report: fetch it again, or name another file", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: csv::Error,
    },
    /// Not Parquet.
    #[error("{} is not a whole Parquet file: fetch it again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: ParquetError,
    },
    /// A Parquet file whose pages its reader cannot bear.
    #[error("{} is damaged: fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file whose pages contradict it.
    #[error("{} is not a whole Parquet file: fetch it again", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        #[source]
        source: ArrowError,
    },
}

impl CurError {
    /// Returns what the failure asks of the caller.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Io { .. } => ErrorClass::Transient,
            Self::Value { .. } | Self::Csv { .. } | Self::Parquet { .. } | Self::Damaged { .. } | Self::Arrow { .. } => ErrorClass::Corrupt,
            _ => ErrorClass::Misconfigured,
        }
    }
}
