//! Targets that read records, prices, agents, budgets and configuration. Each takes any bytes, must not panic, and holds what it got
//! against what must be true of any result.

use sluice_enforce::Budgets;
use sluice_enforce::predicate::Predicate;
use sluice_enrich::AgentsFile;
use sluice_enrich::prices::{Catalogue, extras_from_json, import};
use sluice_ingest::decode::Decoder;
use sluice_ingest::inflate::{InflateLimits, inflate_bounded};
use sluice_ingest::piece::decode_piece;
use sluice_ingest::source::{Payload, Piece, StreamRecord};
use sluice_schemas::position::Sequence;
use sluice_schemas::time::MINUTE;
use sluice_schemas::usage::MAX_TOKENS;
use sluice_schemas::{Batch, Micros, PicoUsd, RequestId};

/// When everything arrives: 2030-01-01.
const ARRIVAL: Micros = Micros(1_893_456_000_000_000);

/// A target by its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this file.
pub const ALL: [Target; 13] = [
    ("decode_lines", decode_lines),
    ("decode_document", decode_document),
    ("inflate", inflate),
    ("piece", piece),
    ("cloudwatch", cloudwatch),
    ("prices", prices),
    ("litellm", litellm),
    ("aws_offer", aws_offer),
    ("agents", agents),
    ("budgets", budgets),
    ("predicate", predicate),
    ("words", words),
    ("config", config),
];

/// What is true of every batch that `bytes` bytes can become.
fn check(batch: &Batch, bytes: usize) {
    let known = |sym: sluice_schemas::Sym| assert!((sym.0 as usize) < batch.strings.len(), "a symbol of nothing");
    for call in &batch.invocations {
        let profile = batch.profiles.get(call.profile as usize).expect("a profile");
        [profile.account_id, profile.region, profile.inference_region, profile.operation, profile.model_id].into_iter().for_each(known);
        [profile.principal_arn, profile.error_code, profile.metadata].into_iter().for_each(known);
        assert!(!profile.model_id.is_empty(), "a call of no model");
        let usage = call.usage;
        for tokens in [usage.input, usage.output, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h] {
            assert!(tokens <= MAX_TOKENS, "{tokens} tokens");
        }
        assert!(call.event_time >= Micros(0) && call.event_time <= ARRIVAL.plus(5 * MINUTE), "{}", call.event_time);
        if let Some(extras) = call.extras {
            assert!((extras as usize) < batch.extras.len(), "extras of nothing");
        }
        if let RequestId::Other(text) = call.request_id {
            known(text);
            assert!(!text.is_empty(), "a call without an id");
        }
    }
    // A record is at least a byte, and what is refused is kept as it came.
    let raw: usize = batch.rejected.iter().map(|rejected| rejected.raw.len()).sum();
    let records = batch.invocations.len() + batch.trail.len() + batch.rejected.len();
    assert!(raw <= bytes.max(64), "{raw} bytes refused of {bytes}");
    assert!(records <= bytes, "{records} records in {bytes} bytes");
    assert!(batch.rejected.is_sorted_by_key(|rejected| rejected.offset), "refused records out of order");
}

/// Lines, whole and torn.
pub fn decode_lines(data: &[u8]) {
    let mut decoder = Decoder::new();
    let mut batch = Batch::default();
    decoder.decode_lines(data, 7, ARRIVAL, &mut batch);
    check(&batch, data.len());
    // What the decoder remembers of one piece must not change the next.
    let mut again = Batch::default();
    decoder.decode_lines(data, 7, ARRIVAL, &mut again);
    assert_eq!(batch.invocations.len(), again.invocations.len());
    assert_eq!(batch.rejected, again.rejected);
    let whole_lines = data.split_inclusive(|byte| *byte == b'\n').fold((0, 0), |(calls, refused), line| {
        let mut one = Batch::default();
        decoder.decode_lines(line, 0, ARRIVAL, &mut one);
        (calls + one.invocations.len(), refused + one.rejected.len())
    });
    assert_eq!((batch.invocations.len(), batch.rejected.len()), whole_lines, "lines one by one are other records");
}

/// One JSON value over many lines.
pub fn decode_document(data: &[u8]) {
    let mut batch = Batch::default();
    Decoder::new().decode_document(data, 0, ARRIVAL, &mut batch);
    check(&batch, data.len());
}

/// A gzip stream, and what the limits promise.
pub fn inflate(data: &[u8]) {
    let limits = InflateLimits { max_bytes: 1 << 20, max_ratio: 50 };
    let mut out = vec![1];
    match inflate_bounded(data, &limits, &mut out) {
        Ok(()) => assert!(out.len() <= limits.max_bytes, "{} bytes", out.len()),
        Err(_) => assert!(out.is_empty(), "something is left of a refused stream"),
    }
}

