//! Effects happen once, and a lost answer or a torn write does no harm.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::ReceiptState;
use crate::store::conformance::sample_crossing;

mod aws;
mod posts;

const PERMIT: CommitPermit = CommitPermit::after_commit(7);

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).expect("readable").lines().map(str::to_owned).collect()
}

fn append(path: &Path, fire_id: &str) -> Result<Receipt, ActionError> {
    FileAction::new(path).apply(&PERMIT, &sample_crossing(fire_id, "agent_id=a"))
}

#[test]
fn nothing_happens_before_the_commit() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("breaches.jsonl");
    let error = FileAction::new(&path).apply(&CommitPermit::after_commit(6), &sample_crossing("f", "*")).expect_err("refused");
    assert_eq!((error.class(), path.exists()), (ErrorClass::Bug, false));
    assert!(LogAction.apply(&CommitPermit::after_commit(6), &sample_crossing("f", "*")).is_err());
    assert!(LogAction.apply(&PERMIT, &sample_crossing("f", "\u{1b}[31m\n")).is_ok());
}

#[test]
fn a_line_is_written_once() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("breaches.jsonl");
    let states: Vec<ReceiptState> = ["a", "b", "a"].map(|id| append(&path, id).expect("written").state).to_vec();
    assert_eq!(states, [ReceiptState::Done, ReceiptState::Done, ReceiptState::AlreadyDone]);
    let ids: Vec<String> =
        lines(&path).iter().map(|line| serde_json::from_str::<sluice_schemas::breach::Breach>(line).expect("a breach").fire_id).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn a_name_that_looks_like_a_fire_id_is_no_fire_id() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("breaches.jsonl");
    FileAction::new(&path).apply(&PERMIT, &sample_crossing("x", "\"fire_id\":\"y\"")).expect("written");
    assert_eq!(append(&path, "y").expect("written").state, ReceiptState::Done);
}

proptest! {
    #[test]
    fn a_torn_last_line_is_cut_off_wherever_it_was_torn(before in 0_usize..3, cut in any::<prop::sample::Index>()) {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("breaches.jsonl");
        for number in 0..before {
            append(&path, &format!("old-{number}")).expect("written");
        }
        let whole = if before > 0 { std::fs::read(&path).expect("readable") } else { Vec::new() };
        let mut torn = serde_json::to_vec(&sample_crossing("new", "agent_id=a").breach).expect("json");
        torn.truncate(cut.index(torn.len() + 1));
        let complete_but_for_the_break = torn.len() == serde_json::to_vec(&sample_crossing("new", "agent_id=a").breach).expect("json").len();
        std::fs::write(&path, [whole, torn].concat()).expect("written");
        append(&path, "new").expect("repaired");
        append(&path, "next").expect("written");
        let lines = lines(&path);
        prop_assert_eq!(lines.len(), before + 2, "{} {:?}", complete_but_for_the_break, lines);
        for line in lines {
            prop_assert!(serde_json::from_str::<sluice_schemas::breach::Breach>(&line).is_ok());
        }
    }
}

#[test]
fn a_foreign_file_is_left_alone() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "shopping list").expect("written");
    let error = append(&path, "f").expect_err("refused");
    assert_eq!(error.class(), ErrorClass::Misconfigured);
    assert_eq!(std::fs::read_to_string(&path).expect("there"), "shopping list");
    let nowhere = append(&folder.path().join("no/such/folder"), "f").expect_err("refused");
    assert_eq!(nowhere.class(), ErrorClass::Transient);
}

/// Answers each connection with one of `answers` (empty: closes without one) and returns the requests.
fn server(answers: Vec<&'static str>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://user:pass@{}/secret-path", listener.local_addr().expect("an address"));
    let serve = move || {
        let answer = |answer: &str| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let request = read_request(&mut stream);
            stream.write_all(answer.as_bytes()).expect("answered");
            request
        };
        answers.into_iter().map(answer).collect()
    };
    (url, std::thread::spawn(serve))
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).expect("readable");
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return text;
        }
    }
}

const OK: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

fn answer(status: &str) -> &'static str {
    format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\nLocation: http://127.0.0.1:1/\r\n\r\n").leak()
}

#[test]
fn a_webhook_gets_the_breach_and_its_key() {
    let (url, server) = server(vec![OK]);
    let action = WebhookAction::new(&url, Duration::from_secs(5)).expect("a URL");
    let receipt = action.apply(&PERMIT, &sample_crossing("f00", "agent_id=a")).expect("sent");
    assert_eq!((receipt.state, receipt.detail.as_str()), (ReceiptState::Done, "status 204"));
    let request = server.join().expect("served").remove(0);
    let (head, body) = request.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("POST /secret-path HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("idempotency-key: f00") && head.to_lowercase().contains("content-type: application/json"));
    let breach: sluice_schemas::breach::Breach = serde_json::from_str(body).expect("a breach");
    assert_eq!(breach, sample_crossing("f00", "agent_id=a").breach);
}

#[test]
fn answers_are_sorted_into_try_again_and_give_up() {
    let cases =
        [("500", true), ("503", true), ("429", true), ("408", true), ("400", false), ("404", false), ("410", false), ("302", false)];
    for (status, again) in cases {
        let (url, server) = server(vec![answer(status)]);
        let action = WebhookAction::new(&url, Duration::from_secs(5)).expect("a URL");
        let error = action.apply(&PERMIT, &sample_crossing("f", "*")).expect_err("refused");
        assert_eq!(error.class() == ErrorClass::Transient, again, "{status}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        server.join().expect("served");
    }
}

#[test]
fn a_lost_answer_is_tried_again() {
    let (url, server) = server(vec![""]);
    let action = WebhookAction::new(&url, Duration::from_secs(5)).expect("a URL");
    let error = action.apply(&PERMIT, &sample_crossing("f", "*")).expect_err("no answer");
    assert_eq!(error.class(), ErrorClass::Transient, "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    server.join().expect("served");
    // Nobody listens any more.
    assert_eq!(action.apply(&PERMIT, &sample_crossing("f", "*")).expect_err("refused").class(), ErrorClass::Transient);
}

#[test]
fn a_silent_receiver_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let action = WebhookAction::new(&url, Duration::from_millis(100)).expect("a URL");
    let error = action.apply(&PERMIT, &sample_crossing("f", "*")).expect_err("no answer");
    assert!(error.to_string().contains("timeout") && error.class() == ErrorClass::Transient, "{error}");
}

#[test]
fn urls_show_their_host_alone() {
    let action = WebhookAction::new("https://user:pw@hooks.example.com:8443/T0/B0/secret", Duration::from_secs(1)).expect("a URL");
    assert!(action.name().starts_with("webhook:hooks.example.com:8443:") && !action.name().contains("secret"));
    for bad in ["", "hooks.example.com/x", "ftp://example.com/x", "http://", "/x", "https:secret"] {
        let error = WebhookAction::new(bad, Duration::from_secs(1)).err().expect("refused");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
