//! Owners of calls of which more is known than their own records tell.

use sluice_schemas::EnrichedBatch;

use crate::enricher::{EnrichCache, Enricher};
use crate::evidence::CallEvidence;

impl Enricher {
    /// Attributes the last profiles of a batch, which have no owner yet, in the light of what is known of their callers.
    pub fn attribute_informed(&self, batch: &mut EnrichedBatch, informed: &[CallEvidence], cache: &mut EnrichCache) {
        if informed.is_empty() {
            return;
        }
        let profiles = &batch.batch.profiles[batch.owners.len()..];
        let owners = self.owners_of(profiles.iter().zip(informed), &mut batch.batch.strings, cache);
        batch.owners.extend(owners);
    }

    /// Returns the ARNs of the runtimes and agents that run as the role of an identity ARN.
    #[must_use]
    pub fn runs_as(&self, principal_arn: &str) -> Vec<String> {
        let directory = self.directory();
        if directory.entries().len() == 0 {
            return Vec::new();
        }
        directory.running_as(principal_arn).into_iter().map(|entry| entry.arn.clone()).collect()
    }
}
