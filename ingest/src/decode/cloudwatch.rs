//! Takes a CloudWatch Logs subscription envelope apart into the messages of its events, if it may be taken at all.
//!
//! Source of the shape: AWS, "Real-time processing of log data with subscriptions".

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use sluice_schemas::RejectReason;

use super::accepts::Accepts;
use super::fault::{Fault, Field};
use super::scan::{Scanner, Text};

/// Which CloudWatch Logs envelopes are taken: those that one entry allows, or all when there is no entry. Who may write to a
/// stream can put any account's name into an envelope; a list keeps out what a wrongly granted or shared subscription sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AllowList(pub Vec<Allowed>);

/// One entry of an [`AllowList`]; what is absent allows anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowed {
    /// Account id of the log group.
    pub owner: Option<String>,
    /// Name of the log group; a trailing `*` stands for any rest.
    pub log_group: Option<String>,
    /// Name of the subscription filter.
    pub filter: Option<String>,
}

/// Who sent an envelope, in its own words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sender<'a> {
    owner: Option<Cow<'a, [u8]>>,
    log_group: Option<Cow<'a, [u8]>>,
    filters: Option<Vec<Cow<'a, [u8]>>>,
}

impl AllowList {
    /// Tells whether an envelope may be taken.
    pub(super) fn check(&self, sender: &Sender<'_>) -> Result<(), RejectReason> {
        if self.0.is_empty() || self.0.iter().any(|allowed| allowed.takes(sender)) {
            return Ok(());
        }
        Err(RejectReason::Foreign { what: sender.to_string() })
    }
}

impl Allowed {
    fn takes(&self, sender: &Sender<'_>) -> bool {
        let is = |wanted: &Option<String>, said: Option<&[u8]>| wanted.as_ref().is_none_or(|wanted| said == Some(wanted.as_bytes()));
        let in_group = match self.log_group.as_deref().map(|group| (group, group.strip_suffix('*'))) {
            None => true,
            Some((_, Some(prefix))) => sender.log_group.as_deref().is_some_and(|said| said.starts_with(prefix.as_bytes())),
            Some((whole, None)) => sender.log_group.as_deref() == Some(whole.as_bytes()),
        };
        let filters = sender.filters.as_deref().unwrap_or_default();
        let filtered = self.filter.is_none() || filters.iter().any(|filter| is(&self.filter, Some(filter)));
        in_group && filtered && is(&self.owner, sender.owner.as_deref())
    }
}

impl std::fmt::Display for Sender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let say = |said: Option<&[u8]>| said.map_or_else(|| "none".to_owned(), |said| String::from_utf8_lossy(said).into_owned());
        write!(f, "owner {}, log group {}", say(self.owner.as_deref()), say(self.log_group.as_deref()))?;
        self.filters.iter().flatten().try_for_each(|filter| write!(f, ", filter {}", String::from_utf8_lossy(filter)))
    }
}

/// What an envelope carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A check of the destination's health, without records.
    Control,
    /// Places of the log events in the envelope.
    Data(Vec<Range<usize>>),
}

/// Takes a string that stands for `field`, once.
fn once<'a>(scanner: &mut Scanner<'a>, found: &mut Option<Cow<'a, [u8]>>, field: Field) -> Result<(), Fault> {
    if found.is_some() {
        return Err(Fault::Duplicate(field));
    }
    if scanner.peek() != Some(b'"') {
        return Err(Fault::Malformed(field));
    }
    *found = Some(scanner.string()?.bytes()?);
    Ok(())
}

/// Takes the names of the subscription filters, once.
fn filters<'a>(text: &'a [u8], scanner: &mut Scanner<'a>, sender: &mut Sender<'a>) -> Result<(), Fault> {
    if sender.filters.is_some() {
        return Err(Fault::Duplicate(Field::SubscriptionFilters));
    }
    if scanner.peek() != Some(b'[') {
        return Err(Fault::Malformed(Field::SubscriptionFilters));
    }
    let mut names = Vec::new();
    for place in scanner.elements()? {
        let mut name = None;
        once(&mut Scanner::new(&text[place]), &mut name, Field::SubscriptionFilters)?;
        names.extend(name);
    }
    sender.filters = Some(names);
    Ok(())
}

