//! Owners of calls of which more is known than their own records tell.

use sluice_schemas::{EnrichedBatch, Profile};

use crate::attribution::resource;
use crate::enricher::{EnrichCache, Enricher, ReadMetadata};
use crate::evidence::CallEvidence;

/// A profile of a batch, by its number, and what is known of the callers of its calls.
pub type Informed = (u32, CallEvidence);

impl Enricher {
    /// Attributes profiles of a batch in the light of what is known of their callers. Those that have no owner yet, which are the last,
    /// come in order. `read` is what [`Enricher::enrich_and_keep`] returned for the batch.
    pub fn attribute_informed(&self, batch: &mut EnrichedBatch, informed: &[Informed], read: ReadMetadata, cache: &mut EnrichCache) {
        if informed.is_empty() {
            return;
        }
        let (profiles, unknown) = (&batch.batch.profiles, Profile::default());
        let calls = informed.iter().map(|(profile, evidence)| (profiles.get(*profile as usize).unwrap_or(&unknown), evidence));
        let owners = self.owners_of(calls, read, &mut batch.batch.strings, cache);
        for ((profile, _), owner) in informed.iter().zip(owners) {
            match batch.owners.get_mut(*profile as usize) {
                Some(known) => *known = owner,
                None => batch.owners.push(owner),
            }
        }
    }

    /// Returns the ARNs of the runtimes and agents that run as the role of an identity ARN, without endpoint, version or alias.
    #[must_use]
    pub fn runs_as(&self, principal_arn: &str) -> Vec<String> {
        let directory = self.directory();
        if directory.entries().len() == 0 {
            return Vec::new();
        }
        directory.running_as(principal_arn).into_iter().map(|entry| resource::thing(&entry.arn).into_owned()).collect()
    }
}
