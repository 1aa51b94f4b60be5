//! Why traffic could not be written.

use std::io;
use std::path::PathBuf;

/// A run of the simulator that failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimulateError {
    /// A plan that cannot be carried out.
    #[error("the plan needs at least one {what}")]
    Empty {
        /// What it lacks.
        what: &'static str,
    },
    /// A share above the whole.
    #[error("{what} is {value}, more than {limit}")]
    TooMany {
        /// The share.
        what: &'static str,
        /// Its value.
        value: u32,
        /// Its limit.
        limit: u32,
    },
    /// A file or folder could not be written.
    #[error("cannot write '{}'", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
