//! SNS and EventBridge, against a fake that answers as the services do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use sluice_schemas::Micros;

use super::super::*;
use crate::aws::{Aws, Body, Call, Reply};
use crate::notice::{HoldNews, HoldNotice, Notice, Receiver};
use crate::store::conformance::sample_crossing;

/// What a call is answered with.
enum Say {
    /// All entries are taken.
    Yes,
    /// These entries of the batch are not: place, code, whether the sender is at fault.
    Not(Vec<(usize, &'static str, bool)>),
    No(CallError),
    Garbage,
}

#[derive(Default)]
struct Fake {
    says: Mutex<VecDeque<Say>>,
    calls: Mutex<Vec<Call>>,
}

impl Fake {
    fn new(says: Vec<Say>) -> Arc<Self> {
        Arc::new(Self { says: Mutex::new(says.into()), calls: Mutex::default() })
    }

    fn forms(&self) -> Vec<Vec<(String, String)>> {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|call| if let Body::Form(form) = &call.body { read_form(form) } else { panic!("no form: {call:?}") }).collect()
    }

    fn json(&self) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .map(|call| if let Body::Json(json) = &call.body { serde_json::from_str(json).unwrap() } else { panic!("{call:?}") })
            .collect()
    }
}

fn read_form(form: &str) -> Vec<(String, String)> {
    let plain = |text: &str| crate::target::value_in(&format!("x={}", text.replace(',', "%2C")), "x").unwrap();
    form.split('&').map(|pair| pair.split_once('=').unwrap()).map(|(name, value)| (name.to_owned(), plain(value))).collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

impl Aws for Fake {
    fn call(&self, call: &Call) -> Result<Reply, CallError> {
        self.calls.lock().unwrap().push(call.clone());
        let say = self.says.lock().unwrap().pop_front().unwrap_or(Say::Yes);
        let refused = match &say {
            Say::No(error) => return Err(error.clone()),
            Say::Garbage => return Ok(Reply { body: b"{\"Entries\":[]}<Other/>".to_vec(), request_id: String::new() }),
            Say::Not(refused) => refused.clone(),
            Say::Yes => Vec::new(),
        };
        let fault = |place: usize| refused.iter().find(|(at, _, _)| *at == place);
        let body = match &call.body {
            Body::Form(form) => {
                let count = form.matches(".MessageStructure=").count();
                let (mut good, mut bad) = (String::new(), String::new());
                for place in 0..count {
                    match fault(place) {
                        None => good += &format!("<member><Id>{place}</Id><MessageId>m-{place}</MessageId></member>"),
                        Some((_, code, sender)) => {
                            bad += &format!(
                                "<member><Id>{place}</Id><Code>{code}</Code><Message>a &lt; b</Message><SenderFault>{sender}</SenderFault></member>"
                            );
                        }
                    }
                }
                format!("<R><PublishBatchResult><Successful>{good}</Successful><Failed>{bad}</Failed></PublishBatchResult></R>")
            }
            Body::Json(json) => {
                let entries = serde_json::from_str::<Value>(json).unwrap()["Entries"].as_array().unwrap().len();
                let entry = |place: usize| match fault(place) {
                    None => serde_json::json!({ "EventId": format!("e-{place}") }),
                    Some((_, code, _)) => serde_json::json!({ "ErrorCode": code, "ErrorMessage": "no" }),
                };
                let entries: Vec<Value> = (0..entries).map(entry).collect();
                serde_json::json!({ "FailedEntryCount": refused.len(), "Entries": entries }).to_string()
            }
            Body::None => panic!("{call:?}"),
        };
        Ok(Reply { body: body.into_bytes(), request_id: "r".to_owned() })
    }
}

fn throttled() -> Say {
    Say::No(CallError::Refused {
        action: "x",
        status: 400,
        code: "Throttling".to_owned(),
        message: String::new(),
        request_id: String::new(),
    })
}

fn sns(fake: &Arc<Fake>, topic: &str) -> Sns {
    let topic = format!("arn:aws:sns:eu-central-1:111122223333:{topic}");
    Sns::new(Arc::clone(fake) as Arc<dyn Aws>, &SnsSettings { topic, per_second: 100_000 }).unwrap()
}

fn bus(fake: &Arc<Fake>) -> EventBridge {
    let settings = EventBridgeSettings { bus: "default".to_owned(), region: "eu-central-1".to_owned(), per_second: 100_000 };
    EventBridge::new(Arc::clone(fake) as Arc<dyn Aws>, &settings)
}

fn crossings(count: usize) -> Vec<Crossing> {
    (0..count).map(|number| sample_crossing(&format!("f{number}"), &format!("agent_id=a{number},team=t,region=us-east-1"))).collect()
}

fn notices(crossings: &[Crossing]) -> Vec<Notice<'_>> {
    crossings.iter().map(|crossing| Notice::Breach(&crossing.breach)).collect()
}

