//! Objects in S3 as a `[[source]]`.

use std::sync::Arc;

use sluice_ingest::aws::{self, AwsSettings};
use sluice_ingest::s3::{S3Mode, S3Settings, S3Source};
use sluice_ingest::source::{Source, SourceError};

use super::{Configured, Keeping, Opening, Part, not_shared, told};

pub(super) fn parse(table: toml::Table) -> Result<Arc<dyn Configured>, Vec<String>> {
    let settings: S3Settings = table.try_into().map_err(|error| told(&error))?;
    Ok(Arc::new(settings))
}

impl Configured for S3Settings {
    fn name(&self) -> String {
        format!("s3 {}", self.places().join(", "))
    }

    fn parts(&self) -> Vec<Part> {
        let AwsSettings { region, endpoint, profile } = &self.aws;
        let part = |url: String| {
            let (region, endpoint, profile) = (region.clone(), endpoint.clone(), profile.clone());
            if url.starts_with("s3://") {
                Part::Objects { url, region, endpoint, profile }
            } else {
                Part::Queue { url, region, endpoint, profile }
            }
        };
        self.places().into_iter().map(part).collect()
    }

    fn lists_again(&self) -> bool {
        self.mode != S3Mode::Notifications
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Box<dyn Source>, SourceError> {
        if opening.keeping == Keeping::Group && self.mode != S3Mode::Notifications {
            return Err(not_shared(self.name(), "workers share a queue: set mode = \"notifications\""));
        }
        let runtime = opening.clients.runtime()?;
        let sdk = runtime.block_on(aws::load(&self.aws))?;
        Ok(Box::new(S3Source::open(self.clone(), opening.positions, opening.committed, runtime.clone(), &sdk)?))
    }
}
