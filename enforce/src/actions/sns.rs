//! Publishes messages to an SNS topic, ten a call.
//!
//! Each message has a text for people (`default`, e-mail) and JSON for machines (queues, functions, HTTPS), and attributes that
//! subscriptions filter by. Sources: SNS API reference, `PublishBatch`; SNS developer guide, "Message attributes", "Message filtering".

use std::sync::Arc;

use super::paced::Paced;
use super::{ActionError, done};
use crate::aws::{Aws, Body, Call, CallError, Method};
use crate::budget::digest;
use crate::notice::{Notice, Receiver};
use crate::query::{Form, element, members, text};
use crate::store::Receipt;

/// Messages that one call carries.
const MOST_AT_ONCE: usize = 10;
/// Bytes that one call carries, attributes included.
const MOST_BYTES: usize = 256 * 1024;
/// Calls under way: at 50 ms a call they come to about 5,000 messages a second.
const LANES: usize = 24;
/// Longest value of an attribute; names can be longer, and filter policies compare short ones.
const LONGEST_ATTRIBUTE: usize = 256;
/// Longest subject of an e-mail.
const LONGEST_SUBJECT: usize = 100;

/// Which topic, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnsSettings {
    /// ARN of the topic; one that ends in `.fifo` gets a group for each target.
    pub topic: String,
    /// Most messages a second.
    pub per_second: u32,
}

impl SnsSettings {
    /// What fits a topic in the regions with quotas of 9,000 or more a second; elsewhere throttling slows it down by itself.
    pub const PER_SECOND: u32 = 3000;
}

/// Why a topic is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{arn}' is not the ARN of a topic: arn:aws:sns:REGION:ACCOUNT:NAME")]
pub struct TopicError {
    /// What was given.
    pub arn: String,
}

/// A topic.
pub struct Sns {
    calls: Paced,
    topic: String,
    region: String,
    name: String,
    fifo: bool,
}

/// One message, ready to be sent.
struct Entry {
    message: String,
    subject: String,
    attributes: Vec<(&'static str, String)>,
    /// Group and deduplication id.
    fifo: Option<(String, String)>,
}

impl Entry {
    /// Returns how many bytes of a call's limit it takes.
    fn bytes(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + value.len() + "String".len()).sum();
        self.message.len() + self.subject.len() + attributes
    }
}

impl Sns {
    /// Returns a receiver that publishes to a topic.
    ///
    /// # Errors
    /// The ARN names no topic.
    pub fn new(aws: Arc<dyn Aws>, settings: &SnsSettings) -> Result<Self, TopicError> {
        let arn = &settings.topic;
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", _, "sns", region, account, topic] = parts[..] else { return Err(TopicError { arn: arn.clone() }) };
        if region.is_empty() || account.is_empty() || topic.is_empty() {
            return Err(TopicError { arn: arn.clone() });
        }
        let name = format!("sns:{arn}");
        let calls = Paced::new(aws, &name, settings.per_second);
        Ok(Self { calls, topic: arn.clone(), region: region.to_owned(), name, fifo: topic.ends_with(".fifo") })
    }

    fn entry(&self, notice: &Notice<'_>) -> Result<Entry, ActionError> {
        let machine = notice.json()?;
        let people = notice.text();
        // SNS takes the form of a protocol, and `default` where there is none for it.
        let forms =
            [("default", &people), ("email", &people), ("sqs", &machine), ("lambda", &machine), ("http", &machine), ("https", &machine)];
        let forms: serde_json::Map<String, serde_json::Value> =
            forms.into_iter().map(|(protocol, text)| (protocol.to_owned(), text.as_str().into())).collect();
        let entry = Entry {
            message: serde_json::to_string(&forms)?,
            subject: subject(notice),
            attributes: attributes(notice),
            fifo: self.fifo.then(|| (group(notice.target()), format!("{}-{}", plain_id(notice.id()), notice.kind()))),
        };
        match entry.bytes() {
            bytes if bytes > MOST_BYTES => Err(self.calls.too_large(bytes, MOST_BYTES)),
            _ => Ok(entry),
        }
    }

    /// Publishes entries that fit in one call.
    fn publish(&self, entries: &[(usize, Entry)], results: &mut [Option<Result<Receipt, ActionError>>], key: &str) {
        if entries.is_empty() {
            return;
        }
        match self.calls.send(&self.call(entries), entries.len(), key) {
            Ok(reply) => {
                let answer = String::from_utf8_lossy(&reply.body);
                for (place, (index, _)) in entries.iter().enumerate() {
                    results[*index] = Some(self.outcome(&answer, &place.to_string()));
                }
            }
            Err(error) => {
                for (index, _) in entries {
                    results[*index] = Some(Err(self.calls.failed(error.clone())));
                }
            }
        }
    }

