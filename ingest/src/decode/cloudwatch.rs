//! Takes a CloudWatch Logs subscription envelope apart into the messages of its events.
//!
//! Source of the shape: AWS, "Real-time processing of log data with subscriptions".

use std::ops::Range;

use super::fault::{Fault, Field};
use super::scan::{Scanner, Text};

/// What an envelope carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A check of the destination's health, without records.
    Control,
    /// Places of the log events in the envelope.
    Data(Vec<Range<usize>>),
}

/// Reads an envelope; nothing of a malformed one is used.
pub(super) fn read(text: &[u8]) -> Result<Message, Fault> {
    let (mut kind, mut events) = (None, None);
    Scanner::new(text).object(|scanner, key| match key {
        b"messageType" if kind.is_some() => Err(Fault::Duplicate(Field::MessageType)),
        b"messageType" if scanner.peek() == Some(b'"') => {
            kind = Some(scanner.string()?.raw.to_vec());
            Ok(())
        }
        b"messageType" => Err(Fault::Malformed(Field::MessageType)),
        b"logEvents" if events.is_some() => Err(Fault::Duplicate(Field::LogEvents)),
        b"logEvents" if scanner.peek() == Some(b'[') => {
            events = Some(scanner.elements()?);
            Ok(())
        }
        b"logEvents" => Err(Fault::Malformed(Field::LogEvents)),
        _ => scanner.skip_value(),
    })?;
    match kind.as_deref() {
        Some(b"CONTROL_MESSAGE") => Ok(Message::Control),
        Some(b"DATA_MESSAGE") => events.map(Message::Data).ok_or(Fault::Missing(Field::LogEvents)),
        Some(_) => Err(Fault::Malformed(Field::MessageType)),
        None => Err(Fault::Missing(Field::MessageType)),
    }
}

/// Returns the message of a log event and its place in the event.
pub(super) fn message(event: &[u8]) -> Result<(Text<'_>, usize), Fault> {
    let (mut scanner, mut found) = (Scanner::new(event), None);
    if scanner.peek() != Some(b'{') {
        return Err(Fault::Malformed(Field::LogEvents));
    }
    scanner.object(|scanner, key| match key {
        b"message" if found.is_some() => Err(Fault::Duplicate(Field::Message)),
        b"message" if scanner.peek() == Some(b'"') => {
            let place = scanner.at() + 1;
            found = Some((scanner.string()?, place));
            Ok(())
        }
        b"message" => Err(Fault::Malformed(Field::Message)),
        _ => scanner.skip_value(),
    })?;
    found.ok_or(Fault::Missing(Field::Message))
}
