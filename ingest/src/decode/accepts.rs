//! Which accounts and regions a source may hold records of.

use std::fmt;

use serde::Deserialize;
use sluice_schemas::RejectReason;

/// Accounts and regions a source takes records of; an empty list takes any. A record of another one is refused: it would be booked to
/// an account that somebody who may write to the source made up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Accepts {
    /// Account ids.
    pub accounts: Vec<String>,
    /// Region names.
    pub regions: Vec<String>,
}

impl Accepts {
    /// Tells whether it takes records of everywhere.
    #[must_use]
    pub const fn takes_all(&self) -> bool {
        self.accounts.is_empty() && self.regions.is_empty()
    }

    /// Returns what is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let wrong = |account: &&String| account.is_empty() || !account.bytes().all(|byte| byte.is_ascii_digit());
        let accounts = self.accounts.iter().filter(wrong).map(|account| format!("accounts: '{account}' is no account id, which is digits"));
        let regions = self.regions.iter().filter(|region| region.is_empty()).map(|_| "regions: one of them is empty".to_owned());
        accounts.chain(regions).collect()
    }

    /// Checks where a record is from; what it does not say is for others to miss.
    pub(super) fn check(&self, account: &[u8], region: &[u8]) -> Result<(), RejectReason> {
        let takes = |list: &[String], said: &[u8]| list.is_empty() || said.is_empty() || list.iter().any(|one| one.as_bytes() == said);
        if takes(&self.accounts, account) && takes(&self.regions, region) {
            return Ok(());
        }
        let what = format!("account {} in region {}", String::from_utf8_lossy(account), String::from_utf8_lossy(region));
        Err(RejectReason::ForeignRecord { what })
    }

    /// Checks whose log group an envelope is from. One that does not say is refused where accounts are named.
    pub(super) fn check_owner(&self, owner: Option<&[u8]>) -> bool {
        self.accounts.is_empty() || owner.is_some_and(|owner| self.accounts.iter().any(|account| account.as_bytes() == owner))
    }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
        write!(f, "accounts {}, regions {}", list(&self.accounts), list(&self.regions))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_schemas::{Batch, Micros};

    use super::*;
    use crate::decode::Decoder;

    const ARRIVAL: Micros = Micros(1_800_000_000_000_000);

    fn accepts() -> Accepts {
        serde_json::from_str(r#"{"accounts":["111122223333"],"regions":["eu-central-1","us-east-1"]}"#).expect("a list")
    }

    fn decode(line: &str, accepts: Option<Accepts>) -> Batch {
        let (mut decoder, mut batch) = (Decoder::new(), Batch::default());
        decoder.accept(accepts.map(Arc::new));
        decoder.decode_lines(line.as_bytes(), 0, ARRIVAL, &mut batch);
        let found = batch.invocations.len() + batch.trail.len() + batch.rejected.len();
        assert_eq!(batch.seen, found as u64 + batch.control);
        batch
    }

    fn call(account: &str, region: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":{account},"region":"{region}","requestId":"00000000-0000-4000-8000-000000000001","modelId":"m","input":{{}},"output":{{}},"identity":{{"arn":"a"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
        )
    }

    #[test]
    fn calls_of_elsewhere_are_refused_and_kept() {
        let own = call(r#""111122223333""#, "eu-central-1");
        assert_eq!(decode(&own, Some(accepts())).invocations.len(), 1);
        // The same text, spelt another way.
        assert_eq!(decode(&call(r#""11112222\u0033333""#, "us-east-1"), Some(accepts())).invocations.len(), 1);
        for foreign in [call(r#""999999999999""#, "eu-central-1"), call(r#""111122223333""#, "ap-south-1")] {
            assert_eq!(decode(&foreign, None).invocations.len(), 1, "any without a list");
            let batch = decode(&foreign, Some(accepts()));
            let [refused] = &batch.rejected[..] else { panic!("{:?}", batch.rejected) };
            assert_eq!((refused.reason.code(), &refused.raw[..]), ("foreign_record", foreign.as_bytes()));
        }
        let silent = decode(&call("null", "eu-central-1"), Some(accepts()));
        assert_ne!(silent.rejected[0].reason.code(), "foreign_record", "what is not said is missing");
    }

    #[test]
    fn events_and_envelopes_are_checked_too() {
        let event = |account: &str| {
            format!(
                r#"{{"eventVersion":"1.08","eventTime":"2026-10-01T00:00:00Z","eventID":"e","eventSource":"bedrock.amazonaws.com","eventName":"Converse","awsRegion":"us-east-1","recipientAccountId":"{account}","userIdentity":{{}}}}"#
            )
        };
        assert_eq!(decode(&event("111122223333"), Some(accepts())).trail.len(), 1);
        assert_eq!(decode(&event("999999999999"), Some(accepts())).rejected[0].reason.code(), "foreign_record");
        let envelope = |owner: &str| {
            let message = serde_json::json!(call(r#""111122223333""#, "eu-central-1"));
            format!(
                r#"{{"messageType":"DATA_MESSAGE","owner":"{owner}","logGroup":"g","logStream":"s","subscriptionFilters":[],"logEvents":[{{"id":"1","timestamp":1,"message":{message}}}]}}"#
            )
        };
        assert_eq!(decode(&envelope("111122223333"), Some(accepts())).invocations.len(), 1);
        assert_eq!(decode(&envelope("999999999999"), Some(accepts())).rejected[0].reason.code(), "foreign_envelope");
    }

    #[test]
    fn faults_are_named() {
        let list: Accepts = serde_json::from_str(r#"{"accounts":["prod",""],"regions":[""]}"#).expect("a list");
        assert_eq!(list.faults().len(), 3);
        assert!(accepts().faults().is_empty() && !accepts().takes_all() && Accepts::default().takes_all());
    }
}
