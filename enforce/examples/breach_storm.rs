//! How long after they are due 10,000 breaches of one moment are told: `cargo run --release -p sluice-enforce --example breach_storm
//! [COUNT [MILLISECONDS]]`. SNS and EventBridge answer after so many milliseconds (50); the shared store is a file.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "it prints its figures and has nobody to report an error to")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_enforce::actions::{EventBridge, EventBridgeSettings, Sns, SnsSettings};
use sluice_enforce::aws::{Aws, Body, Call, CallError, Reply};
use sluice_enforce::store::conformance::sample_crossing;
use sluice_enforce::{Action, ActionKind, CommitPermit, FileStore, Outbox};
use sluice_schemas::Micros;

/// Answers as SNS and EventBridge do, after a while, and notes when it took which breach.
struct Far {
    latency: Duration,
    calls: AtomicUsize,
    taken: Mutex<BTreeMap<&'static str, Vec<Duration>>>,
    start: Instant,
}

impl Aws for Far {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        std::thread::sleep(self.latency);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let (count, body) = match &call.body {
            Body::Form(form) => {
                let count = form.matches(".MessageStructure=").count();
                let member = |place| format!("<member><Id>{place}</Id><MessageId>m</MessageId></member>");
                (count, format!("<R><Successful>{}</Successful></R>", (0..count).map(member).collect::<String>()))
            }
            Body::Json(json) => {
                let count = json.matches("\"DetailType\"").count();
                (count, format!("{{\"Entries\":[{}]}}", vec!["{\"EventId\":\"e\"}"; count].join(",")))
            }
            Body::None => (0, String::new()),
        };
        let at = self.start.elapsed();
        self.taken.lock().expect("a lock").entry(call.action).or_default().extend(std::iter::repeat_n(at, count));
        Ok(Reply { body: body.into_bytes(), request_id: String::new() })
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().expect("a number"));
    let (count, latency) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(50));
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(FileStore::open(&folder.path().join("shared.redb")).expect("a store"));
    let far = Arc::new(Far {
        latency: Duration::from_millis(latency),
        calls: AtomicUsize::new(0),
        taken: Mutex::default(),
        start: Instant::now(),
    });
    let topic = "arn:aws:sns:eu-central-1:111122223333:breaches".to_owned();
    let sns = Sns::new(Arc::clone(&far) as Arc<dyn Aws>, &SnsSettings { topic, per_second: SnsSettings::PER_SECOND }).expect("a topic");
    let (bus, region) = ("default".to_owned(), "eu-central-1".to_owned());
    let settings = EventBridgeSettings { bus, region, per_second: EventBridgeSettings::PER_SECOND };
    let bus = EventBridge::new(Arc::clone(&far) as Arc<dyn Aws>, &settings);
    let actions: Vec<Box<dyn Action>> = vec![Box::new(sns), Box::new(bus)];
    let mut outbox = Outbox::new(store, actions, 0);
    for number in 0..count {
        let mut crossing = sample_crossing(&format!("{number:032x}"), &format!("agent_id=agent-{number},team=t"));
        crossing.actions = vec![ActionKind::Notify];
        outbox.enqueue(crossing);
    }
    let due = far.start.elapsed();
    let settled = outbox.tick(&CommitPermit::after_commit(u64::MAX), Micros(1)).expect("nothing fails here");
    let whole = far.start.elapsed();
    for (action, times) in &mut *far.taken.lock().expect("a lock") {
        times.sort_unstable();
        let at = |percent: usize| times[(times.len() - 1) * percent / 100].saturating_sub(due).as_millis();
        println!("{action}: {} told, p50 {} ms, p99 {} ms, last {} ms after due", times.len(), at(50), at(99), at(100));
    }
    println!(
        "{} calls; {} settled {} ms after due",
        far.calls.load(Ordering::Relaxed),
        settled.len(),
        whole.saturating_sub(due).as_millis()
    );
}