    fn call(&self, entries: &[(usize, Entry)]) -> Call {
        let mut form = Form::new("PublishBatch", "2010-03-31");
        form.add("TopicArn", &self.topic);
        for (place, (_, entry)) in entries.iter().enumerate() {
            let at = |field: &str| format!("PublishBatchRequestEntries.member.{}.{field}", place + 1);
            form.add(&at("Id"), &place.to_string());
            form.add(&at("Message"), &entry.message);
            form.add(&at("MessageStructure"), "json");
            form.add(&at("Subject"), &entry.subject);
            for (number, (name, value)) in entry.attributes.iter().enumerate() {
                let of = |field: &str| at(&format!("MessageAttributes.entry.{}.{field}", number + 1));
                form.add(&of("Name"), name);
                form.add(&of("Value.DataType"), "String");
                form.add(&of("Value.StringValue"), value);
            }
            if let Some((group, deduplication)) = &entry.fifo {
                form.add(&at("MessageGroupId"), group);
                form.add(&at("MessageDeduplicationId"), deduplication);
            }
        }
        Call {
            account: String::new(),
            host: "sns",
            service: "sns",
            region: self.region.clone(),
            global: false,
            method: Method::Post,
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Body::Form(form.finish()),
            action: "sns:Publish",
            writes: true,
        }
    }

    /// Finds an entry in the answer.
    fn outcome(&self, answer: &str, id: &str) -> Result<Receipt, ActionError> {
        let find = |list: &str| {
            let list = element(answer, list)?;
            members(list).find(|member| text(member, "Id").as_deref() == Some(id))
        };
        if let Some(member) = find("Successful") {
            return Ok(done(format!("message {}", text(member, "MessageId").unwrap_or_default())));
        }
        let Some(member) = find("Failed") else {
            let detail = "an entry of the batch is missing in it".to_owned();
            return Err(self.calls.failed(CallError::Garbled { action: "sns:Publish", detail }));
        };
        let again = text(member, "SenderFault").as_deref() == Some("false");
        let word = |name: &str| text(member, name).unwrap_or_default();
        Err(self.calls.refused(&word("Code"), &word("Message"), again))
    }
}

impl Receiver for Sns {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        self.tell_all(std::slice::from_ref(notice)).pop().unwrap_or_else(|| Err(self.calls.no_result()))
    }

    fn tell_all(&self, notices: &[Notice<'_>]) -> Vec<Result<Receipt, ActionError>> {
        let mut results: Vec<Option<Result<Receipt, ActionError>>> = Vec::new();
        results.resize_with(notices.len(), || None);
        let key = notices.first().map_or("", Notice::id);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (index, notice) in notices.iter().enumerate() {
            match self.entry(notice) {
                Ok(entry) => {
                    if batch.len() == MOST_AT_ONCE || bytes + entry.bytes() > MOST_BYTES {
                        self.publish(&std::mem::take(&mut batch), &mut results, key);
                        bytes = 0;
                    }
                    bytes += entry.bytes();
                    batch.push((index, entry));
                }
                Err(error) => results[index] = Some(Err(error)),
            }
        }
        self.publish(&batch, &mut results, key);
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(self.calls.no_result()))).collect()
    }

    fn most_at_once(&self) -> usize {
        MOST_AT_ONCE
    }

    fn lanes(&self) -> usize {
        LANES
    }
}

/// Returns what subscriptions filter by. At most ten, so that raw delivery to SQS works; none is empty, which SNS refuses.
fn attributes(notice: &Notice<'_>) -> Vec<(&'static str, String)> {
    let of_target = [("agent", "agent_id"), ("team", "team"), ("account", "account_id"), ("region", "region")];
    let mut attributes = vec![
        ("kind", notice.kind().to_owned()),
        ("schema", notice.schema().to_owned()),
        ("severity", notice.severity().as_str().to_owned()),
    ];
    attributes.extend(notice.budget().map(|budget| ("budget", budget.to_owned())));
    attributes.extend(of_target.into_iter().filter_map(|(name, dimension)| Some((name, notice.dimension(dimension)?))));
    for (_, value) in &mut attributes {
        value.truncate(value.floor_char_boundary(LONGEST_ATTRIBUTE));
    }
    // SNS takes the characters that XML takes.
    attributes.retain(|(_, value)| !value.is_empty() && !value.chars().any(|char| char.is_control()));
    attributes
}

/// Returns the subject of an e-mail: ASCII, one line, beginning with a letter.
fn subject(notice: &Notice<'_>) -> String {
    let title = notice.title();
    let ascii = title.chars().map(|char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' });
    let whole: String = "sluice: ".chars().chain(ascii).take(LONGEST_SUBJECT).collect();
    whole.trim_end().to_owned()
}

/// Returns the group of a target: itself where SNS takes it, else a digest.
fn group(target: &str) -> String {
    plain_id(target)
}

fn plain_id(text: &str) -> String {
    let plain = !text.is_empty() && text.len() <= 96 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { text.to_owned() } else { digest(&[text]) }
}
