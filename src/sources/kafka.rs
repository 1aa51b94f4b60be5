//! Kafka topics as a `[[source]]`.

use std::sync::Arc;

use sluice_ingest::kafka::{Credentials, KafkaSettings, KafkaSource, Keeper};
use sluice_ingest::source::{Source, SourceError};

use super::{Configured, Keeping, Opening, told};

pub(super) fn parse(table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let settings: KafkaSettings = table.try_into().map_err(|error| told(&error))?;
    Ok(Arc::new(settings))
}

impl Configured for KafkaSettings {
    fn name(&self) -> String {
        format!("kafka {}", self.topics.join(", "))
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError> {
        let keeper = match opening.keeping {
            Keeping::Ledger => Keeper::Caller,
            Keeping::Group => Keeper::Group,
        };
        let credentials = Arc::new(|| Credentials::from_env(&|name: &str| std::env::var(name).ok()));
        let (positions, committed) = (opening.positions.clone(), Arc::clone(opening.committed));
        Ok(Box::new(KafkaSource::connect(self.clone(), keeper, positions, committed, credentials)?))
    }
}
