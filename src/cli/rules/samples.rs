//! Sample records as calls with what is known of their callers: log records, joined with the CloudTrail events among them.

use std::collections::HashMap;
use std::fs::DirEntry;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use sluice_enrich::CallToAttribute;
use sluice_enrich::evidence::{CallEvidence, Caller, Session, Tie};
use sluice_ingest::decode::{Decoder, is_one_value};
use sluice_ingest::inflate::{InflateLimits, inflate_bounded};
use sluice_schemas::trail::{SPAN_SOURCE, TrailEvent};
use sluice_schemas::{Batch, Clock, Invocation, Micros, Profile, RequestId, SystemClock};

/// First bytes of a gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// One call of the samples.
#[derive(Debug)]
pub(super) struct Sample {
    /// Request or event id.
    pub(super) record: String,
    pub(super) principal_arn: String,
    pub(super) evidence: CallEvidence,
    event_time: Micros,
    account_id: String,
    region: String,
    model_id: String,
    operation: String,
    metadata: String,
}

impl Sample {
    /// Returns the call as attribution takes it.
    pub(super) fn call(&self) -> CallToAttribute<'_> {
        CallToAttribute {
            event_time: Some(self.event_time),
            account_id: &self.account_id,
            region: &self.region,
            model_id: &self.model_id,
            principal_arn: &self.principal_arn,
            operation: &self.operation,
            error_code: "",
            metadata: &self.metadata,
        }
    }
}

/// Records read so far.
#[derive(Debug, Default)]
pub(super) struct Samples {
    logged: Vec<Sample>,
    events: Vec<TrailEvent>,
    /// What could not be read, one line each.
    pub(super) refused: Vec<String>,
}

