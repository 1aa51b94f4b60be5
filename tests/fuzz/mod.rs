//! Everything that reads foreign bytes, on seeded mutations of the samples: the fuzz targets as an ordinary test, the same on every run.
//!
//! `SLUICE_FUZZ_SECONDS=n` goes on with other mutations for so long on each target, `SLUICE_FUZZ_TARGET=name` keeps to one.

#[expect(unreachable_pub, reason = "the fuzz targets, of which this is another user, are a crate of their own")]
#[path = "../../fuzz/src/lake.rs"]
mod lake;
#[expect(unreachable_pub, reason = "the fuzz targets, of which this is another user, are a crate of their own")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::{Config, Origin};

/// Mutations of each target in an ordinary run; fewer of those that take long.
const ROUNDS: u64 = 2_000;
const SLOW_ROUNDS: u64 = 150;

/// Reads a file as the configuration and tells whether it is one.
fn read_config(file: &Path) -> bool {
    match Config::load(&Origin { file: Some(file.to_owned().into()), lake: None }) {
        Ok(config) => !config.show().is_empty(),
        Err(error) => error.to_string().is_empty(),
    }
}

/// Numbers that follow from a seed alone (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// Texts that have broken readers before.
const SPITE: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\0",
    b"\xff",
    b"\\ud800",
    b"-1",
    b"18446744073709551616",
    b"1e309",
    b"NaN",
    b"9223372036854775807",
    b"null",
    b"0.0000000000000000001",
    b"9999-12-31T23:59:59Z",
    b"\xe2\x80\xae",
    b"'",
    b"\"\"",
    b"\x1f\x8b\x08",
];

fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    // Long samples are cut, so that a change hits something.
    if bytes.len() > 8_192 {
        let from = random.below(bytes.len() - 4_096);
        bytes = bytes[from..from + 4_096].to_vec();
    }
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + random.below(200)).min(bytes.len())].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let piece = other[from..(from + random.below(300)).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let end = (at + random.below(6)).min(bytes.len());
                bytes.splice(at..end, SPITE[random.below(SPITE.len())].iter().copied());
            }
            _ => {
                bytes.splice(at..at, SPITE[random.below(SPITE.len())].iter().copied());
            }
        }
    }
    bytes
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Returns the files below a folder of the project.
fn files(folder: &str, found: &mut Vec<Vec<u8>>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(path.strip_prefix(root()).unwrap().to_str().unwrap(), found);
        } else {
            found.push(std::fs::read(path).unwrap());
        }
    }
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap()
}

const WINDOWS: [&str; 3] = [
    "SELECT date_bin(INTERVAL '5 minutes', event_time) AS window_start, model, count(error_code) AS errors FROM calls GROUP BY 1, 2",
    "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, agent_id, sum(cost_usd) AS cost, max(latency_ms) AS slowest FROM calls WHERE priced GROUP BY 1, 2",
    "SELECT date_trunc('day', event_time) AS window_start, count(*) AS calls FROM calls GROUP BY 1",
];
const PREDICATES: [&str; 4] = [
    "team = 'checkout'",
    "region IN ('us-east-1', 'eu-west-1') AND NOT (agent_id LIKE 'bot-%' OR session_id IS NULL)",
    "model_id <> 'x' OR operation = 'Converse'",
    "tags['stage'] = 'prod'",
];
const WORDS: [&str; 7] = [
    "25.00 USD",
    "-0.000000000001",
    "2026-10-01T00:00:00.123456Z",
    "49590338271490256608559692538361571095921575989136588898",
    "{\"images\":1}",
    "",
    "0",
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    match target {
        "decode_lines" | "decode_document" | "cloudwatch" => files("ingest/tests/data", &mut found),
        "inflate" => found = vec![file("tests/golden/cloudwatch/in/b.json.gz"), file("tests/golden/cloudwatch/in/d.jsonl.gz")],
        "piece" => {
            files("tests/golden/cloudwatch/in", &mut found);
            files("ingest/tests/data", &mut found);
            found = (0..16).flat_map(|form| found.iter().map(move |bytes| [&[form], &bytes[..]].concat())).collect();
        }
        "prices" => found = vec![file("enrich/data/amendments.toml"), file("tests/golden/price-change/prices.toml")],
        "litellm" => found = litellm(),
        "aws_offer" => files("enrich/tests/data", &mut found),
        "agents" => found = vec![file("tests/golden/spoofed-claims/agents.toml")],
        "budgets" | "config" => found = vec![file("tests/golden/budgets/case.toml"), file("deploy/config.reference.toml")],
        "predicate" => found = texts(&PREDICATES),
        "words" => found = texts(&WORDS),
        "window" => found = texts(&WINDOWS),
        "lake" => found = lake::lake_seeds(),
        "segment" => found = lake::segment_seeds(),
        other => panic!("no samples for {other}"),
    }
    if target == "budgets" {
        let text = String::from_utf8(found.swap_remove(0)).unwrap();
        found = vec![text.as_bytes()[text.find("[[budget]]").unwrap()..].to_vec()];
    }
    found
}

/// A few entries of the price map, whole.
fn litellm() -> Vec<Vec<u8>> {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&file("enrich/tests/data/litellm_bedrock.json")).unwrap();
    let entries: Vec<_> = map.into_iter().collect();
    entries.chunks(3).take(40).map(|few| serde_json::to_vec(&few.iter().cloned().collect::<serde_json::Map<_, _>>()).unwrap()).collect()
}

fn attack((name, target): targets::Target, rounds: u64) {
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| target(seed));
    let seconds = std::env::var("SLUICE_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let (begun, mut round) = (Instant::now(), 0);
    while seconds.map_or(round < rounds, |seconds| begun.elapsed() < Duration::from_secs(seconds)) {
        let bytes = mutate(&mut Random(round), &seeds);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&bytes))) {
            println!("{name}, round {round}: {}\n{bytes:?}", String::from_utf8_lossy(&bytes));
            resume_unwind(panic);
        }
        round += 1;
    }
    println!("{name}: {round} rounds in {:?}", begun.elapsed());
}

#[test]
fn no_bytes_break_a_reader() {
    let only = std::env::var("SLUICE_FUZZ_TARGET").ok();
    let fast = targets::ALL.into_iter().map(|target| (target, ROUNDS));
    let all = fast.chain(lake::ALL.into_iter().map(|target| (target, SLOW_ROUNDS)));
    for (target, rounds) in all.filter(|((name, _), _)| only.as_ref().is_none_or(|only| only == name)) {
        attack(target, rounds);
    }
}
