//! Two streams of two accounts and regions in one ledger: one budget over both, and each stream holds its own account's records alone.

#![cfg(test)]

#[path = "live/kinesis_stream.rs"]
mod stream;

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;
use stream::{Service, gzip};

const SLUICE: &str = env!("CARGO_BIN_EXE_sluice");
const PATIENCE: Duration = Duration::from_secs(60);
/// Account and region of each stream.
const HOMES: [(&str, &str); 2] = [("111122223333", "eu-central-1"), ("444455556666", "us-east-1")];

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A call of 10,000 input tokens.
fn call(account: &str, region: &str, number: u64) -> String {
    format!(
        r#"{{"timestamp":"2026-10-01T00:00:00Z","accountId":"{account}","region":"{region}","requestId":"{account}-0000-4000-8000-{number:012}","operation":"Converse","modelId":"anthropic.claude-sonnet-4-5-20250929-v1:0","input":{{"inputTokenCount":10000}},"output":{{"outputTokenCount":0}},"identity":{{"arn":"arn:aws:iam::{account}:user/bot"}},"requestMetadata":{{"agent_id":"bot"}},"schemaType":"ModelInvocationLog","schemaVersion":"1.0"}}"#
    )
}

fn envelope(owner: &str, message: &str) -> Vec<u8> {
    let envelope = serde_json::json!({
        "messageType": "DATA_MESSAGE", "owner": owner, "logGroup": "/aws/bedrock", "logStream": "s", "subscriptionFilters": ["f"],
        "logEvents": [{"id": "1", "timestamp": 1_790_000_000_000_u64, "message": message}],
    });
    gzip(envelope.to_string().as_bytes())
}

/// Ten calls of its own, half of them in envelopes; and four records that do not belong there.
fn records(home: usize) -> Vec<Vec<u8>> {
    let ((account, region), (other_account, other_region)) = (HOMES[home], HOMES[1 - home]);
    let own = (0..10).map(|number| (number, call(account, region, number)));
    let mut records: Vec<Vec<u8>> =
        own.map(|(at, record)| if at % 2 == 0 { record.into_bytes() } else { envelope(account, &record) }).collect();
    records.push(call(other_account, region, 100).into_bytes());
    records.push(call(account, other_region, 101).into_bytes());
    records.push(envelope(account, &call(other_account, other_region, 102)));
    records.push(envelope(other_account, &call(account, region, 103)));
    records
}

fn configure(folder: &Path, endpoint: &str) {
    let mut text = "[lake]\npath = 'lake'\ncommit_interval = '1s'\n[control]\nsocket = 'control.sock'\n\
                    [[budget]]\nname = 'everything'\nlimit = '0.45 USD'\nwindow = 'lifetime'\n\
                    [[budget.threshold]]\nat = '100%'\ndo = ['notify']\n"
        .to_owned();
    for (account, region) in HOMES {
        text += &format!(
            "[[source]]\nkind = 'kinesis'\nstreams = ['accounts']\nregion = '{region}'\nendpoint = '{endpoint}'\n\
             accounts = ['{account}']\nregions = ['{region}']\n"
        );
    }
    fs::write(folder.join("sluice.toml"), text).unwrap();
}

#[test]
fn two_accounts_share_a_ledger_and_a_budget() {
    let Some(endpoint) = stream::endpoint() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (home, (_, region)) in HOMES.iter().enumerate() {
        let service = Service::new(&endpoint, region);
        service.create("accounts", 1);
        let placed = service.put("accounts", &records(home));
        assert_eq!(placed.values().flatten().filter(|record| !record.data.is_empty()).count(), 14);
    }
    configure(folder.path(), &endpoint);
    let config = folder.path().join("sluice.toml");
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let _daemon = Daemon(Command::new(SLUICE).args(["run", "--config"]).arg(&config).stderr(log).spawn().unwrap());
    let query = |sql: &str| -> Value {
        let output = Command::new(SLUICE).args(["query", sql, "--format", "json", "--config"]).arg(&config).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    };
    let wait_for = |sql: &str, rows: u64| {
        let begun = Instant::now();
        while query(sql)[0]["n"].as_u64() != Some(rows) {
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{}, not {rows}: {sql}; the log:\n{}", query(sql), log());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for("SELECT count(*) AS n FROM calls", 20);
    wait_for("SELECT count(*) AS n FROM rejected", 8);
    wait_for("SELECT count(*) AS n FROM breaches", 1);
    let sums = "SELECT account_id, region, count(*) AS n, sum(cost_usd) AS usd, min(source) AS source FROM calls GROUP BY 1, 2 ORDER BY 1";
    let calls = query(sums);
    for (at, (account, region)) in HOMES.iter().enumerate() {
        let row = &calls[at];
        assert_eq!((row["account_id"].as_str(), row["region"].as_str()), (Some(*account), Some(*region)), "{calls}");
        // Either stream alone stays below the limit of the budget.
        assert_eq!((row["n"].as_u64(), row["usd"].as_str()), (Some(10), Some("0.330000000000")), "{calls}");
        assert!(row["source"].as_str().unwrap().starts_with(&format!("kinesis:{region}/")), "{calls}");
    }
    let refused = query("SELECT reason, count(*) AS n, count(DISTINCT source) AS sources FROM rejected GROUP BY 1 ORDER BY 1");
    let counted: Vec<(Option<&str>, Option<u64>, Option<u64>)> =
        refused.as_array().unwrap().iter().map(|row| (row["reason"].as_str(), row["n"].as_u64(), row["sources"].as_u64())).collect();
    assert_eq!(counted, [(Some("foreign_envelope"), Some(2), Some(2)), (Some("foreign_record"), Some(6), Some(2))]);
    let details = query("SELECT detail FROM rejected WHERE reason = 'foreign_record' ORDER BY 1");
    assert!(details[1]["detail"].as_str().unwrap().contains("account 111122223333 in region us-east-1"), "{details}");
    assert_eq!(query("SELECT budget FROM breaches")[0]["budget"].as_str(), Some("everything"));
}
