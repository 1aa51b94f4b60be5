//! Kinesis data streams as a `[[source]]`.

use std::sync::Arc;

use sluice_ingest::aws::{self, AwsSettings};
use sluice_ingest::kinesis::{KinesisSettings, KinesisSource};
use sluice_ingest::source::{Source, SourceError};

use super::{Configured, Keeping, Opening, Part, not_shared, told};

pub(super) fn parse(table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let settings: KinesisSettings = table.try_into().map_err(|error| told(&error))?;
    let faults = settings.faults();
    if faults.is_empty() { Ok(Arc::new(settings)) } else { Err(faults) }
}

impl Configured for KinesisSettings {
    fn name(&self) -> String {
        format!("kinesis {}", self.streams.join(", "))
    }

    fn parts(&self) -> Vec<Part> {
        let AwsSettings { region, endpoint, profile } = self.aws();
        let part = |name: &String| Part::Stream {
            name: name.clone(),
            region: region.clone(),
            endpoint: endpoint.clone(),
            profile: profile.clone(),
        };
        self.streams.iter().map(part).collect()
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError> {
        if opening.keeping == Keeping::Group {
            return Err(not_shared(self.name(), "let the ledger read it (role 'all'), or run workers as Lambda functions"));
        }
        let runtime = opening.clients.runtime()?;
        let sdk = runtime.block_on(aws::load(&self.aws()))?;
        let (committed, runtime) = (Arc::clone(opening.committed), runtime.clone());
        Ok(Box::new(KinesisSource::open(self, opening.positions, committed, runtime, &sdk, opening.clock.now())?))
    }
}
