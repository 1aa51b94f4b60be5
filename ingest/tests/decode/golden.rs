//! Every sample decodes to what is written beside it. `SLUICE_BLESS=1` writes the files anew, to be read before they are kept.

use std::path::Path;

use sluice_ingest::decode::is_one_value;

use super::support::{document, lines, show_batch};

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let bytes = std::fs::read(folder.join(name)).unwrap();
    let decoded = show_batch(&if is_one_value(&bytes) { document(&bytes) } else { lines(&bytes) });
    let expected = folder.join(format!("{name}.expected"));
    if std::env::var_os("SLUICE_BLESS").is_some() {
        std::fs::write(&expected, &decoded).unwrap();
    }
    assert_eq!(decoded, std::fs::read_to_string(&expected).unwrap(), "{name}");
}

#[test]
fn observed_records() {
    check("observed-integrations.jsonl");
    check("observed.jsonl");
}

#[test]
fn records_after_the_documentation() {
    check("constructed.jsonl");
}

#[test]
fn cloudwatch() {
    check("cloudwatch-envelope.json");
    check("cloudwatch-control.json");
    check("permission-line.txt");
}

#[test]
fn cloudtrail() {
    check("trail-sts.jsonl");
    check("trail-iam-user-guide.jsonl");
    check("trail-bedrock.jsonl");
    check("trail-agents.jsonl");
}

#[test]
fn spans() {
    check("spans.jsonl");
}
