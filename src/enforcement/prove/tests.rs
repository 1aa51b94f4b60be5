//! The thread that asks who ordered: what it shows, what it never shows, and what it makes of silence.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sluice_enforce::proof::{PROOF, REQUEST};
use sluice_schemas::Micros;

use super::*;

const ARN: &str = "arn:aws:sts::123456789012:assumed-role/admin/ann@example.com";

/// An STS that takes any signature over the order it is asked about, unless it is away.
struct Fake {
    shown: Arc<Mutex<Vec<String>>>,
    is_away: Arc<Mutex<bool>>,
}

impl Witness for Fake {
    fn region(&self) -> &str {
        "eu-central-1"
    }

    fn ask(&self, proof: &Proof, binding: &str) -> Result<Reply, CallError> {
        let action = "sts:GetCallerIdentity";
        if *self.is_away.lock().unwrap() {
            return Err(CallError::Network { action, host: "sts".to_owned(), detail: "timed out".to_owned() });
        }
        let header = proof.headers(binding).into_iter().find(|(name, _)| *name == "x-sluice-order").unwrap().1;
        self.shown.lock().unwrap().push(header.clone());
        // What was signed stands in the token here.
        if proof.token.as_ref() != Some(&header) {
            let (code, message) = ("SignatureDoesNotMatch".to_owned(), "does not match".to_owned());
            return Err(CallError::Refused { action, status: 403, code, message, request_id: String::new() });
        }
        let body = format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{ARN}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
        );
        Ok(Reply { body: body.into_bytes(), request_id: String::new() })
    }
}

fn order(id: &str) -> Command {
    Command {
        id: id.to_owned(),
        actor: "arn:aws:iam::123456789012:root".to_owned(),
        at: SystemClock.now(),
        verb: "set_stopped".to_owned(),
        arguments: [(REQUEST.to_owned(), "{}".to_owned())].into(),
        outcome: None,
    }
}

/// A proof of an order for a table, signed at a time.
fn signed(mut order: Command, table: &str, at: Micros) -> Command {
    let date = at.to_string()[..19].replace(['-', ':'], "") + "Z";
    let headers = "content-type;host;x-amz-date;x-amz-security-token;x-sluice-order";
    let scope = format!("Credential=ASIAEXAMPLE/{}/eu-central-1/sts/aws4_request", &date[..8]);
    let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders={headers}, Signature={}", "0f".repeat(32));
    let proof = Proof { authorization, date, token: Some(order.binding(table)) };
    order.arguments.insert(PROOF.to_owned(), serde_json::to_string(&proof).unwrap());
    order
}

fn verdicts(prover: &Prover, orders: impl IntoIterator<Item = Command>) -> Vec<Verdict> {
    let count = orders.into_iter().filter(|order| prover.ask(order.clone())).count();
    let (begun, mut found) = (Instant::now(), Vec::new());
    while found.len() < count {
        found.extend(prover.verdicts().into_iter().map(|(_, verdict)| verdict));
        assert!(begun.elapsed() < Duration::from_secs(20), "{found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    found
}

#[test]
fn only_who_signed_this_order_for_this_table_gave_it() {
    let (shown, is_away) = (Arc::default(), Arc::default());
    let (own, away) = (Arc::clone(&shown), Arc::clone(&is_away));
    let find: Find = Box::new(move || Ok(Box::new(Fake { shown: Arc::clone(&own), is_away: Arc::clone(&away) })));
    let prover = Prover::with(find, "sluice", Arc::new(SystemClock)).unwrap();
    let now = SystemClock.now();
    let good = signed(order("a"), "sluice", now);
    let stolen = Command { arguments: good.arguments.clone(), ..order("b") };
    let changed = {
        let mut changed = good.clone();
        changed.arguments.insert(REQUEST.to_owned(), r#"{"verb":"release_all"}"#.to_owned());
        changed
    };
    let found = verdicts(
        &prover,
        [
            good.clone(),
            order("c"),
            stolen,
            changed,
            signed(order("d"), "sluice-test", now),
            signed(order("e"), "sluice", now.plus(-3_600_000_000)),
            signed(order("f"), "sluice", now.plus(3_600_000_000)),
        ],
    );
    assert_eq!(found[0], Verdict::Proven(ARN.to_owned()), "the session as it is, whatever the order says of its actor");
    let words = ["carries no proof", "SignatureDoesNotMatch", "SignatureDoesNotMatch", "SignatureDoesNotMatch", "give the order again"];
    for (verdict, word) in found[1..6].iter().zip(words) {
        assert!(matches!(verdict, Verdict::Refused(why) if why.contains(word)), "{verdict:?} for {word}");
    }
    assert!(matches!(&found[6], Verdict::Waits(why) if why.contains("clock")), "{:?}", found[6]);
    assert_eq!(shown.lock().unwrap().len(), 4, "what has no proof, is too old or of tomorrow is not shown to STS");

    *is_away.lock().unwrap() = true;
    let [Verdict::Waits(why)] = &verdicts(&prover, [good.clone()])[..] else { panic!("silence is no answer") };
    assert!(why.contains("timed out"), "{why}");
    *is_away.lock().unwrap() = false;
    assert_eq!(verdicts(&prover, [good]), [Verdict::Proven(ARN.to_owned())]);
}

#[test]
fn where_sts_cannot_be_found_orders_wait() {
    let prover = Prover::with(Box::new(|| anyhow::bail!("no region is configured")), "sluice", Arc::new(SystemClock)).unwrap();
    let found = verdicts(&prover, [signed(order("a"), "sluice", SystemClock.now())]);
    assert!(matches!(&found[..], [Verdict::Waits(why)] if why.contains("no region")), "{found:?}");
}
