//! A CloudWatch Logs group, read once over a stretch of time.

use std::sync::Arc;

use sluice_ingest::aws;
use sluice_ingest::cloudwatch_logs::{LogsSettings, LogsSource};
use sluice_ingest::source::{Source, SourceError};

use super::{Configured, Keeping, Opening, not_shared, told};

pub(super) fn parse(table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let settings: LogsSettings = table.try_into().map_err(|error| told(&error))?;
    Ok(Arc::new(settings))
}

impl Configured for LogsSettings {
    fn name(&self) -> String {
        format!("logs {}", self.group())
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError> {
        if opening.keeping == Keeping::Group {
            return Err(not_shared(self.name(), "replay it into the ledger's lake while no daemon runs"));
        }
        let runtime = opening.clients.runtime()?;
        let sdk = runtime.block_on(aws::load(&self.aws))?;
        Ok(Box::new(LogsSource::open(self.clone(), opening.positions, runtime.clone(), &sdk)))
    }
}
