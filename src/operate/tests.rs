//! What leaves the process: the page of metrics against its table, lines for CloudWatch, posts to a collector, and what a rude
//! client can do.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_aggregate::coverage::Totals;
use sluice_schemas::{Micros, PicoUsd};

use super::board::Sight;
use super::catalogue::{Kind, METRICS};
use super::config::EmfTarget;
use super::emf::{self, EmfExport};
use super::otlp::{self, OtlpExport};
use super::process::Process;
use super::watch::Outside;
use super::*;
use crate::config::ConfigMeasure;
use crate::coverage::CoverageMeasure;
use crate::live::Counts;

const DOCUMENT: &str = include_str!("../../deploy/metrics.md");
/// Foreign text that would break a page if it were not escaped.
const RUDE: &str = "a\"b\\c\nd{e}";

/// A process in which everything has happened once.
fn full() -> Arc<Board> {
    let board = Arc::new(Board::default());
    let clock = board.sight().now;
    let mut meter = Meter::new(Arc::clone(&board));
    meter.applied(Micros(clock.0 - 20_000), clock, 7);
    meter.rejected(&[("not_json", 2), ("data_gap", 1)]);
    meter.acted("webhook:hooks.example.com:12345678", "done");
    meter.acted("someone's own", "odd");
    meter.breached();
    meter.local_committed(Duration::from_millis(3), clock, true);
    meter.lake_committed(Duration::from_millis(300), clock);
    let counts = Counts { records: 10, facts: 7, rejected: 3, bytes_in: 5_000, cost: PicoUsd(1_500_000_000_001), ..Counts::default() };
    let shard = ShardMeasure {
        shard: RUDE.to_owned(),
        state: "stopped",
        stopped: Some("gap".to_owned()),
        behind_ms: Some(1_500),
        behind_records: Some(4),
        headroom_ms: Some(86_400_000),
        offset: 17,
        sequence: String::new(),
    };
    let budget = BudgetMeasure {
        budget: "hourly".to_owned(),
        target: RUDE.to_owned(),
        spent: PicoUsd(800_000_000_000),
        limit: PicoUsd(1_000_000_000_000),
        percent_millis: 80_000,
    };
    board.publish(Measures {
        counts,
        watermark: Some(clock),
        lake_epoch: 12,
        budgets: vec![budget],
        source: SourceMeasure { shards: vec![shard], files_total: 2, files_done: 1, ..SourceMeasure::default() },
        ..meter.measures(clock)
    });
    let holds = vec![HoldCount { mode: "observe", state: "active", count: 3 }];
    let one = Some(1);
    let process = Process { resident_bytes: Some(1 << 20), threads: one, open_files: one, cpu: Some(Duration::from_millis(1_500)) };
    let levers = Some(LeverCount { standing: 2, failing: 1, is_stopped: false, is_broken: true });
    board.observe(Outside { at: Some(clock), fence: one, store_problem: None, holds, levers, process });
    let totals = Totals { compared: 30, gaps: 1, calls: 3, usd: PicoUsd(250_000_000_000), ..Totals::default() };
    board.note_coverage(CoverageMeasure { at: clock, compared: [24, 0, 6], totals });
    board.note_config(ConfigMeasure { since: clock, confirmed: Some(clock), ..ConfigMeasure::default() });
    board.enter(Stage::Running);
    board.turn(clock);
    board
}

fn table(heading: &str) -> Vec<Vec<String>> {
    let section = DOCUMENT.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect()).collect()
}

fn row(cells: &[&str]) -> String {
    format!("| `{}` | {} |", cells[0], cells[1..].join(" | "))
}

#[test]
fn the_table_of_metrics_is_what_is_measured() {
    let expected: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            let unit = if metric.unit.is_empty() { "–" } else { metric.unit };
            let labels = if metric.labels.is_empty() { "–".to_owned() } else { metric.labels.join(", ") };
            [&metric.name(), word(metric.kind), unit, &labels, metric.bound, metric.help].iter().map(|cell| (*cell).to_owned()).collect()
        })
        .collect();
    let wanted: Vec<String> = expected.iter().map(|cells| row(&cells.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    assert_eq!(table("## Metrics"), expected, "deploy/metrics.md should hold\n{}", wanted.join("\n"));
}

#[test]
fn the_table_of_emf_metrics_is_what_is_sent_and_says_its_price() {
    let expected: Vec<Vec<String>> = emf::METRICS.iter().map(|metric| [metric.name, metric.unit].map(str::to_owned).to_vec()).collect();
    let table: Vec<Vec<String>> = table("## CloudWatch").iter().map(|cells| cells[..2].to_vec()).collect();
    assert_eq!(table, expected);
    let cents = emf::METRICS.len() * 30;
    let price = format!("{} metrics × $0.30 = ${}.{:02} a month", emf::METRICS.len(), cents / 100, cents % 100);
    assert!(DOCUMENT.contains(&price), "deploy/metrics.md should say: {price}");
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Info => "info",
    }
}

