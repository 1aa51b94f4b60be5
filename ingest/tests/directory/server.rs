//! A server on this machine that answers requests from a list, and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Ours, as the server tells it.
pub(crate) const ACCOUNT: &str = "111122223333";

/// One request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) body: String,
    pub(crate) authorization: String,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) error: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn ok(body: impl ToString) -> Self {
        Self { status: 200, error: String::new(), body: body.to_string() }
    }

    pub(crate) fn refused(status: u16, error: &str) -> Self {
        Self { status, error: error.to_owned(), body: format!(r#"{{"message":"{error} it is"}}"#) }
    }
}

type Script = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

/// The server; it ends when it is dropped.
pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Starts one that answers by `script`, which is told how many requests came before.
    pub(crate) fn start(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, ended, script): (_, _, Arc<Script>) = (Arc::clone(&asked), Arc::clone(&stop), Arc::new(script));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                serve(stream.unwrap(), &seen, &*script);
            }
        });
        Self { address, asked, stop, thread: Some(thread) }
    }

    /// The request lines so far, `GetCallerIdentity` left out.
    pub(crate) fn lines(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| !one.body.contains("GetCallerIdentity")).map(|one| one.line.clone()).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address.trim_start_matches("http://")));
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<Asked>>, script: &Script) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let (mut asked, mut length, mut line) = (Asked::default(), 0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let text = line.trim_end();
        match text.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
            _ if text.is_empty() => break,
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
            Some((name, value)) if name == "authorization" => asked.authorization = value.to_owned(),
            Some(_) => {}
            None => asked.line = text.trim_end_matches(" HTTP/1.1").to_owned(),
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    asked.body = String::from_utf8(body).unwrap();
    let answer = if asked.body.contains("GetCallerIdentity") {
        Answer::ok(format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ))
    } else {
        let before = seen.lock().unwrap().iter().filter(|one| !one.body.contains("GetCallerIdentity")).count();
        script(&asked, before)
    };
    seen.lock().unwrap().push(asked);
    let error = if answer.error.is_empty() { String::new() } else { format!("x-amzn-errortype: {}\r\n", answer.error) };
    let head = format!("HTTP/1.1 {} x\r\n{error}content-length: {}\r\nconnection: close\r\n\r\n", answer.status, answer.body.len());
    writer.write_all(head.as_bytes()).unwrap();
    writer.write_all(answer.body.as_bytes()).unwrap();
}
