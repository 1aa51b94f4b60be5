//! The record of a call: the envelope AWS writes, in the key orders it has been seen in.
//!
//! Source of the shape: AWS, "Monitor model invocation using Amazon CloudWatch Logs and Amazon S3".

use sluice_schemas::Micros;
use sluice_schemas::time::{MINUTE, SECOND};

use super::body::request;
use super::call::{Call, Delivery};
use super::cast::Order;
use super::models::Family;
use super::put::Put;
use super::random::Random;
use super::response::response;
use super::text::Filler;

/// What bodies are written with.
pub(crate) struct Ink<'a> {
    /// Text.
    pub(crate) filler: &'a Filler,
    /// Choices.
    pub(crate) random: &'a mut Random,
    /// Bytes of text in a request body.
    pub(crate) request_bytes: usize,
    /// Bytes of text in a response body.
    pub(crate) response_bytes: usize,
}

/// Appends the record of a call, one line without its end. Returns the offloaded response body, if there is one.
pub(crate) fn write(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) -> Option<Vec<u8>> {
    let offloaded;
    match call.order {
        Order::SchemaFirst => {
            out.text("{\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\",\"timestamp\":\"");
            timestamp(call.truth.event_time, out);
            out.text("\"").pair("accountId", &call.truth.account_id);
            identity(call, out);
            origin(call, out);
            inference_region(call, out);
            metadata(call, out);
            error(call, out);
            offloaded = bodies(call, ink, out);
        }
        Order::SchemaLast => {
            out.text("{\"timestamp\":\"");
            timestamp(call.truth.event_time, out);
            out.text("\"").pair("accountId", &call.truth.account_id);
            identity(call, out);
            origin(call, out);
            error(call, out);
            offloaded = bodies(call, ink, out);
            inference_region(call, out);
            metadata(call, out);
            out.text(",\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\"");
        }
        Order::IdentityLast => {
            out.text("{\"timestamp\":\"");
            timestamp(call.truth.event_time, out);
            out.text("\"").pair("accountId", &call.truth.account_id);
            origin(call, out);
            offloaded = bodies(call, ink, out);
            error(call, out);
            identity(call, out);
            inference_region(call, out);
            metadata(call, out);
            out.text(",\"schemaType\":\"ModelInvocationLog\",\"schemaVersion\":\"1.0\"");
        }
    }
    out.text("}");
    offloaded
}

/// Appends `YYYY-MM-DDTHH:MM:SSZ`.
fn timestamp(moment: Micros, out: &mut Vec<u8>) {
    let (year, month, day) = sluice_schemas::time::civil_from_days(i64::from(moment.day()));
    let of_day = moment.0.rem_euclid(sluice_schemas::time::DAY);
    let mut two = |number: i64, mark: &str| {
        out.text(if number < 10 { "0" } else { "" }).number(number.unsigned_abs()).text(mark);
    };
    two(year / 100, "");
    two(year % 100, "-");
    two(month, "-");
    two(day, "T");
    two(of_day / sluice_schemas::time::HOUR, ":");
    two(of_day / MINUTE % 60, ":");
    two(of_day / SECOND % 60, "Z");
}

fn identity(call: &Call, out: &mut Vec<u8>) {
    out.text(",\"identity\":{\"arn\":").string(&call.truth.principal_arn).text("}");
}

fn origin(call: &Call, out: &mut Vec<u8>) {
    let truth = &call.truth;
    out.pair("region", &truth.region).pair("requestId", &truth.request_id);
    out.pair("operation", truth.operation).pair("modelId", &truth.model_id);
}

fn inference_region(call: &Call, out: &mut Vec<u8>) {
    if let Some(region) = call.truth.inference_region {
        out.pair("inferenceRegion", region);
    }
}

fn metadata(call: &Call, out: &mut Vec<u8>) {
    if !call.metadata.is_empty() {
        out.key("requestMetadata").text(&call.metadata);
    }
}

fn error(call: &Call, out: &mut Vec<u8>) {
    if !call.truth.error_code.is_empty() {
        out.pair("errorCode", call.truth.error_code);
    }
}

/// Appends `input` and `output`; both are empty for a call that failed.
fn bodies(call: &Call, ink: &mut Ink<'_>, out: &mut Vec<u8>) -> Option<Vec<u8>> {
    if !call.truth.error_code.is_empty() {
        out.text(",\"input\":{},\"output\":{}");
        return None;
    }
    out.text(",\"input\":{\"inputContentType\":\"application/json\"");
    match call.request {
        Delivery::None => {}
        Delivery::Inline => {
            out.key("inputBodyJson");
            request(call, ink, out);
        }
        Delivery::Offloaded => {
            out.pair("inputBodyS3Path", &data_path(call, "input"));
        }
    }
    out.count("inputTokenCount", call.usage.input);
    if call.caches {
        out.count("cacheReadInputTokenCount", call.usage.cache_read);
        out.count("cacheWriteInputTokenCount", call.written());
    }
    out.text("},\"output\":{\"outputContentType\":\"application/json\"");
    let mut offloaded = None;
    match call.response {
        Delivery::None => {}
        Delivery::Inline => {
            out.key("outputBodyJson");
            response(call, ink, out);
        }
        Delivery::Offloaded => {
            out.pair("outputBodyS3Path", &data_path(call, "output"));
            let mut object = Vec::new();
            response(call, ink, &mut object);
            offloaded = Some(object);
        }
    }
    if call.family != Family::Embedding {
        out.count("outputTokenCount", call.usage.output);
    }
    out.text("}");
    offloaded
}

fn data_path(call: &Call, side: &str) -> String {
    format!("s3://bedrock-logs-{}/{}/data/{}_{side}.json.gz", call.truth.account_id, call.folder(), call.truth.request_id)
}
