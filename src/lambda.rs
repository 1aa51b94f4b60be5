//! The process as an AWS Lambda function on an operating-system-only runtime: takes events from the runtime API, one at a time, and
//! publishes their records.
//!
//! Source of the protocol: AWS Lambda Developer Guide, "Using the Lambda runtime API": three calls, so no crate stands between.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::json;
use sluice_ingest::decode::Decoder;
use sluice_ingest::lambda::{Answer, Function};
use sluice_ingest::relay::worker::PublishError;
use sluice_schemas::{Clock, ErrorClass, SystemClock, error::causes};
use ureq::Agent;

use crate::config::Config;
use crate::sources::Clients;
use crate::sources::relay::Publisher;

/// Where the runtime API is; set within a function alone.
const API: &str = "AWS_LAMBDA_RUNTIME_API";
/// Version of the API.
const VERSION: &str = "2018-06-01";
/// Longest wait for one message to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// Most time that is kept free at the end of an invocation for the answer.
const RESERVE: Duration = Duration::from_secs(3);
/// Largest event; Lambda hands over 6 MB at most.
const EVENT_MAX: u64 = 16 << 20;

/// Returns the host and port of the runtime API, if this process is a Lambda function.
pub(crate) fn api() -> Option<String> {
    std::env::var(API).ok().filter(|api| !api.is_empty())
}

/// Returns the command line of a function that was started without one, as Lambda starts `bootstrap`: a worker, with the configuration
/// that lies beside it.
pub(crate) fn command_line() -> Option<Vec<OsString>> {
    if api().is_none() || std::env::args_os().len() > 1 {
        return None;
    }
    let mut line: Vec<OsString> = ["sluice", "--log-format", "json", "run", "--role", "worker"].map(OsString::from).to_vec();
    let beside = std::env::var_os("LAMBDA_TASK_ROOT").map(|root| Path::new(&root).join("sluice.toml"));
    if let Some(file) = beside.filter(|file| file.is_file() && std::env::var_os("SLUICE_CONFIG").is_none()) {
        line.extend([OsString::from("--config"), file.into()]);
    }
    Some(line)
}

/// Serves invocations until the environment is taken down.
///
/// # Errors
/// The function cannot be made ready, or the runtime API cannot be reached.
pub(crate) fn run(config: &Config, api: &str) -> anyhow::Result<ExitCode> {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
    let service = Api { agent, base: format!("http://{api}/{VERSION}/runtime") };
    let ready = make_ready(config);
    // The publisher works as long as its clients live.
    let Ready { mut function, mut publish, clients: _clients } = match ready {
        Ok(ready) => ready,
        Err(error) => {
            service.post("init/error", &fault("Sluice.Misconfigured", &format!("{error:#}")))?;
            return Err(error);
        }
    };
    tracing::info!(event = "running", role = "worker", name = function.name, "running as a Lambda function");
    loop {
        let Invocation { id, deadline, event } = service.next()?;
        let begun = Instant::now();
        let until = begun + time_for(deadline, SystemClock.now().0);
        let mut patient = |shard: &str, messages: &[Vec<u8>]| publish_until(until, &mut publish, shard, messages);
        match function.work(&event, SystemClock.now(), &mut patient) {
            Ok((answer, tally)) => {
                let (calls, messages, failed) = (tally.calls, tally.messages, answer.failures.len());
                let took_ms = begun.elapsed().as_millis() as u64;
                tracing::info!(event = "invocation", id, calls, messages, failed, took_ms, "an invocation ended");
                service.respond(&id, &answer)?;
            }
            Err(error) => {
                let said = causes(&error);
                tracing::error!(event = "invocation_failed", id, error = said, "an event was not worked on; it is handed in again");
                service.post(&format!("invocation/{id}/error"), &fault("Sluice.Event", &said))?;
            }
        }
    }
}

/// What serves invocations.
struct Ready {
    function: Function,
    publish: Publisher,
    clients: Clients,
}

