//! Enhanced fan-out over an emulator that cannot end a shard: answers SubscribeToShard itself, from what GetRecords brings,
//! in the frames of the event stream encoding, and ends each subscription after a while, as the service does after 5 minutes.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Pause between two events.
const PAUSE: Duration = Duration::from_millis(100);

/// Appends a header of the event stream encoding: a name and a text.
fn header(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(name.len()).expect("short"));
    out.extend_from_slice(name.as_bytes());
    out.push(7);
    out.extend_from_slice(&u16::try_from(value.len()).expect("short").to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// Returns one frame of the event stream encoding.
fn frame(event: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    header(":message-type", "event", &mut headers);
    header(":event-type", event, &mut headers);
    header(":content-type", "application/x-amz-json-1.1", &mut headers);
    let size = |bytes: usize| u32::try_from(bytes).expect("small").to_be_bytes();
    let mut frame = [size(16 + headers.len() + payload.len()), size(headers.len())].concat();
    frame.extend_from_slice(&libdeflater::crc32(&frame).to_be_bytes());
    frame.extend_from_slice(&headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&libdeflater::crc32(&frame).to_be_bytes());
    frame
}

/// Pushes events to `stream` for as long as `time`; `call` asks the emulator.
pub(crate) fn push(
    stream: &mut TcpStream,
    request: &Value,
    time: Duration,
    call: impl Fn(&str, &Value) -> std::io::Result<Value>,
) -> std::io::Result<()> {
    let consumer = request["ConsumerARN"].as_str().unwrap_or_default();
    let arn = consumer.split("/consumer/").next().unwrap_or_default();
    let (shard, position) = (&request["ShardId"], &request["StartingPosition"]);
    let mut ask = json!({"StreamARN": arn, "ShardId": shard, "ShardIteratorType": position["Type"]});
    for (from, to) in [("SequenceNumber", "StartingSequenceNumber"), ("Timestamp", "Timestamp")] {
        if !position[from].is_null() {
            ask[to] = position[from].clone();
        }
    }
    let mut iterator = call("GetShardIterator", &ask)?["ShardIterator"].clone();
    let mut continuation = position["SequenceNumber"].clone();
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\n\r\n")?;
    stream.write_all(&frame("initial-response", b"{}"))?;
    let started = Instant::now();
    while started.elapsed() < time {
        let answer = call("GetRecords", &json!({"StreamARN": arn, "ShardIterator": iterator}))?;
        iterator = answer["NextShardIterator"].clone();
        if let Some(last) = answer["Records"].as_array().and_then(|records| records.last()) {
            continuation = last["SequenceNumber"].clone();
        }
        let mut event = json!({"Records": answer["Records"], "MillisBehindLatest": answer["MillisBehindLatest"]});
        if iterator.is_null() {
            event["ChildShards"] = answer["ChildShards"].clone();
        } else {
            // There must be a number to go on from, also before the first record.
            event["ContinuationSequenceNumber"] = if continuation.is_null() { json!("0") } else { continuation.clone() };
        }
        stream.write_all(&frame("SubscribeToShardEvent", event.to_string().as_bytes()))?;
        if iterator.is_null() {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
