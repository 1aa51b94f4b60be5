//! Slack and PagerDuty, against a server that answers as told.

use serde_json::Value;
use sluice_schemas::Micros;

use super::super::*;
use super::{OK, answer, server};
use crate::notice::{Filter, HoldNews, HoldNotice, Notice, Receiver, Severity};
use crate::store::conformance::sample_crossing;
use std::sync::Arc;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn hold(news: HoldNews) -> HoldNotice {
    HoldNotice::new(&crate::notice::tests::sample_hold(), news, "1", Micros(5_000_000))
}

#[test]
fn slack_gets_text_and_blocks_that_no_name_can_mark() {
    let (url, served) = server(vec![OK]);
    let slack = Slack::new(&url, TIMEOUT).unwrap();
    let crossing = sample_crossing("f", "agent_id=<!channel> & *x*");
    assert!(slack.tell(&Notice::Breach(&crossing.breach)).is_ok());
    let body = body(&served.join().unwrap()[0]);
    let block = body["blocks"][0]["text"]["text"].as_str().unwrap();
    assert_eq!((body["blocks"][0]["type"].as_str(), body["blocks"][0]["text"]["type"].as_str()), (Some("section"), Some("mrkdwn")));
    assert!(block.starts_with(":rotating_light: *agent\u{5f}\u{200b}id=&lt;!channel&gt; &amp; *\u{200b}x*\u{200b} spent"), "{block}");
    assert!(body["text"].as_str().unwrap().contains("&lt;!channel&gt;"), "{body}");
    assert!(!Receiver::name(&slack).contains("secret"));
}

#[test]
fn a_storm_is_one_post_that_lists_the_gravest_and_counts_the_rest() {
    let (url, served) = server(vec![OK]);
    let slack = Slack::new(&url, TIMEOUT).unwrap();
    let mut crossings: Vec<_> = (0..1000).map(|number| sample_crossing(&format!("f{number}"), &format!("agent_id=a{number}"))).collect();
    for crossing in &mut crossings[..990] {
        crossing.breach.actions = vec!["notify".to_owned()];
        crossing.breach.spent_usd = sluice_schemas::PicoUsd::from_dollars(1);
    }
    let notices: Vec<Notice<'_>> = crossings.iter().map(|crossing| Notice::Breach(&crossing.breach)).collect();
    assert_eq!(slack.tell_all(&notices).iter().filter(|result| result.is_ok()).count(), 1000);
    let body = body(&served.join().unwrap()[0]);
    let (counts, list) = (body["blocks"][0]["text"]["text"].as_str().unwrap(), body["blocks"][1]["text"]["text"].as_str().unwrap());
    assert!(counts.contains("• 10 × critical breach, daily\n• 990 × info breach, daily"), "{counts}");
    assert_eq!(list.matches(":rotating_light:").count(), 10, "{list}");
    assert!(list.contains("and 985 more") && list.chars().count() <= 3000, "{list}");
}

#[test]
fn slack_is_waited_for_when_it_asks_for_a_moment() {
    let wait = "HTTP/1.1 429 X\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (url, served) = server(vec![wait, OK]);
    assert!(Slack::new(&url, TIMEOUT).unwrap().tell(&Notice::Hold(&hold(HoldNews::Put))).is_ok());
    assert_eq!(served.join().unwrap().len(), 2);
    let later = "HTTP/1.1 429 X\r\nRetry-After: 60\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (url, served) = server(vec![later]);
    let error = Slack::new(&url, TIMEOUT).unwrap().tell(&Notice::Hold(&hold(HoldNews::Put))).unwrap_err();
    assert_eq!(error.class(), ErrorClass::Transient);
    served.join().unwrap();
    let (url, served) = server(vec![answer("403")]);
    let slack = Slack::new(&url, TIMEOUT).unwrap();
    let (one, two) = (hold(HoldNews::Put), hold(HoldNews::Verified));
    for result in slack.tell_all(&[Notice::Hold(&one), Notice::Hold(&two)]) {
        assert_eq!(result.unwrap_err().class(), ErrorClass::Misconfigured);
    }
    served.join().unwrap();
}

#[test]
fn an_incident_opens_with_the_breach_and_ends_with_the_hold() {
    let (url, served) = server(vec![OK, OK, OK]);
    let pager = PagerDuty::new(&url, "R0UT1NG", TIMEOUT).unwrap();
    assert!(!Receiver::name(&pager).contains("R0UT1NG"));
    let held = crate::notice::tests::sample_hold();
    let crossing = sample_crossing(&held.id, &held.target);
    assert!(pager.tell(&Notice::Breach(&crossing.breach)).is_ok());
    assert!(pager.tell(&Notice::Hold(&hold(HoldNews::Put))).is_ok());
    assert!(pager.tell(&Notice::Hold(&hold(HoldNews::Verified))).is_ok(), "wakes nobody");
    assert!(pager.tell(&Notice::Hold(&hold(HoldNews::Released))).is_ok());
    let bodies: Vec<Value> = served.join().unwrap().iter().map(|request| body(request)).collect();
    let actions: Vec<&str> = bodies.iter().map(|body| body["event_action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["trigger", "trigger", "resolve"]);
    for body in &bodies {
        assert_eq!((body["routing_key"].as_str(), body["dedup_key"].as_str()), (Some("R0UT1NG"), Some(held.id.as_str())));
    }
    let payload = &bodies[0]["payload"];
    assert_eq!(
        (payload["severity"].as_str(), payload["source"].as_str(), payload["class"].as_str()),
        (Some("critical"), Some("sluice"), Some("breach"))
    );
    assert_eq!(payload["timestamp"], "1970-01-01T00:02:00Z");
    assert_eq!(payload["custom_details"]["fire_id"], held.id.as_str());
}

#[test]
fn a_filter_leaves_out_but_never_the_end_of_an_incident() {
    let (url, served) = server(vec![OK]);
    let pager: Arc<dyn Receiver> = Arc::new(PagerDuty::new(&url, "k", TIMEOUT).unwrap());
    let filtered = Filtered::new(pager, Filter { least: Severity::Critical, ..Filter::default() });
    let mut quiet = sample_crossing("f", "agent_id=a");
    quiet.breach.actions = vec!["notify".to_owned()];
    quiet.breach.spent_usd = sluice_schemas::PicoUsd::from_dollars(1);
    let released = hold(HoldNews::Released);
    let results = filtered.tell_all(&[Notice::Breach(&quiet.breach), Notice::Hold(&released)]);
    assert_eq!(results[0].as_ref().unwrap().detail, "left out by its filter");
    assert_eq!(results[1].as_ref().unwrap().detail, "status 204");
    assert!(served.join().unwrap()[0].contains("resolve"));
}
