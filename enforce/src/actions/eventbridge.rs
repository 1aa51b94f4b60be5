//! Puts messages on an EventBridge bus, ten a call.
//!
//! Source: EventBridge API reference, `PutEvents`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_schemas::time::SECOND;

use super::paced::Paced;
use super::{ActionError, done};
use crate::aws::{Aws, Body, Call, CallError, Method};
use crate::notice::{Notice, Receiver};
use crate::store::Receipt;

/// Entries that one call carries.
const MOST_AT_ONCE: usize = 10;
/// Bytes that one call carries.
const MOST_BYTES: usize = 256 * 1024;
/// Calls under way.
const LANES: usize = 24;
/// `Source` of every event.
const SOURCE: &str = "sluice";

/// Which bus, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventBridgeSettings {
    /// Name or ARN of the bus.
    pub bus: String,
    /// Its region.
    pub region: String,
    /// Most events a second.
    pub per_second: u32,
}

impl EventBridgeSettings {
    /// Below the quota of most regions; where it is lower, throttling slows it down by itself.
    pub const PER_SECOND: u32 = 2400;
}

/// A bus.
pub struct EventBridge {
    calls: Paced,
    bus: String,
    region: String,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    time: i64,
    source: &'static str,
    detail_type: &'static str,
    detail: String,
    event_bus_name: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    entries: Vec<Outcome>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    event_id: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
}

impl Entry<'_> {
    /// Returns the size that counts, as the API reference computes it.
    fn bytes(&self) -> usize {
        14 + self.source.len() + self.detail_type.len() + self.detail.len()
    }
}

impl EventBridge {
    /// Returns a receiver that puts events on a bus.
    #[must_use]
    pub fn new(aws: Arc<dyn Aws>, settings: &EventBridgeSettings) -> Self {
        let name = format!("eventbridge:{}:{}", settings.region, settings.bus);
        let calls = Paced::new(aws, &name, settings.per_second);
        Self { calls, bus: settings.bus.clone(), region: settings.region.clone(), name }
    }

    fn entry(&self, notice: &Notice<'_>) -> Result<Entry<'_>, ActionError> {
        let detail_type = match notice {
            Notice::Breach(_) => "Budget Threshold Crossed",
            Notice::Hold(_) => "Hold Changed",
            Notice::Breaker(_) => "Breaker Changed",
        };
        let time = notice.at().0.div_euclid(SECOND);
        let entry = Entry { time, source: SOURCE, detail_type, detail: notice.json()?, event_bus_name: &self.bus };
        match entry.bytes() {
            bytes if bytes > MOST_BYTES => Err(self.calls.too_large(bytes, MOST_BYTES)),
            _ => Ok(entry),
        }
    }

    /// Puts entries that fit in one call.
    fn put(&self, entries: &[Entry<'_>], key: &str) -> Vec<Result<Receipt, ActionError>> {
        let sent = self.call(entries).and_then(|call| {
            let reply = self.calls.send(&call, entries.len(), key).map_err(|error| self.calls.failed(error))?;
            let answer: Result<Answer, _> = serde_json::from_slice(&reply.body);
            let read = answer.ok().filter(|answer| answer.entries.len() == entries.len());
            let garbled = || CallError::Garbled { action: "events:PutEvents", detail: "not one result for each entry".to_owned() };
            read.ok_or_else(|| self.calls.failed(garbled()))
        });
        match sent {
            Ok(answer) => answer.entries.iter().map(|outcome| self.outcome(outcome)).collect(),
            Err(error) => entries.iter().map(|_| Err(error.repeated())).collect(),
        }
    }

    fn call(&self, entries: &[Entry<'_>]) -> Result<Call, ActionError> {
        Ok(Call {
            account: String::new(),
            host: "events",
            service: "events",
            region: self.region.clone(),
            global: false,
            method: Method::Post,
            path: "/".to_owned(),
            headers: vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("x-amz-target", "AWSEvents.PutEvents".to_owned())],
            body: Body::Json(serde_json::to_string(&serde_json::json!({ "Entries": entries }))?),
            action: "events:PutEvents",
            writes: true,
        })
    }

    fn outcome(&self, outcome: &Outcome) -> Result<Receipt, ActionError> {
        let Some(code) = &outcome.error_code else {
            return Ok(done(format!("event {}", outcome.event_id.as_deref().unwrap_or_default())));
        };
        let again =
            ["Throttling", "InternalFailure", "InternalException", "ServiceUnavailable"].iter().any(|known| code.starts_with(known));
        Err(self.calls.refused(code, outcome.error_message.as_deref().unwrap_or_default(), again))
    }
}

impl Receiver for EventBridge {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        self.tell_all(std::slice::from_ref(notice)).pop().unwrap_or_else(|| Err(self.calls.no_result()))
    }

    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        let key = notices.first().map_or("", Notice::id);
        let mut results = Vec::with_capacity(notices.len());
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for notice in notices {
            let entry = self.entry(notice);
            let size = entry.as_ref().map_or(0, Entry::bytes);
            if entry.is_err() || batch.len() == MOST_AT_ONCE || bytes + size > MOST_BYTES {
                // In the order of the messages: what came before goes first.
                if !batch.is_empty() {
                    results.extend(self.put(&std::mem::take(&mut batch), key));
                }
                bytes = 0;
            }
            match entry {
                Ok(entry) => {
                    bytes += size;
                    batch.push(entry);
                }
                Err(error) => results.push(Err(error)),
            }
        }
        if !batch.is_empty() {
            results.extend(self.put(&batch, key));
        }
        results
    }

    fn most_at_once(&self) -> usize {
        MOST_AT_ONCE
    }

    fn lanes(&self) -> usize {
        LANES
    }
}