/// A piece of a source, in a form that its first byte chooses.
pub fn piece(data: &[u8]) {
    let Some((form, rest)) = data.split_first() else { return };
    let record = |bytes: &[u8], number: usize| StreamRecord {
        offset: number as u64,
        sequence: if form & 8 == 0 { Sequence::default() } else { Sequence::parse(&number.to_string()).expect("a number") },
        written: None,
        data: bytes.to_vec(),
    };
    let payload = match form % 4 {
        0 => Payload::Lines(rest.to_vec()),
        1 => Payload::Document(rest.to_vec()),
        2 => Payload::Gzip(rest.to_vec()),
        _ => Payload::Records(rest.split(|byte| *byte == 0).enumerate().map(|(number, bytes)| record(bytes, number)).collect()),
    };
    // Compressed bytes can be far fewer than the records they hold.
    let most = if form % 4 < 2 { rest.len() } else { 1 << 30 };
    let piece = Piece {
        accepts: None,
        shard: "fuzz".to_owned(),
        from: None,
        payload,
        arrival: ARRIVAL,
        base_offset: 0,
        identity: String::new(),
        to: None,
        sequence: Sequence::default(),
        ended: true,
        source_bytes: rest.len() as u64,
    };
    let mut batch = Batch::default();
    let span = decode_piece(piece, &mut Decoder::new(), &mut batch);
    assert!(span.to.ended);
    if form % 4 < 2 {
        assert_eq!(span.to.offset, rest.len() as u64);
        check(&batch, most);
    }
}

/// Bytes as the message of a CloudWatch Logs envelope: a record that can be read alone is the same record in it.
pub fn cloudwatch(data: &[u8]) {
    let Ok(message) = std::str::from_utf8(data) else { return };
    let quoted = serde_json::to_string(message).expect("a text is JSON");
    let envelope = format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{{"id":"1","timestamp":1,"message":{quoted}}}]}}"#
    );
    let (mut wrapped, mut alone) = (Batch::default(), Batch::default());
    let mut decoder = Decoder::new();
    decoder.decode_lines(envelope.as_bytes(), 0, ARRIVAL, &mut wrapped);
    check(&wrapped, envelope.len());
    decoder.decode_lines(data, 0, ARRIVAL, &mut alone);
    let is_one_call = alone.invocations.len() == 1 && alone.rejected.is_empty() && alone.trail.is_empty() && alone.control == 0;
    if is_one_call && !message.contains('\n') && !message.contains("logEvents") {
        assert_eq!(wrapped.invocations.len(), 1, "a call is lost in its envelope: {:?}", wrapped.rejected);
        assert_eq!(
            (wrapped.invocations[0].usage, wrapped.invocations[0].event_time),
            (alone.invocations[0].usage, alone.invocations[0].event_time)
        );
    }
}

fn text(data: &[u8], read: impl FnOnce(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

/// Writing a catalogue and reading it again must change nothing.
fn round_trip(catalogue: &Catalogue) {
    let written = catalogue.to_text();
    let again = Catalogue::from_text(&written).unwrap_or_else(|error| panic!("what was written is not read: {error}\n{written}"));
    let changes = catalogue.diff(&again);
    assert!(changes.is_empty(), "{changes:?}");
}

/// A price file.
pub fn prices(data: &[u8]) {
    text(data, |text| {
        if let Ok(catalogue) = Catalogue::from_text(text) {
            round_trip(&catalogue);
        }
    });
}

/// The price map of LiteLLM.
pub fn litellm(data: &[u8]) {
    text(data, |text| {
        if let Ok(import) = import::litellm(text, Micros(0)) {
            round_trip(&import.catalogue);
        }
    });
}

/// An offer file of the AWS price list.
pub fn aws_offer(data: &[u8]) {
    text(data, |text| {
        if let Ok(import) = import::aws_offer(text) {
            round_trip(&import.catalogue);
        }
    });
}

/// An agents file.
pub fn agents(data: &[u8]) {
    text(data, |text| {
        if let Ok(file) = AgentsFile::parse(text) {
            assert!(file.agents().all(|agent| !agent.id.is_empty()), "an agent without a name");
        }
    });
}

/// A file of budgets.
pub fn budgets(data: &[u8]) {
    text(data, |text| {
        if let Ok(budgets) = Budgets::parse(text) {
            for budget in budgets.iter() {
                assert!(!budget.name.is_empty() && budget.digest().len() == 32);
            }
            assert_eq!(budgets.version(), Budgets::parse(text).expect("it was read before").version());
        }
    });
}

/// The predicate of a budget.
pub fn predicate(data: &[u8]) {
    text(data, |text| {
        if let Ok(predicate) = Predicate::parse(text) {
            let again = Predicate::parse(predicate.text()).expect("its own text is a predicate");
            assert_eq!(again.text(), predicate.text());
        }
    });
}

/// Single words: amounts, times, sequence numbers, stored units.
pub fn words(data: &[u8]) {
    text(data, |text| {
        if let Ok(amount) = text.parse::<PicoUsd>() {
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
        if let Ok(time) = text.parse::<Micros>() {
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        if let Ok(sequence) = Sequence::parse(text) {
            assert_eq!(sequence.as_str(), text);
        }
        drop(extras_from_json(text));
    });
}

/// The configuration file.
pub fn config(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a folder");
    }
    text(data, |text| {
        // It names files beside it; those of the system are none of its business here.
        if text.contains("/") {
            return;
        }
        FOLDER.with(|folder| {
            let file = folder.path().join("sluice.toml");
            std::fs::write(&file, text).expect("a file");
            super::read_config(&file);
        });
    });
}