#[test]
fn ten_breaches_are_one_publish_with_texts_and_attributes() {
    let fake = Fake::new(vec![]);
    let topic = sns(&fake, "breaches");
    let crossings = crossings(23);
    let results = topic.tell_all(&notices(&crossings));
    assert!(results.len() == 23 && results.iter().all(Result::is_ok), "{results:?}");
    let forms = fake.forms();
    assert_eq!(forms.len(), 3);
    let form = &forms[0];
    let at = |name: &str| field(form, &format!("PublishBatchRequestEntries.member.2.{name}"));
    assert_eq!(field(form, "TopicArn"), Some("arn:aws:sns:eu-central-1:111122223333:breaches"));
    let message: Value = serde_json::from_str(at("Message").unwrap()).unwrap();
    assert!(message["default"].as_str().unwrap().contains("spent $26.00 of $25.00"), "{message}");
    assert_eq!(message["email"], message["default"]);
    for protocol in ["sqs", "lambda", "https", "http"] {
        let machine: Value = serde_json::from_str(message[protocol].as_str().unwrap()).unwrap();
        assert_eq!((machine["fire_id"].as_str(), machine["severity"].as_str()), (Some("f1"), Some("critical")));
    }
    assert_eq!((at("MessageStructure"), at("MessageGroupId")), (Some("json"), None));
    let subject = at("Subject").unwrap();
    assert!(subject.starts_with("sluice: agent_id=a1") && subject.len() <= 100, "{subject}");
    let attributes: Vec<(&str, &str)> = (1..=10)
        .filter_map(|number| {
            let of = |name: &str| at(&format!("MessageAttributes.entry.{number}.{name}"));
            assert!(of("Name").is_none() || of("Value.DataType") == Some("String"));
            of("Name").zip(of("Value.StringValue"))
        })
        .collect();
    let expected = [
        ("kind", "breach"),
        ("schema", "sluice.breach/1"),
        ("severity", "critical"),
        ("budget", "daily"),
        ("agent", "a1"),
        ("team", "t"),
        ("region", "us-east-1"),
    ];
    assert_eq!(attributes, expected);
    let call = fake.calls.lock().unwrap()[0].clone();
    assert_eq!((call.host, call.region.as_str(), call.action, call.writes), ("sns", "eu-central-1", "sns:Publish", true));
}

#[test]
fn a_fifo_topic_gets_a_group_for_each_target_and_a_stable_id() {
    let fake = Fake::new(vec![]);
    let topic = sns(&fake, "breaches.fifo");
    let long = sample_crossing("f1", &format!("agent_id={}", "x y".repeat(80)));
    let plain = sample_crossing("f2", "agent_id=a");
    let held = crate::hold::Hold { target: "agent_id=a".to_owned(), ..crate::notice::tests::sample_hold() };
    let hold = HoldNotice::new(&held, HoldNews::Put, "1", Micros(5));
    let notices = [Notice::Breach(&long.breach), Notice::Breach(&plain.breach), Notice::Hold(&hold)];
    assert!(topic.tell_all(&notices).iter().chain(&topic.tell_all(&notices)).all(Result::is_ok));
    let forms = fake.forms();
    let entry = |form: usize, number: usize, name: &str| {
        field(&forms[form], &format!("PublishBatchRequestEntries.member.{number}.{name}")).unwrap().to_owned()
    };
    assert_eq!(entry(0, 1, "MessageGroupId").len(), 32);
    assert_eq!((entry(0, 2, "MessageGroupId"), entry(0, 2, "MessageDeduplicationId")), ("agent_id=a".to_owned(), "f2-breach".to_owned()));
    assert_eq!(entry(0, 3, "MessageDeduplicationId"), format!("{}-hold_put", hold.notice_id));
    assert_eq!(forms[0], forms[1], "a repetition is the same call");
}

#[test]
fn what_a_batch_refuses_is_told_of_each_message() {
    let fake = Fake::new(vec![Say::Not(vec![(1, "InternalError", false), (2, "InvalidParameter", true)])]);
    let crossings = crossings(4);
    let results = sns(&fake, "t").tell_all(&notices(&crossings));
    let classes: Vec<Option<ErrorClass>> = results.iter().map(|result| result.as_ref().err().map(ActionError::class)).collect();
    assert_eq!(classes, [None, Some(ErrorClass::Transient), Some(ErrorClass::Misconfigured), None]);
    assert!(results[2].as_ref().unwrap_err().to_string().ends_with("InvalidParameter: a < b"));
    let fake = Fake::new(vec![Say::Not(vec![(0, "ThrottlingException", false), (3, "MalformedDetail", false)])]);
    let results = bus(&fake).tell_all(&notices(&crossings));
    let classes: Vec<Option<ErrorClass>> = results.iter().map(|result| result.as_ref().err().map(ActionError::class)).collect();
    assert_eq!(classes, [Some(ErrorClass::Transient), None, None, Some(ErrorClass::Misconfigured)]);
}

