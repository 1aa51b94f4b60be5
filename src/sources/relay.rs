//! Where stateless workers publish what they decoded, for the ledger to read.

#[cfg(feature = "kafka")]
use sluice_ingest::kafka::RelayTopic;

/// The `[relay]` section, checked.
#[derive(Clone, Debug)]
pub(crate) struct RelayConfig {
    /// The topic.
    #[cfg(feature = "kafka")]
    pub(crate) topic: RelayTopic,
}

/// Checks `[relay]`.
///
/// # Errors
/// Sentences for people.
#[cfg(feature = "kafka")]
pub(crate) fn parse(table: toml::Table) -> Result<RelayConfig, Vec<String>> {
    table.try_into().map(|topic| RelayConfig { topic }).map_err(|error| super::told(&error))
}

/// Says which build has relays.
///
/// # Errors
/// Always: this build has none.
#[cfg(not(feature = "kafka"))]
pub(crate) fn parse(_table: toml::Table) -> Result<RelayConfig, Vec<String>> {
    Err(vec!["this build has no relay: build it with --features kafka".to_owned()])
}
