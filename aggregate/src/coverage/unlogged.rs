//! Traffic that the invocation log cannot hold, by what others show of it.
//!
//! Sources: AWS, "Monitor model invocation using Amazon CloudWatch Logs and Amazon S3" (operations that are logged), "Monitor Amazon
//! Bedrock API calls using CloudTrail", "Monitor bedrock-mantle inference using CloudWatch metrics".

use serde::Serialize;

use super::{Counts, Tokens};

/// CloudTrail events of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Service.
    pub event_source: String,
    /// Operation.
    pub event_name: String,
    /// Events.
    pub events: u64,
    /// Tokens they name.
    pub tokens: Tokens,
}

/// A kind of traffic that is not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// The OpenAI- and Anthropic-compatible endpoint.
    Mantle,
    /// Batch jobs.
    Batch,
    /// Asynchronous calls.
    Async,
    /// Speech and other two-way streams.
    Bidirectional,
    /// Capacity bought by the hour.
    Provisioned,
    /// Memory and processors of AgentCore.
    AgentCore,
}

/// Every kind, what it is, and what of it goes unseen.
const KINDS: [(Traffic, &str, &str); 6] = [
    (Traffic::Mantle, "bedrock-mantle endpoint", "not logged; CloudTrail has its calls as data events only"),
    (Traffic::Batch, "batch jobs (CreateModelInvocationJob)", "not logged; tokens stand in the manifest of each job"),
    (Traffic::Async, "StartAsyncInvoke", "not logged; a CloudTrail data event"),
    (Traffic::Bidirectional, "InvokeModelWithBidirectionalStream", "not logged; a CloudTrail data event"),
    (Traffic::Provisioned, "provisioned throughput", "calls are logged; the hours that are paid are not metered"),
    (Traffic::AgentCore, "AgentCore", "vCPU and memory hours are not metered; model calls of its agents are logged"),
];

/// What was seen of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unlogged {
    /// The kind.
    pub traffic: Traffic,
    /// Its name.
    pub what: &'static str,
    /// Why it is not in the lake.
    pub why: &'static str,
    /// CloudTrail events of it; none where no events were read.
    pub events: Option<u64>,
    /// What CloudWatch counted; none where it was not asked or does not count it.
    pub metrics: Option<Counts>,
    /// Calls of it in the lake; none where there can be none.
    pub calls: Option<u64>,
}

impl Unlogged {
    /// Tells whether anything shows that there was such traffic.
    #[must_use]
    pub fn is_seen(&self) -> bool {
        let counted = self.metrics.unwrap_or_default();
        self.events.unwrap_or(0) > 0 || self.calls.unwrap_or(0) > 0 || counted.calls > 0 || counted.tokens.total() > 0
    }
}

/// Returns what was seen of every kind.
#[must_use]
pub fn unlogged(trail: Option<&[Seen]>, mantle: Option<Counts>, provisioned_calls: u64) -> Vec<Unlogged> {
    let of = |(traffic, what, why): (Traffic, &'static str, &'static str)| Unlogged {
        traffic,
        what,
        why,
        events: trail.map(|seen| seen.iter().filter(|seen| kind(seen) == Some(traffic)).map(|seen| seen.events).sum()),
        metrics: mantle.filter(|_| traffic == Traffic::Mantle),
        calls: (traffic == Traffic::Provisioned).then_some(provisioned_calls),
    };
    KINDS.map(of).to_vec()
}

fn kind(seen: &Seen) -> Option<Traffic> {
    match (seen.event_source.as_str(), seen.event_name.as_str()) {
        ("bedrock-mantle.amazonaws.com", _) => Some(Traffic::Mantle),
        ("bedrock-agentcore.amazonaws.com", _) => Some(Traffic::AgentCore),
        (_, "CreateModelInvocationJob") => Some(Traffic::Batch),
        (_, "StartAsyncInvoke") => Some(Traffic::Async),
        (_, "InvokeModelWithBidirectionalStream") => Some(Traffic::Bidirectional),
        (_, "CreateProvisionedModelThroughput" | "UpdateProvisionedModelThroughput") => Some(Traffic::Provisioned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_named_whether_seen_or_not() {
        let event = |source: &str, name: &str, events| Seen {
            event_source: format!("{source}.amazonaws.com"),
            event_name: name.to_owned(),
            events,
            tokens: Tokens::default(),
        };
        let trail = [
            event("bedrock", "Converse", 90),
            event("bedrock-mantle", "CreateInference", 7),
            event("bedrock", "CreateModelInvocationJob", 2),
            event("bedrock", "StartAsyncInvoke", 3),
            event("bedrock-agentcore", "InvokeAgentRuntime", 5),
            event("bedrock-agentcore", "CreateEvent", 1),
        ];
        let seen = unlogged(Some(&trail), Some(Counts { calls: 8, ..Counts::default() }), 4);
        let told: Vec<_> = seen.iter().map(|kind| (kind.events, kind.is_seen())).collect();
        let expected = [(Some(7), true), (Some(2), true), (Some(3), true), (Some(0), false), (Some(0), true), (Some(6), true)];
        assert_eq!(told, expected);
        assert_eq!(seen[0].metrics.map(|counts| counts.calls), Some(8));
        assert!(unlogged(None, None, 0).iter().all(|kind| kind.events.is_none() && !kind.is_seen()));
    }
}