#[test]
fn throttling_is_waited_out_and_then_left_to_a_later_try() {
    let crossings = crossings(2);
    let fake = Fake::new(vec![throttled(), throttled(), Say::Yes]);
    assert!(sns(&fake, "t").tell_all(&notices(&crossings)).iter().all(Result::is_ok));
    assert_eq!(fake.calls.lock().unwrap().len(), 3);
    let fake = Fake::new((0..20).map(|_| throttled()).collect());
    let results = bus(&fake).tell_all(&notices(&crossings));
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.class() == ErrorClass::Transient && !error.is_silence())));
    assert_eq!(fake.calls.lock().unwrap().len(), 5);
}

#[test]
fn silence_is_told_apart_from_refusal() {
    let crossings = crossings(2);
    let silence = || Say::No(CallError::Network { action: "x", host: "h".to_owned(), detail: "timeout".to_owned() });
    let denied = || {
        let (code, message) = ("AuthorizationError".to_owned(), "not allowed".to_owned());
        Say::No(CallError::Refused { action: "x", status: 403, code, message, request_id: String::new() })
    };
    for (say, class, silent) in [
        (silence as fn() -> Say, ErrorClass::Transient, true),
        (denied, ErrorClass::Misconfigured, false),
        (|| Say::Garbage, ErrorClass::Transient, false),
    ] {
        for receiver in [&sns(&Fake::new(vec![say()]), "t") as &dyn Receiver, &bus(&Fake::new(vec![say()]))] {
            for result in receiver.tell_all(&notices(&crossings)) {
                let error = result.unwrap_err();
                assert_eq!((error.class(), error.is_silence()), (class, silent), "{error}");
            }
        }
    }
}

#[test]
fn batches_stay_below_the_limit_of_a_call() {
    // Each message holds its JSON four times and its text twice: about 130 KB.
    let big: Vec<Crossing> =
        (0..4).map(|number| sample_crossing(&format!("f{number}"), &format!("agent_id={}", "x".repeat(20_000)))).collect();
    let fake = Fake::new(vec![]);
    assert!(sns(&fake, "t").tell_all(&notices(&big)).iter().all(Result::is_ok));
    assert_eq!(fake.forms().len(), 2);
    let fake = Fake::new(vec![]);
    assert!(bus(&fake).tell_all(&notices(&big)).iter().all(Result::is_ok));
    assert_eq!(fake.json().len(), 1);
    let huge = [crossings(1), vec![sample_crossing("h", &"y".repeat(300_000))], crossings(1)].concat();
    for receiver in [&sns(&Fake::new(vec![]), "t") as &dyn Receiver, &bus(&Fake::new(vec![]))] {
        let results = receiver.tell_all(&notices(&huge));
        assert!(results[0].is_ok() && results[2].is_ok());
        assert!(matches!(results[1], Err(ActionError::TooLarge { .. })), "{:?}", results[1]);
    }
}

#[test]
fn a_bus_gets_the_message_as_detail() {
    let fake = Fake::new(vec![]);
    let crossings = crossings(11);
    let results = bus(&fake).tell_all(&notices(&crossings));
    assert_eq!(results[3].as_ref().unwrap().detail, "event e-3");
    let calls = fake.json();
    assert_eq!((calls.len(), calls[0]["Entries"].as_array().unwrap().len()), (2, 10));
    let entry = &calls[1]["Entries"][0];
    let expected = (Some("sluice"), Some("Budget Threshold Crossed"), Some("default"), Some(120));
    let seen = (entry["Source"].as_str(), entry["DetailType"].as_str(), entry["EventBusName"].as_str(), entry["Time"].as_i64());
    assert_eq!(seen, expected);
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail["fire_id"], "f10");
    let call = fake.calls.lock().unwrap()[0].clone();
    assert_eq!(call.headers[1], ("x-amz-target", "AWSEvents.PutEvents".to_owned()));
    assert_eq!((call.host, call.action), ("events", "events:PutEvents"));
}

#[test]
fn topics_are_checked() {
    let fake = Fake::new(vec![]);
    for bad in [
        "",
        "breaches",
        "arn:aws:sns:eu-central-1:111122223333:",
        "arn:aws:sqs:eu-central-1:1:q",
        "arn:aws:sns::1:t",
        "arn:aws:sns:r:1:t:sub",
    ] {
        let settings = SnsSettings { topic: bad.to_owned(), per_second: 1 };
        assert!(Sns::new(Arc::clone(&fake) as Arc<dyn Aws>, &settings).is_err(), "{bad}");
    }
}