/// The families of a page with their kind, and the label names of each.
fn families(page: &str) -> Vec<(String, String, BTreeSet<String>)> {
    let mut families: Vec<(String, String, BTreeSet<String>)> = Vec::new();
    for line in page.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            families.push((name.to_owned(), kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = labels.rsplit_once('}').unwrap().0.replace(r#"\""#, "'");
            let names = labels.split("\",").map(|pair| pair.split_once("=\"").unwrap().0.to_owned());
            families.last_mut().unwrap().2.extend(names);
        }
    }
    families
}

#[test]
fn the_page_prints_the_table() {
    let page = prometheus::encode(full().sight()).unwrap();
    let printed = families(&page);
    let expected: Vec<(String, String, BTreeSet<String>)> = METRICS
        .iter()
        .map(|metric| {
            let mut labels: BTreeSet<String> = metric.labels.iter().map(|label| (*label).to_owned()).collect();
            if metric.kind == Kind::Histogram {
                labels.insert("le".to_owned());
            }
            (metric.name(), word(metric.kind).to_owned(), labels)
        })
        .collect();
    assert_eq!(printed, expected);
    assert!(page.ends_with("# EOF\n"));
    for line in [
        r#"sluice_records_total{outcome="call"} 7"#,
        "sluice_spend_usd_total 1.500000000001",
        r#"sluice_apply_latency_seconds_bucket{le="0.025"} 7"#,
        r#"sluice_apply_latency_seconds_bucket{le="+Inf"} 7"#,
        "sluice_apply_latency_seconds_count 7",
        r#"sluice_actions_total{action="webhook",state="done"} 1"#,
        r#"sluice_actions_total{action="other",state="other"} 1"#,
        r#"sluice_budget_used_ratio{budget="hourly",target="a\"b\\c\nd{e}"} 0.8"#,
        r#"sluice_shard_lag_seconds{shard="a\"b\\c\nd{e}"} 1.5"#,
        "sluice_gaps_total 1",
        "sluice_ready 0",
    ] {
        assert!(page.lines().any(|printed| printed == line), "{line} is not in\n{page}");
    }
}

#[test]
fn named_series_are_bounded() {
    let board = full();
    let shard = |number: u64| ShardMeasure { shard: format!("s{number:04}"), behind_ms: Some(number), ..ShardMeasure::default() };
    let source = SourceMeasure { shards: (0..1_000).map(shard).collect(), ..SourceMeasure::default() };
    board.publish(Measures { source, ..Measures::default() });
    let page = prometheus::encode(board.sight()).unwrap();
    let lags: Vec<&str> = page.lines().filter(|line| line.starts_with("sluice_shard_lag_seconds{")).collect();
    assert_eq!(lags.len(), 100);
    assert!(lags[0].contains("s0999"), "those most behind are named: {}", lags[0]);
}

#[test]
fn a_line_for_cloudwatch_follows_the_specification() {
    let sight = full().sight();
    let measures = sight.measures.clone().unwrap();
    let line: Value = serde_json::from_str(&emf::line(&sight, &measures, &Measures::default(), "prod")).unwrap();
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(directive["Namespace"], "Sluice");
    assert_eq!(directive["Dimensions"], serde_json::json!([["Instance"]]));
    assert_eq!(line["Instance"], "prod");
    assert_eq!(line["_aws"]["Timestamp"], sight.now.0 / 1_000);
    let metrics = directive["Metrics"].as_array().unwrap();
    assert!(!metrics.is_empty() && metrics.len() <= 100);
    for metric in metrics {
        assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        assert!(["None", "Count", "Bytes", "Seconds"].contains(&metric["Unit"].as_str().unwrap()));
    }
    assert_eq!((&line["Calls"], &line["SpendUSD"]), (&serde_json::json!(7.0), &serde_json::json!(1.500000000001)));
    assert_eq!(line["StoppedShards"], 1.0);
}

#[test]
fn lines_hold_what_came_since_the_last_one_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("emf.jsonl");
    let board = full();
    let mut export = EmfExport::new(EmfTarget::File(path.clone()), "prod");
    export.export(&board.sight());
    std::fs::create_dir(folder.path().join("missing")).unwrap();
    export.export(&board.sight());
    export.export(&board.sight());
    let text = std::fs::read_to_string(&path).unwrap();
    let calls: Vec<Value> = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["Calls"].clone()).collect();
    assert_eq!(calls, [7.0, 0.0], "the line that could not be written is made up for");
}

/// Takes `times` requests and answers each with `status`; returns heads and bodies.
fn receiver(times: usize, status: &'static str) -> (SocketAddr, std::thread::JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for stream in listener.incoming().take(times) {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let mut chunk = [0; 4_096];
            let (head, length) = loop {
                let read = stream.read(&mut chunk).unwrap();
                bytes.extend_from_slice(&chunk[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, _)) = text.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                    break (head.to_owned(), length.unwrap());
                }
            };
            while bytes.len() < head.len() + 4 + length {
                let read = stream.read(&mut chunk).unwrap();
                bytes.extend_from_slice(&chunk[..read]);
            }
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}").unwrap();
            requests.push((head.clone(), String::from_utf8(bytes[head.len() + 4..].to_vec()).unwrap()));
        }
        requests
    });
    (address, thread)
}

