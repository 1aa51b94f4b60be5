//! A proxy on loopback between the SDK and the emulator that does what networks and busy services do: each fault in its turn.
//!
//! Faults: throttling, HTTP 500 and 503, expired iterators, a broken connection, an answer that comes too late although the
//! request was carried out, an answer that is delivered twice, an answer with fewer records than there are.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::pushing;

/// How long a subscription lasts.
const SUBSCRIPTION: Duration = Duration::from_millis(1_500);
/// Kinds of faults.
const FAULTS: u64 = 8;
/// The kind that lets a call pass.
const NO_FAULT: u64 = FAULTS;

/// How often each fault was injected.
pub(crate) type Injected = HashMap<&'static str, u64>;

/// A running proxy; it ends when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: String,
    stop: AtomicBool,
    faults: AtomicBool,
    late: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reads: u64,
    others: u64,
    injected: Injected,
    /// Shard of an iterator.
    shards: HashMap<String, String>,
    /// Last answer with records of a shard.
    last: HashMap<String, Vec<u8>>,
}

impl Proxy {
    /// Starts between callers and `upstream`, an address like `127.0.0.1:4568`; late answers come after `late`.
    pub(crate) fn start(upstream: &str, late: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Mutex::new(State::default());
        let (stop, faults) = (AtomicBool::new(false), AtomicBool::new(true));
        let shared = Arc::new(Shared { upstream: upstream.to_owned(), stop, faults, late, state });
        let of_thread = Arc::clone(&shared);
        let listener = Some(thread::spawn(move || accept(&listener, &of_thread)));
        Self { address, shared, listener }
    }

    /// Returns the URL to call.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets everything pass from now on.
    pub(crate) fn calm(&self) {
        self.shared.faults.store(false, Ordering::Relaxed);
    }

    /// Returns how often each fault was injected.
    pub(crate) fn injected(&self) -> Injected {
        self.shared.state.lock().expect("no panic").injected.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        self.listener.take().map(JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let (Ok(stream), shared) = (stream, Arc::clone(shared)) else { continue };
        thread::spawn(move || {
            // A broken connection is nothing to speak of here.
            serve(stream, &shared).ok();
        });
    }
}

/// A request or an answer: its head up to the empty line, and its body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
    }

    fn read(stream: &mut TcpStream) -> std::io::Result<Option<Self>> {
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte)? == 0 {
                return Ok(None);
            }
            bytes.push(byte[0]);
        }
        let mut message = Self { head: String::from_utf8_lossy(&bytes).into_owned(), body: Vec::new() };
        if let Some(length) = message.header("content-length").and_then(|length| length.parse().ok()) {
            message.body = vec![0; length];
            stream.read_exact(&mut message.body)?;
        } else if message.header("transfer-encoding").is_some() || message.header("connection") == Some("close") {
            stream.read_to_end(&mut message.body)?;
        }
        Ok(Some(message))
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    while let Some(request) = Message::read(&mut stream)? {
        let target = request.header("x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap_or_default().to_owned();
        if target == "SubscribeToShard" {
            let asked = serde_json::from_slice(&request.body).unwrap_or_default();
            shared.count("subscribed");
            return pushing::push(&mut stream, &asked, SUBSCRIPTION, |action, body| shared.ask(&request, action, body));
        }
        let Some((status, body)) = shared.answer(&target, request)? else { return Ok(()) };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {length}\r\n\r\n")?;
        stream.write_all(&body)?;
    }
    Ok(())
}

