//! Makes an invocation of an envelope: checks what is required, adds up the units, finds the profile.

use sluice_schemas::time::MINUTE;
use sluice_schemas::{Batch, CostBasis, Extras, Invocation, Micros, Offloaded, RejectReason, RequestId, ServiceTier, Sym};

use super::envelope::Envelope;
use super::fault::{Fault, Field};
use super::profile::Profiles;

/// How far a clock may be ahead of ours.
const MAX_AHEAD: i64 = 5 * MINUTE;
/// Longest request id that is not a UUID, in bytes.
const MAX_REQUEST_ID: usize = 256;
/// Documents that one rerank query covers; AWS, "Amazon Bedrock pricing".
const DOCUMENTS_PER_QUERY: u64 = 100;

/// Adds the call to the batch, or adds nothing and says why.
pub(super) fn add(envelope: &Envelope<'_>, arrival: Micros, profiles: &mut Profiles, out: &mut Batch) -> Result<(), RejectReason> {
    let event_time = event_time(profiles.plain(envelope.text(Field::Timestamp), Field::Timestamp)?, Field::Timestamp.path(), arrival)?;
    let request_id = request_id(profiles.plain(envelope.text(Field::RequestId), Field::RequestId)?, out)?;
    let (usage, mut basis) = envelope.response.usage.resolve(envelope.counts)?;
    let profile = profiles.find(envelope, |operation| service_tier(envelope, operation), out)?;
    let [request, response] = [(0, Field::InputPath), (1, Field::OutputPath)].map(|(at, field)| path(envelope, at, field, profiles, out));
    let (request, response) = (request?, response?);
    let extras = extras(envelope, out.strings.get(out.profiles[profile as usize].model_id));
    if extras.images > 0 && !envelope.has(Field::InputBody) {
        basis = CostBasis::Envelope;
    }
    let extras = if extras == Extras::default() {
        None
    } else {
        out.extras.push(extras);
        Some(out.extras.len() as u32 - 1)
    };
    let latency_ms = envelope.response.latency_ms;
    if request != Sym::EMPTY || response != Sym::EMPTY {
        out.offloaded.push(Offloaded { invocation: out.invocations.len() as u32, request, response });
    }
    out.invocations.push(Invocation { event_time, request_id, profile, usage, basis, latency_ms, extras });
    Ok(())
}

fn path(envelope: &Envelope<'_>, at: usize, field: Field, profiles: &mut Profiles, out: &mut Batch) -> Result<Sym, Fault> {
    let text = envelope.paths[at];
    if text.raw.is_empty() {
        return Ok(Sym::EMPTY);
    }
    out.strings.intern_utf8(profiles.plain(text, field)?).map_err(|_| Fault::NotUtf8)
}

/// Reads a time and refuses one that no call can have: a single absurd year would break every window.
pub(super) fn event_time(text: &[u8], field: &'static str, arrival: Micros) -> Result<Micros, RejectReason> {
    if text.is_empty() {
        return Err(RejectReason::Missing { field });
    }
    let time = Micros::parse_utc(text).ok_or(RejectReason::Malformed { field })?;
    if is_possible(time, arrival) {
        Ok(time)
    } else {
        Err(RejectReason::Timestamp { timestamp: String::from_utf8_lossy(text).into_owned() })
    }
}

/// Tells whether a call can have happened then.
pub(super) fn is_possible(time: Micros, arrival: Micros) -> bool {
    time.0 >= 0 && time <= arrival.plus(MAX_AHEAD)
}

fn request_id(text: &[u8], out: &mut Batch) -> Result<RequestId, Fault> {
    if let Some(uuid) = uuid(text) {
        return Ok(RequestId::Uuid(uuid));
    }
    match text.len() {
        0 => Err(Fault::Missing(Field::RequestId)),
        1..=MAX_REQUEST_ID => Ok(RequestId::Other(out.strings.intern_utf8(text).map_err(|_| Fault::NotUtf8)?)),
        _ => Err(Fault::OutOfRange(Field::RequestId)),
    }
}

/// Reads a lower-case hyphenated UUID, the one spelling that is its own key.
fn uuid(text: &[u8]) -> Option<u128> {
    const NOT_HEX: u8 = 0xff;
    const VALUES: [u8; 256] = {
        let (mut values, mut value) = ([NOT_HEX; 256], 0);
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    const DIGITS: [usize; 32] =
        [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 16, 17, 19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35];
    let text: &[u8; 36] = text.try_into().ok()?;
    if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
        return None;
    }
    let mut wrong = 0;
    let mut half = |digits: &[usize]| {
        digits.iter().fold(0_u64, |value, &at| {
            let digit = VALUES[usize::from(text[at])];
            wrong |= digit;
            value << 4 | u64::from(digit & 0x0f)
        })
    };
    let (high, low) = (half(&DIGITS[..16]), half(&DIGITS[16..]));
    (wrong <= 0x0f).then_some(u128::from(high) << 64 | u128::from(low))
}

/// The tier that served a Converse call, else the one it asked for. Other operations name it in a header that is not logged,
/// and what their bodies say is the caller's word or the model's.
pub(super) fn service_tier(envelope: &Envelope<'_>, operation: &str) -> ServiceTier {
    if !operation.starts_with("Converse") {
        return ServiceTier::default();
    }
    envelope.response.tier.or(envelope.request.tier).unwrap_or_default()
}

/// Units beside tokens. What only the request body tells counts where the model is known to bill it, or where the log has no
/// count of output tokens; never where there was output in tokens: a caller of a text model adds nothing to its bill.
pub(super) fn extras(envelope: &Envelope<'_>, model: &str) -> Extras {
    let request = &envelope.request;
    let mut extras = Extras { guardrail: envelope.response.guardrail, video_ms: envelope.video_ms, ..Extras::default() };
    if envelope.is_bare() || !envelope.text(Field::ErrorCode).raw.is_empty() {
        return extras;
    }
    let untold = envelope.counts.output.is_none();
    if envelope.counts.output.is_some_and(|tokens| tokens > 0) {
        return extras;
    }
    let generates = ["nova-canvas", "titan-image", "stability."].iter().any(|name| model.contains(name));
    if generates || (untold && request.asks_for_images) {
        extras.images = request.images.unwrap_or(1);
        (extras.image_width, extras.image_height, extras.image_steps) = (request.width, request.height, request.steps);
        extras.image_quality = request.quality.unwrap_or_default().to_owned();
    }
    if model.contains("embed") || (untold && !generates) {
        extras.input_images = request.input_images;
    }
    if model.contains("rerank") {
        extras.queries = request.queries.max(request.documents.div_ceil(DOCUMENTS_PER_QUERY)).max(1);
    }
    extras
}
