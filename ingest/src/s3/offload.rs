//! Fetches the bodies that log records do not hold, as far as they can change what a call costs.
//!
//! Bedrock writes bodies above 100 KB as objects of their own (AWS, "Monitor model invocation using Amazon CloudWatch Logs and
//! Amazon S3"); only they split cache writes by lifetime. What a body says is used and forgotten: nothing of it is kept.

mod balance;

use std::io::Write;
use std::sync::Arc;

use aws_config::SdkConfig;
use flate2::write::MultiGzDecoder;
use sluice_schemas::ErrorClass;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::fetch::{Address, Failed, Objects};
use super::identity::Claim;
use super::settings::split_uri;
use crate::decode::{Correction, Uncorrected, usage_from_bodies};
use crate::inflate::MAGIC;
use balance::Balance;

/// Bodies fetched at once.
const MAX_FETCHES: usize = 8;
/// Largest body read, inflated: the largest a model takes or gives is below 25 MB.
const MAX_BODY: usize = 32 << 20;

/// A call with bodies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffloadedCall {
    /// What the log calls it.
    pub request_id: String,
    /// How it was decoded.
    pub call: Uncorrected,
    /// `input.inputBodyS3Path`, if there is one.
    pub request: Option<String>,
    /// `output.outputBodyS3Path`, if there is one.
    pub response: Option<String>,
}

/// What came of a call's bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffloadResult {
    /// The call as the bodies correct it.
    Corrected(Correction),
    /// No body that is there can change the call.
    Unchanged,
    /// A body is gone.
    Missing,
    /// A body may not be read; what the service said, and what to allow.
    Denied(String),
    /// A body is no JSON, too large, or of a place that is not ours.
    Unreadable(String),
    /// The service failed in passing: ask again.
    Later(String),
}

/// How many calls came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadCounts {
    /// Calls that were corrected or found right as they are.
    pub fetched: u64,
    /// Calls of which a body is gone.
    pub missing: u64,
    /// Calls of which a body may not be read.
    pub denied: u64,
    /// Calls of which a body cannot be used.
    pub unreadable: u64,
    /// Calls to be asked for again.
    pub later: u64,
    /// Bytes fetched, as stored.
    pub bytes: u64,
}

/// Fetches bodies, a few at a time.
#[derive(Debug)]
pub struct OffloadFetcher {
    objects: Objects,
    buckets: Vec<String>,
    handle: Handle,
    counts: OffloadCounts,
}

/// Bytes that were fetched for a body, and the body.
type Body = (u64, Vec<u8>);

impl OffloadFetcher {
    /// Sets the fetcher up for bodies in these buckets; all if there are none. `handle` is of a runtime of several threads.
    #[must_use]
    pub fn open(buckets: Vec<String>, handle: Handle, config: &SdkConfig) -> Self {
        let region = config.region().map(ToString::to_string).unwrap_or_default();
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        let objects = Objects { client: aws_sdk_s3::Client::from_conf(s3), region };
        Self { objects, buckets, handle, counts: OffloadCounts::default() }
    }

    /// Returns what came of all calls so far.
    #[must_use]
    pub const fn counts(&self) -> OffloadCounts {
        self.counts
    }

    /// Fetches what is needed of each call; results are in the order of the calls. Blocks, and must not be called from the
    /// threads of the runtime.
    pub fn fetch(&mut self, calls: Vec<OffloadedCall>) -> Vec<(String, OffloadResult)> {
        let gate = Arc::new(Semaphore::new(MAX_FETCHES));
        let mut tasks = JoinSet::new();
        let mut results: Vec<_> = calls.iter().map(|call| (call.request_id.clone(), unfinished())).collect();
        for (at, call) in calls.into_iter().enumerate() {
            let (objects, buckets, gate) = (self.objects.clone(), self.buckets.clone(), Arc::clone(&gate));
            let correct = async move {
                // The gate is never closed.
                let _turn = gate.acquire_owned().await;
                (at, Fetch { objects, buckets, bytes: 0 }.correct(&call).await)
            };
            tasks.spawn_on(correct, &self.handle);
        }
        while let Some(done) = self.handle.block_on(tasks.join_next()) {
            match done {
                Ok((at, (result, bytes))) => {
                    self.counts.bytes += bytes;
                    results[at].1 = result;
                }
                Err(error) => tracing::error!(%error, "fetching a body ended without a word"),
            }
        }
        results.iter().for_each(|(_, result)| self.counts.note(result));
        results
    }
}