impl Shared {
    /// Returns what is answered; nothing when the connection breaks instead.
    fn answer(&self, target: &str, mut request: Message) -> std::io::Result<Option<(String, Vec<u8>)>> {
        let refusal = |kind: &str| format!(r#"{{"__type":"{kind}","message":"injected"}}"#).into_bytes();
        let read = target == "GetRecords";
        let named = if read { "ShardIterator" } else { "ShardId" };
        let asked = serde_json::from_slice::<Value>(&request.body).ok().and_then(|body| Some(body.get(named)?.as_str()?.to_owned()));
        let faulty = self.faults.load(Ordering::Relaxed) && matches!(target, "GetRecords" | "GetShardIterator" | "ListShards");
        match if faulty { self.next(read) } else { NO_FAULT } {
            0 => return Ok(Some(self.inject("throttled", "400 Bad Request", refusal("ProvisionedThroughputExceededException")))),
            1 => return Ok(Some(self.inject("500", "500 Internal Server Error", refusal("InternalFailureException")))),
            2 => return Ok(Some(self.inject("503", "503 Service Unavailable", b"<html>busy</html>".to_vec()))),
            3 if read => return Ok(Some(self.inject("expired", "400 Bad Request", refusal("ExpiredIteratorException")))),
            4 => {
                self.count("broken");
                return Ok(None);
            }
            5 => {
                self.forward(&request)?;
                self.count("late");
                thread::sleep(self.late);
                return Ok(None);
            }
            6 if read => {
                let shard = asked.as_ref().and_then(|iterator| self.lock().shards.get(iterator).cloned());
                if let Some(last) = shard.and_then(|shard| self.lock().last.get(&shard).cloned()) {
                    return Ok(Some(self.inject("twice", "200 OK", last)));
                }
            }
            7 if read => {
                self.count("partial");
                limit(&mut request);
            }
            _ => {}
        }
        let (status, body) = self.forward(&request)?;
        self.learn(read, asked, &body);
        Ok(Some((status, body)))
    }

    /// Remembers which iterator is of which shard, and the last records of each.
    fn learn(&self, read: bool, asked: Option<String>, body: &[u8]) {
        let (Some(asked), Ok(answer)) = (asked, serde_json::from_slice::<Value>(body)) else { return };
        let mut state = self.lock();
        let shard = if read { state.shards.get(&asked).cloned() } else { Some(asked) };
        let Some(shard) = shard else { return };
        for name in ["ShardIterator", "NextShardIterator"] {
            if let Some(iterator) = answer.get(name).and_then(Value::as_str) {
                state.shards.insert(iterator.to_owned(), shard.clone());
            }
        }
        if answer.get("Records").and_then(Value::as_array).is_some_and(|records| !records.is_empty()) {
            state.last.insert(shard, body.to_vec());
        }
    }

    fn forward(&self, request: &Message) -> std::io::Result<(String, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.upstream)?;
        let skipped = ["connection", "content-length"];
        let lines = request.head.trim_end().lines();
        let kept = lines.filter(|line| !skipped.iter().any(|name| line.to_ascii_lowercase().starts_with(&format!("{name}:"))));
        let head: String = kept.flat_map(|line| [line, "\r\n"]).collect();
        write!(stream, "{head}connection: close\r\ncontent-length: {}\r\n\r\n", request.body.len())?;
        stream.write_all(&request.body)?;
        let answer = Message::read(&mut stream)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = answer.head.lines().next().and_then(|line| line.split_once(' ')).map_or("502 Bad Gateway", |(_, status)| status);
        Ok((status.to_owned(), answer.body))
    }

    /// Asks something else in the name of a caller.
    fn ask(&self, request: &Message, action: &str, body: &Value) -> std::io::Result<Value> {
        let head = request.head.replace("SubscribeToShard", action);
        let (_, answer) = self.forward(&Message { head, body: body.to_string().into_bytes() })?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }

    fn inject(&self, name: &'static str, status: &str, body: Vec<u8>) -> (String, Vec<u8>) {
        self.count(name);
        (status.to_owned(), body)
    }

    fn count(&self, name: &'static str) {
        *self.lock().injected.entry(name).or_default() += 1;
    }

    /// Returns the next fault: every third read and every fifth other call has one.
    fn next(&self, read: bool) -> u64 {
        let mut state = self.lock();
        let (calls, distance) = if read { (&mut state.reads, 3) } else { (&mut state.others, 5) };
        *calls += 1;
        if *calls % distance == 0 { (*calls / distance) % FAULTS } else { NO_FAULT }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }
}

/// Asks for few records.
fn limit(request: &mut Message) {
    if let Ok(Value::Object(mut body)) = serde_json::from_slice(&request.body) {
        body.insert("Limit".to_owned(), Value::from(2));
        request.body = Value::Object(body).to_string().into_bytes();
    }
}
