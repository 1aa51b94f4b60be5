//! Offloaded bodies in S3.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use sluice_ingest::aws::{self, AwsSettings};
use sluice_ingest::decode::{Correction, Uncorrected};
use sluice_ingest::s3::{OffloadFetcher, OffloadResult, OffloadedCall};
use sluice_ingest::source::SourceError;
use sluice_schemas::{Batch, Extras, Offloaded, Profile, RequestId};
use tokio::runtime::Handle;

use super::bodies::Bodies;
use super::told;

/// The `[offload]` section.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct OffloadSettings {
    /// Buckets that bodies may be fetched from.
    buckets: Vec<String>,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    profile: Option<String>,
}

pub(super) fn parse(table: toml::Table) -> Result<OffloadSettings, Vec<String>> {
    let settings: OffloadSettings = table.try_into().map_err(|error| told(&error))?;
    if settings.buckets.is_empty() {
        return Err(vec!["'buckets' is empty: name the bucket of the logging configuration".to_owned()]);
    }
    Ok(settings)
}

/// A fetcher that several threads take turns with.
#[derive(Debug)]
struct Fetcher(Mutex<OffloadFetcher>);

pub(super) fn open(settings: &OffloadSettings, runtime: &Handle) -> Result<Arc<dyn Bodies>, SourceError> {
    let OffloadSettings { buckets, region, endpoint, profile } = settings.clone();
    let sdk = runtime.block_on(aws::load(&AwsSettings { region, endpoint, profile }))?;
    Ok(Arc::new(Fetcher(Mutex::new(OffloadFetcher::open(buckets, runtime.clone(), &sdk)))))
}

impl Bodies for Fetcher {
    fn correct(&self, batch: &mut Batch) {
        let offloaded = std::mem::take(&mut batch.offloaded);
        let calls: Vec<(u32, OffloadedCall)> =
            offloaded.iter().filter_map(|place| Some((place.invocation, call(batch, *place)?))).collect();
        if calls.is_empty() {
            return;
        }
        let (places, calls): (Vec<u32>, Vec<OffloadedCall>) = calls.into_iter().unzip();
        let results = self.0.lock().unwrap_or_else(PoisonError::into_inner).fetch(calls);
        for (place, (request_id, result)) in places.into_iter().zip(results) {
            match result {
                OffloadResult::Corrected(correction) => apply(batch, place, correction),
                OffloadResult::Unchanged => {}
                OffloadResult::Missing => {
                    tracing::warn!(request_id, "an offloaded body is gone; the call keeps the counts of its log record")
                }
                OffloadResult::Denied(why) | OffloadResult::Unreadable(why) | OffloadResult::Later(why) => {
                    tracing::warn!(request_id, why, "an offloaded body cannot be read; the call keeps the counts of its log record");
                }
            }
        }
    }
}

fn call(batch: &Batch, place: Offloaded) -> Option<OffloadedCall> {
    let invocation = batch.invocations.get(place.invocation as usize)?;
    let profile = batch.profiles.get(invocation.profile as usize)?;
    let text = |sym| batch.strings.get(sym).to_owned();
    let uri = |sym| Some(text(sym)).filter(|uri| !uri.is_empty());
    Some(OffloadedCall {
        request_id: match invocation.request_id {
            RequestId::Uuid(id) => format!("{id:032x}"),
            RequestId::Other(sym) => text(sym),
        },
        call: Uncorrected {
            operation: text(profile.operation),
            model_id: text(profile.model_id),
            usage: invocation.usage,
            basis: invocation.basis,
            service_tier: profile.service_tier,
            extras: invocation.extras.and_then(|at| batch.extras.get(at as usize)).cloned().unwrap_or_default(),
            latency_ms: invocation.latency_ms,
        },
        request: uri(place.request),
        response: uri(place.response),
    })
}

fn apply(batch: &mut Batch, place: u32, correction: Correction) {
    let Correction { usage, basis, service_tier, extras, latency_ms } = correction;
    let Some(invocation) = batch.invocations.get_mut(place as usize) else { return };
    (invocation.usage, invocation.basis, invocation.latency_ms) = (usage, basis, latency_ms);
    let kept = invocation.extras.and_then(|at| batch.extras.get_mut(at as usize));
    match kept {
        Some(kept) => *kept = extras,
        None if extras != Extras::default() => {
            invocation.extras = u32::try_from(batch.extras.len()).ok();
            batch.extras.push(extras);
        }
        None => {}
    }
    let Some(profile) = batch.profiles.get(invocation.profile as usize).copied().filter(|profile| profile.service_tier != service_tier)
    else {
        return;
    };
    let profile = Profile { service_tier, ..profile };
    let known = batch.profiles.iter().position(|other| *other == profile).unwrap_or_else(|| {
        batch.profiles.push(profile);
        batch.profiles.len() - 1
    });
    invocation.profile = u32::try_from(known).unwrap_or(u32::MAX);
}

#[cfg(test)]
mod tests {
    use sluice_schemas::{CostBasis, Invocation, Micros, ServiceTier, Usage};

    use super::*;

    #[test]
    fn a_correction_moves_a_call_to_the_profile_of_its_tier() {
        let mut batch = Batch::default();
        batch.profiles.push(Profile::default());
        for id in 0..2 {
            batch.invocations.push(Invocation {
                event_time: Micros(0),
                request_id: RequestId::Uuid(id),
                profile: 0,
                usage: Usage { input: 5, ..Usage::default() },
                basis: CostBasis::Envelope,
                latency_ms: None,
                extras: None,
            });
        }
        let usage = Usage { input: 5, cache_write_1h: 7, ..Usage::default() };
        let extras = Extras { images: 2, ..Extras::default() };
        let correction =
            Correction { usage, basis: CostBasis::Exact, service_tier: ServiceTier::Flex, extras: extras.clone(), latency_ms: Some(9) };
        apply(&mut batch, 1, correction);
        assert_eq!((batch.invocations[0].profile, batch.invocations[1].profile), (0, 1));
        assert_eq!(batch.profiles[1].service_tier, ServiceTier::Flex);
        assert_eq!((batch.invocations[1].usage, batch.invocations[1].latency_ms), (usage, Some(9)));
        assert_eq!(batch.extras, [extras]);
    }
}