fn unfinished() -> OffloadResult {
    OffloadResult::Later("fetching ended without a word".to_owned())
}

impl OffloadCounts {
    const fn note(&mut self, result: &OffloadResult) {
        match result {
            OffloadResult::Corrected(_) | OffloadResult::Unchanged => self.fetched += 1,
            OffloadResult::Missing => self.missing += 1,
            OffloadResult::Denied(_) => self.denied += 1,
            OffloadResult::Unreadable(_) => self.unreadable += 1,
            OffloadResult::Later(_) => self.later += 1,
        }
    }
}

/// The bodies of one call.
struct Fetch {
    objects: Objects,
    buckets: Vec<String>,
    bytes: u64,
}

impl Fetch {
    async fn correct(mut self, call: &OffloadedCall) -> (OffloadResult, u64) {
        let result = self.try_correct(call).await.unwrap_or_else(|result| result);
        (result, self.bytes)
    }

    async fn try_correct(&mut self, call: &OffloadedCall) -> Result<OffloadResult, OffloadResult> {
        let response = self.body(call.response.as_deref()).await?;
        let wanted = call.request.as_deref().filter(|_| call.call.needs_request(response.as_deref()));
        let request = self.body(wanted).await?;
        if request.is_none() && response.is_none() {
            return Ok(OffloadResult::Unchanged);
        }
        match usage_from_bodies(&call.call, request.as_deref(), response.as_deref()) {
            Ok(correction) => Ok(OffloadResult::Corrected(correction)),
            Err(reason) => Ok(OffloadResult::Unreadable(reason.to_string())),
        }
    }

    async fn body(&mut self, uri: Option<&str>) -> Result<Option<Vec<u8>>, OffloadResult> {
        let Some(uri) = uri else { return Ok(None) };
        let (bucket, key) = split_uri(uri).ok_or_else(|| OffloadResult::Unreadable(format!("{uri:?} is no address of an object")))?;
        if !self.buckets.is_empty() && !self.buckets.iter().any(|ours| ours == bucket) {
            return Err(OffloadResult::Unreadable(format!("{bucket} is not a bucket of ours")));
        }
        let address = Address { bucket: bucket.to_owned(), key: key.to_owned() };
        let (bytes, body) = self.stream(&address).await?;
        self.bytes += bytes;
        Ok(Some(body))
    }

    /// Reads an object until its JSON value is complete.
    async fn stream(&self, address: &Address) -> Result<Body, OffloadResult> {
        let mut answer = self.objects.get(address, &Claim::default(), None).await.map_err(outcome)?;
        let mut growing = Growing { cap: MAX_BODY, ..Growing::default() };
        loop {
            match answer.body.next().await {
                Some(Ok(chunk)) if growing.add(&chunk).map_err(OffloadResult::Unreadable)? => break,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(OffloadResult::Later(format!("{address}: the answer broke off: {error}"))),
                None => break,
            }
        }
        growing.finish().map_err(OffloadResult::Unreadable)
    }
}

fn outcome(failed: Failed) -> OffloadResult {
    match failed {
        Failed::Refused(refusal) if refusal.is_denied => OffloadResult::Denied(refusal.message),
        Failed::Refused(_) => OffloadResult::Missing,
        Failed::Changed => OffloadResult::Later("the object was overwritten".to_owned()),
        Failed::Source(error) if error.class() == ErrorClass::Transient => OffloadResult::Later(error.to_string()),
        Failed::Source(error) => OffloadResult::Denied(error.to_string()),
    }
}