fn make_ready(config: &Config) -> anyhow::Result<Ready> {
    let Some(relay) = &config.relay else {
        bail!("nowhere to publish: set a stream, or brokers and topic, in [relay]");
    };
    if !config.sources.is_empty() || !config.paths.is_empty() {
        bail!("a function is handed its records by its event source mapping: declare no [[source]] and no paths");
    }
    let clients = Clients::default();
    let publish = relay.open(&clients, PATIENCE)?;
    let mut decoder = Decoder::taking(std::sync::Arc::clone(&config.intake));
    decoder.accept(config.worker.clone());
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let name = format!("{}-{}", var("AWS_LAMBDA_FUNCTION_NAME"), var("AWS_LAMBDA_LOG_STREAM_NAME"));
    Ok(Ready { function: Function { name, limit: relay.limit(), decoder }, publish, clients })
}

/// Returns how long publishing may be tried: up to the deadline, less what the answer needs.
fn time_for(deadline_ms: i64, now_micros: i64) -> Duration {
    let left = Duration::from_millis(u64::try_from(deadline_ms - now_micros / 1_000).unwrap_or(0));
    left - (left / 4).min(RESERVE)
}

/// Publishes, as often as there is time for. Whatever the failure is, the records are handed in again, for days if need be: who
/// removes its cause needs no other step.
fn publish_until(until: Instant, publish: &mut Publisher, shard: &str, messages: &[Vec<u8>]) -> Result<(), PublishError> {
    loop {
        let error = match publish(shard, messages) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if error.class != ErrorClass::Transient || Instant::now() + PAUSE >= until {
            return Err(error);
        }
        tracing::warn!(%error, shard, "messages were not taken; tried again");
        std::thread::sleep(PAUSE);
    }
}

fn fault(kind: &str, message: &str) -> serde_json::Value {
    json!({ "errorType": kind, "errorMessage": message })
}

/// The runtime API.
struct Api {
    agent: Agent,
    base: String,
}

/// An event to work on.
struct Invocation {
    id: String,
    /// In milliseconds since 1970.
    deadline: i64,
    event: Vec<u8>,
}

impl Api {
    /// Waits for the next event; while there is none the environment may be frozen.
    fn next(&self) -> anyhow::Result<Invocation> {
        let mut answer = self.agent.get(format!("{}/invocation/next", self.base)).call().context("ask for the next invocation")?;
        if answer.status() != 200 {
            bail!("the runtime API has no next invocation: status {}", answer.status());
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let id = header("Lambda-Runtime-Aws-Request-Id").context("an invocation without an id")?;
        let deadline =
            header("Lambda-Runtime-Deadline-Ms").and_then(|text| text.parse().ok()).context("an invocation without a deadline")?;
        let event = answer.body_mut().with_config().limit(EVENT_MAX).read_to_vec().context("read an event")?;
        Ok(Invocation { id, deadline, event })
    }

    fn respond(&self, id: &str, answer: &Answer) -> anyhow::Result<()> {
        self.post(&format!("invocation/{id}/response"), &serde_json::to_value(answer)?)
    }

    fn post(&self, path: &str, body: &serde_json::Value) -> anyhow::Result<()> {
        let kind = body.get("errorType").and_then(|kind| kind.as_str()).unwrap_or_default();
        let request = self.agent.post(format!("{}/{path}", self.base)).header("Content-Type", "application/json");
        let request = if kind.is_empty() { request } else { request.header("Lambda-Runtime-Function-Error-Type", kind) };
        let answer = request.send(body.to_string().as_bytes()).context("answer the runtime API")?;
        if answer.status() != 202 {
            // An invocation that ran out of time: its records are handed in again.
            tracing::warn!(path, status = answer.status().as_u16(), "the runtime API did not take an answer");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_left_for_the_answer() {
        let left = |ms: i64| time_for(1_000_000 + ms, 1_000_000_000);
        assert_eq!(left(60_000), Duration::from_secs(57));
        assert_eq!(left(4_000), Duration::from_secs(3));
        assert_eq!(left(-5), Duration::ZERO);
    }
}