#[test]
fn a_collector_gets_every_metric() {
    let (address, received) = receiver(1, "200 OK");
    let headers = [("authorization".to_owned(), "Bearer x".to_owned())].into();
    OtlpExport::new(&format!("http://{address}/v1/metrics"), &headers, "prod").export(&full().sight());
    let requests = received.join().unwrap();
    let (head, body) = &requests[0];
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("content-type: application/json") && head.contains("Bearer x"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    let resource = &body["resourceMetrics"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "sluice");
    let metrics = resource["scopeMetrics"][0]["metrics"].as_array().unwrap();
    let names: Vec<&str> = metrics.iter().map(|metric| metric["name"].as_str().unwrap()).collect();
    assert_eq!(names, METRICS.iter().map(|metric| metric.name()).collect::<Vec<_>>());
    let named = |name: &str| &metrics[names.iter().position(|known| *known == name).unwrap()];
    let spend = &named("sluice_spend_usd")["sum"];
    assert_eq!((&spend["isMonotonic"], &spend["aggregationTemporality"]), (&Value::Bool(true), &serde_json::json!(2)));
    assert_eq!(spend["dataPoints"][0]["asDouble"], 1.500000000001);
    let latency = &named("sluice_apply_latency_seconds")["histogram"]["dataPoints"][0];
    assert_eq!(latency["count"], "7");
    let counts = latency["bucketCounts"].as_array().unwrap();
    assert_eq!(counts.len(), latency["explicitBounds"].as_array().unwrap().len() + 1);
    let times = &named("sluice_records")["sum"]["dataPoints"][0];
    assert!(times["timeUnixNano"].as_str().unwrap().parse::<u64>().is_ok() && times["asInt"] == "7");
}

#[test]
fn a_collector_that_fails_is_tried_again() {
    let sight: Sight = full().sight();
    let (address, received) = receiver(2, "503 Service Unavailable");
    let mut export = OtlpExport::new(&format!("http://{address}/v1/metrics?key=hush"), &Default::default(), "prod");
    export.export(&sight);
    export.export(&sight);
    assert_eq!(received.join().unwrap().len(), 2);
    assert!(otlp::body(&sight, "prod").to_string().len() > 1_000);
}

fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn server(board: &Arc<Board>) -> HttpServer {
    HttpServer::start("127.0.0.1:0".parse().unwrap(), Arc::clone(board)).unwrap()
}

#[test]
fn health_and_metrics_are_served() {
    let board = Arc::new(Board::default());
    let server = server(&board);
    let ask = |path: &str| get(server.address, &format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert!(ask("/live").starts_with("HTTP/1.1 200"));
    let early = ask("/ready");
    assert!(early.starts_with("HTTP/1.1 503") && early.contains("\"resource\":\"state\"") && early.contains("\"fix\":"), "{early}");
    assert!(ask("/metrics").contains("sluice_ready 0"));
    board.enter(Stage::Running);
    board.turn(board.sight().now);
    board.publish(Measures { at: board.sight().now, ..Measures::default() });
    let ready = ask("/ready");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("\"reasons\":[]"), "{ready}");
    let page = ask("/metrics");
    assert!(page.contains(prometheus::CONTENT_TYPE) && page.ends_with("# EOF\n"), "{page}");
    assert!(ask("/else").starts_with("HTTP/1.1 404"));
    assert!(get(server.address, "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(get(server.address, "HEAD /ready HTTP/1.1\r\nhost: x\r\n\r\n").ends_with("\r\n\r\n"), "a head has no body");
}

#[test]
fn rude_clients_cost_nothing() {
    let board = full();
    let server = server(&board);
    let scrape = || get(server.address, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").ends_with("# EOF\n");
    // Garbage, and a head without end.
    assert!(!get(server.address, "\x16\x03\x01 garbage\r\n\r\n").starts_with("HTTP/1.1 200"));
    let mut endless = TcpStream::connect(server.address).unwrap();
    let line = format!("x-{}: y\r\n", "a".repeat(1_000));
    let flood = std::iter::once("GET /live HTTP/1.1\r\n").chain(std::iter::repeat_n(line.as_str(), 1_000));
    let refused = flood.map(|text| endless.write_all(text.as_bytes())).any(|written| written.is_err());
    let mut answer = String::new();
    let ended = endless.read_to_string(&mut answer);
    assert!(refused || ended.is_err() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    // More silent connections than there are places: those beyond are closed, those that have one lose it in time.
    let begun = Instant::now();
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    let mut served = false;
    while !served && begun.elapsed() < Duration::from_secs(15) {
        let mut stream = TcpStream::connect(server.address).unwrap();
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer));
        served = asked.is_ok() && answer.ends_with("# EOF\n");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(served, "silent connections keep others out for good");
    drop(idle);
    assert!(scrape());
    drop(server);
}
