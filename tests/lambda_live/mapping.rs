//! An event source mapping and the runtime API, as far as a function sees of them: batches of a shard, two at a time, handed in again
//! from the lowest failure that is told, or as a whole.
//!
//! Source of the behaviour: AWS Lambda Developer Guide, "Using the Lambda runtime API" and "Process Amazon Kinesis Data Streams records
//! with Lambda".

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use sluice_schemas::{Clock, SystemClock};

use crate::SLUICE;
use crate::stream::{Placed, base64};

/// Time an invocation has.
const TIMEOUT_MS: i64 = 2_500;
/// Records of a batch.
const BATCH: usize = 9;

/// How an invocation ended.
enum Outcome {
    Answer(Value),
    /// The function died, or said that it failed.
    Lost,
}

struct Invocation {
    id: u64,
    event: String,
    reply: Sender<Outcome>,
}

/// Hands invocations to whichever function asks.
pub(crate) struct Mapping {
    waiting: (Sender<Invocation>, Receiver<Invocation>),
    next_id: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self { waiting: bounded(1_000), next_id: AtomicU64::new(1), complaints: Mutex::default() }
    }
}

/// What a lane met.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) partial: u64,
    pub(crate) lost: u64,
}

impl Told {
    pub(crate) fn add(&mut self, other: &Self) {
        self.partial += other.partial;
        self.lost += other.lost;
    }
}

impl Mapping {
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap().clone()
    }

    fn invoke(&self, event: &Value) -> Outcome {
        let (reply, answered) = bounded(1);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.waiting.0.send(Invocation { id, event: event.to_string(), reply }).unwrap();
        answered.recv_timeout(Duration::from_secs(60)).unwrap_or(Outcome::Lost)
    }
}

/// Works through the records of a shard, with two batches under way at a time (parallelization factor 2).
pub(crate) fn lane(mapping: &Arc<Mapping>, stream: &str, shard: String, records: Vec<Placed>) -> [JoinHandle<Told>; 2] {
    let arn = format!("arn:aws:kinesis:eu-central-1:111122223333:stream/{stream}");
    [0, 1].map(|half| {
        let (mapping, arn, shard) = (Arc::clone(mapping), arn.clone(), shard.clone());
        let records: Vec<Placed> = records.chunks(BATCH).skip(half).step_by(2).flatten().cloned().collect();
        std::thread::spawn(move || {
            let (mut at, mut told) = (0, Told::default());
            while at < records.len() {
                let batch = &records[at..records.len().min(at + BATCH)];
                let event: Vec<Value> = batch.iter().map(|record| event(&arn, &shard, record)).collect();
                match mapping.invoke(&json!({ "Records": event })) {
                    Outcome::Lost => told.lost += 1,
                    Outcome::Answer(answer) => {
                        let failures = answer["batchItemFailures"].as_array().expect("an answer of a batch");
                        let first = failures.iter().map(|failure| failure["itemIdentifier"].as_str().expect("an item"));
                        let place = |item: &str| batch.iter().position(|record| record.sequence == item).expect("an item of the batch");
                        told.partial += u64::from(!failures.is_empty());
                        at += first.map(place).min().unwrap_or(batch.len());
                    }
                }
            }
            // A mapping may hand in what it has handed in.
            for batch in records.chunks(BATCH).step_by(5) {
                let event: Vec<Value> = batch.iter().map(|record| event(&arn, &shard, record)).collect();
                mapping.invoke(&json!({ "Records": event }));
            }
            told
        })
    })
}

fn event(arn: &str, shard: &str, record: &Placed) -> Value {
    json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0", "partitionKey": "k", "sequenceNumber": record.sequence, "data": base64(&record.data),
            "approximateArrivalTimestamp": 1_790_000_000.123
        },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventName": "aws:kinesis:record",
        "eventID": format!("{shard}:{}", record.sequence), "awsRegion": "eu-central-1", "eventSourceARN": arn
    })
}

/// A function and the runtime API that it alone asks.
pub(crate) struct Function {
    task_root: PathBuf,
    api: String,
    process: Child,
}

impl Function {
    pub(crate) fn start(number: usize, folder: &Path, mapping: &Arc<Mapping>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = listener.local_addr().unwrap().to_string();
        let mapping = Arc::clone(mapping);
        std::thread::Builder::new().name(format!("api-{number}")).spawn(move || serve(&listener, &mapping)).unwrap();
        let process = spawn(folder, &api);
        Self { task_root: folder.to_owned(), api, process }
    }

    /// Kills it in whatever it is doing; another one takes its place.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.task_root, &self.api);
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Starts it as Lambda starts `bootstrap`: without a word.
fn spawn(task_root: &Path, api: &str) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(task_root.join("function.log")).unwrap();
    Command::new(SLUICE)
        .env("AWS_LAMBDA_RUNTIME_API", api)
        .env("LAMBDA_TASK_ROOT", task_root)
        .env("AWS_LAMBDA_FUNCTION_NAME", "worker")
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Serves one function; it ends with the test.
fn serve(listener: &TcpListener, mapping: &Mapping) {
    let mut outstanding: Option<Invocation> = None;
    for client in listener.incoming() {
        let Ok(client) = client else { continue };
        let Some((line, body)) = read(&client) else { continue };
        let id = outstanding.as_ref().map_or(0, |invocation| invocation.id);
        if line.starts_with("GET /2018-06-01/runtime/invocation/next") {
            // Whoever asks anew has forgotten what it was asked for.
            outstanding.take().into_iter().for_each(|lost| drop(lost.reply.send(Outcome::Lost)));
            let Ok(invocation) = mapping.waiting.1.recv() else { return };
            let deadline = SystemClock.now().0 / 1_000 + TIMEOUT_MS;
            let head = format!("Lambda-Runtime-Aws-Request-Id: {}\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\n", invocation.id);
            write(&client, "200 OK", &head, &invocation.event);
            outstanding = Some(invocation);
        } else if line.starts_with(&format!("POST /2018-06-01/runtime/invocation/{id}/response")) {
            let answer: Value = serde_json::from_str(&body).expect("an answer in JSON");
            outstanding.take().into_iter().for_each(|done| drop(done.reply.send(Outcome::Answer(answer.clone()))));
            write(&client, "202 Accepted", "", "");
        } else {
            mapping.complaints.lock().unwrap().push(body);
            outstanding.take().into_iter().for_each(|lost| drop(lost.reply.send(Outcome::Lost)));
            write(&client, "202 Accepted", "", "");
        }
    }
}

fn read(client: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(client);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            length = value.trim().parse().unwrap_or_else(|_| panic!("{name}: {value}"));
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line, String::from_utf8(body).ok()?))
}

/// A client that is gone is what the next request tells of.
fn write(mut client: &TcpStream, status: &str, headers: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    drop(client.write_all(head.as_bytes()).and_then(|()| client.write_all(body.as_bytes())));
}
