//! The own price file of a configuration.

use super::Location;

/// A price file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PriceFile {
    /// Where it lies.
    pub(crate) location: Location,
    /// What stood in it when the configuration was read.
    pub(super) text: String,
}

impl PriceFile {
    /// Returns its text: of a file what stands in it now, of what lies in AWS what stood in it when the configuration was read.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub(crate) fn text(&self) -> std::io::Result<String> {
        self.location.file().map_or_else(|| Ok(self.text.clone()), std::fs::read_to_string)
    }
}
