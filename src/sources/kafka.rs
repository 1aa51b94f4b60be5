//! Kafka topics as a `[[source]]`.

use std::sync::Arc;

use sluice_ingest::kafka::{KafkaSettings, KafkaSource};
use sluice_ingest::source::{Source, SourceError};

use super::{Configured, Opening, told};

pub(super) fn parse(table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let settings: KafkaSettings = table.try_into().map_err(|error| told(&error))?;
    Ok(Arc::new(settings))
}

impl Configured for KafkaSettings {
    fn name(&self) -> String {
        format!("kafka {}", self.topics.join(", "))
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError> {
        Ok(Box::new(KafkaSource::open(self.clone(), opening.positions.clone(), Arc::clone(opening.committed))?))
    }
}
