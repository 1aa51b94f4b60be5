//! Shared by the tests: decoding in one call, and a text that shows a batch without its symbols.

use std::fmt::Write;

use sluice_ingest::decode::Decoder;
use sluice_schemas::{Batch, Invocation, Micros, RequestId};

/// A moment after every record of the samples.
pub(crate) const ARRIVAL: Micros = Micros(1_893_456_000_000_000);

pub(crate) fn lines(bytes: impl AsRef<[u8]>) -> Batch {
    let mut batch = Batch::default();
    Decoder::new().decode_lines(bytes.as_ref(), 0, ARRIVAL, &mut batch);
    batch
}

pub(crate) fn document(bytes: impl AsRef<[u8]>) -> Batch {
    let mut batch = Batch::default();
    Decoder::new().decode_document(bytes.as_ref(), 0, ARRIVAL, &mut batch);
    batch
}

pub(crate) fn counts(batch: &Batch) -> (usize, usize, usize, u64) {
    (batch.invocations.len(), batch.trail.len(), batch.rejected.len(), batch.control)
}

/// A record of no particular interest with members put into the envelope, `input` and `output`.
pub(crate) fn record(envelope: &str, input: &str, output: &str) -> String {
    format!(
        r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"123456789012","region":"us-east-1","requestId":"10000000-0000-4000-8000-000000000001","modelId":"m",{envelope}"input":{{{input}}},"output":{{{output}}},"identity":{{"arn":"arn:aws:iam::123456789012:user/u"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
    )
}

/// The one call of a text that holds one and nothing else.
pub(crate) fn one(text: &str) -> (Batch, Invocation) {
    let batch = lines(text);
    assert_eq!(counts(&batch), (1, 0, 0, 0), "{text}\n{:?}", batch.rejected);
    let invocation = batch.invocations[0];
    (batch, invocation)
}

/// The reason a text that holds one bad record is refused for.
pub(crate) fn refusal(text: impl AsRef<[u8]>) -> String {
    let batch = lines(text.as_ref());
    assert_eq!(counts(&batch), (0, 0, 1, 0), "{}", String::from_utf8_lossy(text.as_ref()));
    assert_eq!(batch.rejected[0].raw, text.as_ref().trim_ascii());
    batch.rejected[0].reason.to_string()
}

/// One line a call, with every field that is not empty.
pub(crate) fn show(batch: &Batch, call: &Invocation) -> String {
    let (profile, mut out) = (&batch.profiles[call.profile as usize], String::new());
    let id = match call.request_id {
        RequestId::Uuid(uuid) => format!("uuid:{uuid:032x}"),
        RequestId::Other(sym) => format!("text:{:?}", batch.strings.get(sym)),
    };
    write!(out, "{} {id}", call.event_time).unwrap();
    for (name, sym) in [
        ("account", profile.account_id),
        ("region", profile.region),
        ("ran_in", profile.inference_region),
        ("operation", profile.operation),
        ("model", profile.model_id),
        ("principal", profile.principal_arn),
        ("error", profile.error_code),
        ("metadata", profile.metadata),
    ] {
        if !sym.is_empty() {
            write!(out, " {name}={:?}", batch.strings.get(sym)).unwrap();
        }
    }
    let usage = call.usage;
    write!(
        out,
        " tier={} tokens={}/{}/{}/{}/{} basis={} latency={:?}",
        profile.service_tier.as_str(),
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        call.basis.as_str(),
        call.latency_ms
    )
    .unwrap();
    if let Some(extras) = call.extras {
        write!(out, " {:?}", batch.extras[extras as usize]).unwrap();
    }
    out
}

/// The whole batch, for golden files.
pub(crate) fn show_batch(batch: &Batch) -> String {
    let mut out = String::new();
    for call in &batch.invocations {
        writeln!(out, "{}", show(batch, call)).unwrap();
    }
    for event in &batch.trail {
        writeln!(out, "{event:#?}").unwrap();
    }
    for rejected in &batch.rejected {
        writeln!(out, "rejected at {}: {} ({} bytes)", rejected.offset, rejected.reason, rejected.raw.len()).unwrap();
    }
    writeln!(out, "control {} bytes {} profiles {}", batch.control, batch.bytes, batch.profiles.len()).unwrap();
    out
}
