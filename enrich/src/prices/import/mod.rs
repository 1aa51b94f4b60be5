//! Price lists of others, read into rate cards. What cannot be read is listed with the reason, never dropped silently.

pub(crate) mod aws;
mod litellm;

use sluice_schemas::ErrorClass;

pub use aws::aws_offer;
pub use litellm::litellm;

use super::catalogue::{Catalogue, CatalogueError};

/// What an import found.
#[derive(Clone, Debug)]
pub struct Import {
    /// The rate cards, to lay over a catalogue.
    pub catalogue: Catalogue,
    /// Entries of the list that became part of a card.
    pub converted: usize,
    /// Entries that did not, and single fields of entries that did (`key#field`), each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// Why a price list of others was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not JSON of the expected outline.
    #[error("not a {list} price list")]
    Syntax {
        /// Which list was expected.
        list: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// No price of Bedrock in it.
    #[error("no price of Amazon Bedrock in the {list} price list")]
    Empty {
        /// Which list was expected.
        list: &'static str,
    },
    /// The cards contradict each other.
    #[error("the {list} price list contradicts itself")]
    Catalogue {
        /// Which list was expected.
        list: &'static str,
        /// How.
        #[source]
        source: CatalogueError,
    },
}

impl ImportError {
    /// Returns what the caller should do: someone has to provide another file.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}
