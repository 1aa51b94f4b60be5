//! Calls whose bodies were put elsewhere: what only the bodies tell is fetched before the call is priced.

use std::fmt;

use sluice_schemas::Batch;

/// Fetches bodies and corrects the calls of a batch by them.
pub(crate) trait Bodies: fmt::Debug + Send + Sync {
    /// Corrects what can be corrected; a call whose bodies cannot be had keeps the counts of its envelope, and says so in its
    /// basis. Blocks while bodies are fetched.
    fn correct(&self, batch: &mut Batch);
}