impl Samples {
    /// Reads a file, or all files of a folder and the folders in it, in the order of their names. Hidden ones are left out.
    pub(super) fn add_path(&mut self, path: &Path) -> anyhow::Result<()> {
        if !path.is_dir() {
            let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            self.add(&bytes, &path.display().to_string());
            return Ok(());
        }
        let entries = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = entries.with_context(|| format!("read {}", path.display()))?;
        entries.retain(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            // A link may lead back to where it is: only what was named is followed.
            let kind = entry.file_type().with_context(|| format!("read {}", entry.path().display()))?;
            if kind.is_dir() || kind.is_file() {
                self.add_path(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Reads the records of a file: lines of JSON, or one document of any shape, compressed with gzip or not.
    pub(super) fn add(&mut self, bytes: &[u8], name: &str) {
        let mut inflated = Vec::new();
        let bytes = if bytes.starts_with(&GZIP) {
            if let Err(error) = inflate_bounded(bytes, &InflateLimits::default(), &mut inflated) {
                self.refused.push(format!("{name}: {error}"));
                return;
            }
            &inflated
        } else {
            bytes
        };
        let (mut decoder, mut batch, now) = (Decoder::new(), Batch::default(), SystemClock.now());
        if is_one_value(bytes) {
            decoder.decode_document(bytes, 0, now, &mut batch);
        } else {
            decoder.decode_lines(bytes, 0, now, &mut batch);
        }
        for call in &batch.invocations {
            let Some(profile) = batch.profiles.get(call.profile as usize) else { continue };
            self.logged.push(logged(&batch, call, profile));
        }
        let refused = batch.rejected.iter().map(|record| format!("{name}: record at byte {}: {}", record.offset, record.reason));
        self.refused.extend(refused);
        let (told, other): (Vec<_>, Vec<_>) = batch.trail.into_iter().partition(is_told);
        self.events.extend(told);
        if !other.is_empty() {
            self.refused.push(format!("{name}: {} events of other services left out", other.len()));
        }
    }

    /// Returns the calls: those of the log with what the events tell of them, and those that only events tell of.
    pub(super) fn calls(&mut self) -> Vec<Sample> {
        let mut sessions: HashMap<String, Arc<Session>> = HashMap::new();
        for event in &self.events {
            if let Some(session) = opened(event).filter(|session| !session.access_key_id.is_empty()) {
                sessions.insert(session.access_key_id.clone(), Arc::new(session));
            }
        }
        let of_caller = |event: &TrailEvent| {
            let session = sessions.get(&event.access_key_id).map(|session| (Arc::clone(session), Tie::AccessKey));
            let run = event.invoked.clone().filter(|_| event.event_source == SPAN_SOURCE).map(|run| (Arc::from(run), Tie::Request));
            CallEvidence { caller: Some(Arc::new(caller(event))), session, run }
        };
        let by_request: HashMap<&str, &TrailEvent> =
            self.events.iter().filter(|event| !event.request_id.is_empty()).map(|event| (event.request_id.as_str(), event)).collect();
        let mut calls = std::mem::take(&mut self.logged);
        for call in &mut calls {
            if let Some(event) = by_request.get(call.record.as_str()) {
                call.evidence = of_caller(event);
            }
        }
        let known: Vec<String> = calls.iter().map(|call| call.record.clone()).collect();
        let alone = self.events.iter().filter(|event| !known.contains(&event.request_id));
        calls.extend(alone.map(|event| sample(event, of_caller(event))));
        calls
    }
}

fn logged(batch: &Batch, call: &Invocation, profile: &Profile) -> Sample {
    let text = |sym| batch.strings.get(sym).to_owned();
    let record = match call.request_id {
        RequestId::Uuid(id) => uuid(id),
        RequestId::Other(id) => text(id),
    };
    Sample {
        record,
        principal_arn: text(profile.principal_arn),
        evidence: CallEvidence::default(),
        event_time: call.event_time,
        account_id: text(profile.account_id),
        region: text(profile.region),
        model_id: text(profile.model_id),
        operation: text(profile.operation),
        metadata: text(profile.metadata),
    }
}

/// Takes an event for the call it tells of; one that opens a session, for a call of that session.
fn sample(event: &TrailEvent, evidence: CallEvidence) -> Sample {
    let assumed = opened(event).map(|session| (Arc::new(session), Tie::AccessKey));
    let principal = event.assumed.as_ref().map_or(&event.principal_arn, |assumed| &assumed.assumed_role_arn);
    let evidence = match assumed {
        Some(session) => CallEvidence { session: Some(session), ..CallEvidence::default() },
        None => evidence,
    };
    Sample {
        record: if event.request_id.is_empty() { event.event_id.clone() } else { event.request_id.clone() },
        principal_arn: principal.clone(),
        evidence,
        event_time: event.event_time,
        account_id: event.account_id.clone(),
        region: event.region.clone(),
        model_id: event.model_id.clone(),
        operation: event.event_name.clone(),
        metadata: String::new(),
    }
}

/// Tells whether an event is of a model, an agent or a session that may call one.
fn is_told(event: &TrailEvent) -> bool {
    event.assumed.as_ref().is_some_and(|assumed| !assumed.assumed_role_arn.is_empty())
        || event.event_source == SPAN_SOURCE
        || event.event_source.starts_with("bedrock")
}

fn caller(event: &TrailEvent) -> Caller {
    Caller {
        principal_id: event.principal_id.clone(),
        access_key_id: event.access_key_id.clone(),
        source_identity: event.source_identity.clone(),
        credentials_issued_to: event.credentials_issued_to.clone(),
        invoked_by: event.invoked_by.clone(),
        user_agent: event.user_agent.clone(),
        bearer_token: event.bearer_token,
    }
}

fn opened(event: &TrailEvent) -> Option<Session> {
    let assumed = event.assumed.as_ref()?;
    let mut tags = assumed.tags.clone();
    tags.sort();
    Some(Session {
        opened_through: event.event_name.clone(),
        opened_by: event.principal_arn.clone(),
        role_arn: assumed.role_arn.clone(),
        access_key_id: assumed.access_key_id.clone(),
        source_identity: assumed.source_identity.clone(),
        tags,
        inherited: assumed.inherited.clone(),
        inherited_identity: !event.source_identity.is_empty(),
        opened: event.event_time,
        expires: assumed.expires.unwrap_or_default(),
    })
}

/// Writes an id as AWS does.
fn uuid(id: u128) -> String {
    let hex = format!("{id:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or("");
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