/// A body that is coming in, inflated where it is compressed.
#[derive(Default)]
struct Growing {
    /// Most bytes it may have, inflated.
    cap: usize,
    stored: u64,
    start: Vec<u8>,
    inflater: Option<MultiGzDecoder<Vec<u8>>>,
    plain: Vec<u8>,
    looked_at: usize,
    balance: Balance,
}

impl Growing {
    /// Takes some bytes; tells whether the value is complete.
    fn add(&mut self, chunk: &[u8]) -> Result<bool, String> {
        self.stored += chunk.len() as u64;
        let joined;
        let chunk = if self.stored < MAGIC.len() as u64 {
            self.start.extend_from_slice(chunk);
            return Ok(false);
        } else if self.start.is_empty() {
            chunk
        } else {
            joined = [std::mem::take(&mut self.start), chunk.to_vec()].concat();
            &joined
        };
        if self.plain.is_empty() && self.inflater.is_none() && chunk.starts_with(&MAGIC) {
            self.inflater = Some(MultiGzDecoder::new(Vec::new()));
        }
        // A small step at a time: a few bytes may inflate to more than is allowed.
        for part in chunk.chunks(4096) {
            match &mut self.inflater {
                Some(inflater) => {
                    inflater.write_all(part).map_err(|_| "corrupt gzip stream".to_owned())?;
                    self.plain.append(inflater.get_mut());
                }
                None => self.plain.extend_from_slice(part),
            }
            self.check_size()?;
        }
        let complete = self.balance.feed(&self.plain[self.looked_at..]);
        self.looked_at = self.plain.len();
        // Of a compressed body the checksum follows: without it a digit may be another.
        Ok(complete && self.inflater.is_none())
    }

    fn finish(mut self) -> Result<Body, String> {
        if let Some(mut inflater) = self.inflater.take() {
            inflater.try_finish().map_err(|_| "corrupt gzip stream".to_owned())?;
            self.plain.append(inflater.get_mut());
        }
        self.plain.append(&mut self.start);
        self.check_size()?;
        Ok((self.stored, self.plain))
    }

    fn check_size(&self) -> Result<(), String> {
        if self.plain.len() > self.cap { Err(format!("a body of more than {} bytes", self.cap)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Gives `bytes` in chunks and stops when told that it is enough.
    fn grow(bytes: &[u8], chunk: usize) -> Result<Body, String> {
        let mut growing = Growing { cap: 2 << 20, ..Growing::default() };
        for chunk in bytes.chunks(chunk) {
            if growing.add(chunk)? {
                break;
            }
        }
        growing.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_body_is_the_same_however_it_comes(text in "\\PC{0,60}", chunk in 1_usize..40) {
            let body = serde_json::json!({"usage": {"inputTokens": 7}, "text": text, "more": [1, {"a": "}"}]}).to_string();
            prop_assert_eq!(grow(body.as_bytes(), chunk).map(|body| body.1), Ok(body.clone().into_bytes()));
            prop_assert_eq!(grow(&gzip(body.as_bytes()), chunk).map(|body| body.1), Ok(body.into_bytes()));
        }
    }

    #[test]
    fn reading_stops_when_the_value_is_complete() {
        let mut body = br#"[{"type": "message_start"}]"#.to_vec();
        let length = body.len();
        body.resize(1 << 20, b' ');
        let (stored, body) = grow(&body, 1024).expect("a body");
        assert_eq!((stored, body.len()), (1024, 1024));
        assert!(length < 1024);
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b'['; 3 << 20]).expect("memory");
        let bomb = encoder.finish().expect("memory");
        assert!(grow(&bomb, 8192).is_err_and(|error| error.contains("more than")));
        assert!(grow(b"\x1f\x8b\x08 broken, all of it", 8).is_err());
    }
}