/// Reads an envelope; nothing of a malformed one, or of one that is not allowed, is used.
pub(super) fn read(text: &[u8], allowed: &AllowList, accepts: Option<&Accepts>) -> Result<Message, RejectReason> {
    let (message, sender) = parse(text)?;
    if matches!(message, Message::Data(_)) {
        allowed.check(&sender)?;
        if accepts.is_some_and(|accepts| !accepts.check_owner(sender.owner.as_deref())) {
            return Err(RejectReason::Foreign { what: sender.to_string() });
        }
    }
    Ok(message)
}

fn parse(text: &[u8]) -> Result<(Message, Sender<'_>), Fault> {
    let (mut kind, mut events, mut sender) = (None, None, Sender::default());
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
        b"owner" => once(scanner, &mut sender.owner, Field::Owner),
        b"logGroup" => once(scanner, &mut sender.log_group, Field::LogGroup),
        b"subscriptionFilters" => filters(text, scanner, &mut sender),
        _ => scanner.skip_value(),
    })?;
    let message = match kind.as_deref() {
        Some(b"CONTROL_MESSAGE") => Message::Control,
        Some(b"DATA_MESSAGE") => events.map(Message::Data).ok_or(Fault::Missing(Field::LogEvents))?,
        Some(_) => return Err(Fault::Malformed(Field::MessageType)),
        None => return Err(Fault::Missing(Field::MessageType)),
    };
    Ok((message, sender))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &str) -> AllowList {
        serde_json::from_str(entries).expect("a list")
    }

    fn envelope(owner: &str, group: &str, filter: &str) -> String {
        format!(
            r#"{{"messageType":"DATA_MESSAGE","owner":{owner},"logGroup":{group},"logStream":"s","subscriptionFilters":[{filter}],"logEvents":[]}}"#
        )
    }

    #[test]
    fn only_what_an_entry_allows_is_taken() {
        let one = list(r#"[{"owner":"111122223333","log_group":"/aws/bedrock/*"},{"filter":"all-calls"}]"#);
        let ask = |owner: &str, group: &str, filter: &str| read(envelope(owner, group, filter).as_bytes(), &one, None).map(|_| ());
        assert_eq!(ask(r#""111122223333""#, r#""/aws/bedrock/calls""#, r#""f""#), Ok(()));
        assert_eq!(ask(r#""111122223333""#, r#""\/aws\/bedrock\/calls""#, ""), Ok(()), "escapes mean the same");
        assert_eq!(ask(r#""999999999999""#, r#""g""#, r#""x","all-calls""#), Ok(()));
        let foreign = |what: &str| Err(RejectReason::Foreign { what: what.to_owned() });
        assert_eq!(
            ask(r#""111122223333""#, r#""/aws/lambda/x""#, r#""f""#),
            foreign("owner 111122223333, log group /aws/lambda/x, filter f")
        );
        assert_eq!(ask(r#""999999999999""#, r#""/aws/bedrock/x""#, ""), foreign("owner 999999999999, log group /aws/bedrock/x"));
        let silent = br#"{"messageType":"DATA_MESSAGE","logEvents":[]}"#;
        assert_eq!(read(silent, &one, None).map(|_| ()), foreign("owner none, log group none"));
        assert_eq!(read(silent, &AllowList::default(), None).map(|_| ()), Ok(()), "no entry allows all");
    }

    #[test]
    fn a_health_check_is_nobodys() {
        let check = br#"{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[]}"#;
        assert_eq!(read(check, &list(r#"[{"owner":"1"}]"#), None), Ok(Message::Control));
    }

    #[test]
    fn a_sender_that_cannot_be_told_is_refused() {
        for (text, field) in [
            (envelope("7", r#""g""#, ""), "owner"),
            (envelope(r#""1","owner":"2""#, r#""g""#, ""), "owner"),
            (envelope(r#""1""#, "null", ""), "logGroup"),
            (envelope(r#""1""#, r#""g""#, "5"), "subscriptionFilters"),
        ] {
            let refused = read(text.as_bytes(), &AllowList::default(), None).expect_err(field).to_string();
            assert!(refused.contains(field), "{refused}");
        }
    }
}
