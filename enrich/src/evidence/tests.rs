//! Which session and run a call is tied to, whatever order events come in.

use std::convert::Infallible;

use proptest::prelude::*;
use sluice_schemas::time::HOUR;
use sluice_schemas::trail::AssumedSession;

use super::*;

const NAME: &str = "arn:aws:sts::111122223333:assumed-role/Shared/worker";
const RUNTIME: &str = "arn:aws:bedrock-agentcore:us-east-1:111122223333:runtime/desk-1";

fn opened(at: i64, key: &str, agent: &str) -> TrailEvent {
    TrailEvent {
        event_time: Micros(at),
        event_id: format!("{at}-{key}"),
        event_name: "AssumeRole".to_owned(),
        event_source: "sts.amazonaws.com".to_owned(),
        assumed: Some(Box::new(AssumedSession {
            access_key_id: key.to_owned(),
            assumed_role_arn: NAME.to_owned(),
            expires: Some(Micros(at + HOUR)),
            tags: vec![("agent".to_owned(), agent.to_owned())],
            ..AssumedSession::default()
        })),
        ..TrailEvent::default()
    }
}

fn called(at: i64, request: u128, key: &str) -> (u128, TrailEvent) {
    let event = TrailEvent {
        event_time: Micros(at),
        event_source: "bedrock.amazonaws.com".to_owned(),
        request_id: request.to_string(),
        access_key_id: key.to_owned(),
        ..TrailEvent::default()
    };
    (request, event)
}

fn ran(at: i64, session: &str) -> TrailEvent {
    TrailEvent {
        event_time: Micros(at),
        event_id: format!("run-{at}"),
        event_source: "bedrock-agentcore.amazonaws.com".to_owned(),
        invoked: Some(Box::new(Invoked { resource_arn: RUNTIME.to_owned(), session_id: session.to_owned(), ..Invoked::default() })),
        ..TrailEvent::default()
    }
}

/// A run of an inline agent, which calls models as whoever invokes it; its event may name no resource.
fn inline(at: i64, session: &str) -> TrailEvent {
    let mut event = ran(at, session);
    event.event_name = "InvokeInlineAgent".to_owned();
    event.event_source = "bedrock.amazonaws.com".to_owned();
    event.principal_arn = NAME.to_owned();
    event.invoked.as_mut().unwrap().resource_arn.clear();
    event
}

fn span(at: i64, request: u128, session: &str) -> (u128, TrailEvent) {
    let event = TrailEvent {
        event_time: Micros(at),
        event_source: SPAN_SOURCE.to_owned(),
        request_id: request.to_string(),
        invoked: Some(Box::new(Invoked { session_id: session.to_owned(), ..Invoked::default() })),
        ..TrailEvent::default()
    };
    (request, event)
}

fn ask(evidence: &mut Evidence, request: u128, at: i64, stored: &[(u128, TrailEvent)]) -> CallEvidence {
    let resources = [RUNTIME.to_owned()];
    let call = CallKey { request, principal_arn: NAME, at: Micros(at), resources: &resources };
    let mut load = |wanted: Wanted| {
        let of_hour = stored.iter().filter(|(_, event)| event.event_time.hour() == wanted.hour);
        Ok::<_, Infallible>(of_hour.cloned().collect())
    };
    evidence.turn();
    evidence.of_call(&call, &mut load).unwrap_or_default()
}

fn agent(found: &CallEvidence) -> Option<(&str, Tie)> {
    found.session.as_ref().map(|(session, tie)| (session.tags[0].1.as_str(), *tie))
}

#[test]
fn a_session_is_known_by_name_until_another_of_that_name_says_otherwise() {
    let mut evidence = Evidence::new(1 << 20);
    evidence.add(&opened(100 * HOUR, "ASIA1", "red"), 0);
    assert_eq!(agent(&ask(&mut evidence, 1, 100 * HOUR + 60 * SECOND, &[])), Some(("red", Tie::SessionName)));
    evidence.add(&opened(100 * HOUR + 30 * SECOND, "ASIA2", "blue"), 0);
    assert_eq!(agent(&ask(&mut evidence, 1, 100 * HOUR + 60 * SECOND, &[])), None, "two agents share the name");
    let (request, event) = called(100 * HOUR + 61 * SECOND, 1, "ASIA1");
    assert_eq!(evidence.add(&event, request), Some(Touched::Request(1, event.event_time)));
    assert_eq!(agent(&ask(&mut evidence, 1, 100 * HOUR + 60 * SECOND, &[])), Some(("red", Tie::AccessKey)));
    let (request, event) = called(100 * HOUR + 61 * SECOND, 2, "ASIA9");
    evidence.add(&event, request);
    assert_eq!(agent(&ask(&mut evidence, 2, 100 * HOUR + 60 * SECOND, &[])), None, "a key that nobody was seen to be given");
}

#[test]
fn what_is_known_of_an_earlier_call_is_told_to_hold_only_where_it_does() {
    let start = 100 * HOUR;
    // One key is given twice within its first session's life; its second session comes to be known last.
    let openings =
        [opened(start, "ASIA1", "red"), opened(start + 600 * SECOND, "ASIA2", "blue"), opened(start + 900 * SECOND, "ASIA1", "green")];
    let mut evidence = Evidence::new(1 << 20);
    evidence.add(&span(start, 7, "run").1, 7);
    // A run of the caller itself is near some calls, a run of its runtime near others.
    evidence.add(&ran(start + 3_000 * SECOND, "of-runtime"), 0);
    evidence.add(&inline(start + 1_200 * SECOND, "inline"), 0);
    let calls: Vec<(u128, i64)> = (0..14).map(|number| (number, start - SKEW - 1 + 320 * SECOND * number as i64)).collect();
    for (request, at) in calls.iter().filter(|(request, _)| request % 3 < 2) {
        let (request, event) = called(*at, *request, if request % 3 == 0 { "ASIA1" } else { "ASIA2" });
        evidence.add(&event, request);
    }
    let mut held = 0;
    for event in openings {
        evidence.add(&event, 0);
        for with in [&[][..], &[RUNTIME.to_owned()][..]] {
            let mut load = |_: Wanted| Ok::<_, Infallible>(Vec::new());
            let known: Vec<(CallKey<'_>, CallEvidence)> = (calls.iter())
                .map(|(request, at)| CallKey { request: *request, principal_arn: NAME, at: Micros(*at), resources: with })
                .map(|call| (call, evidence.of_call(&call, &mut load).unwrap_or_default()))
                .collect();
            for (call, expected) in &known {
                for (_, like) in &known {
                    let by_request = evidence.by_requests(&[(call.at, call.request)], &mut load).unwrap_or_default()[0];
                    match evidence.of_call_unless(call, &by_request, Some(like)) {
                        Some(found) => assert_eq!(&found, expected),
                        None => {
                            assert_eq!(like.addresses(), expected.addresses(), "{call:?}");
                            held += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(held > 4, "{held}");
}

#[test]
fn an_expired_session_names_nobody_by_its_name() {
    let mut evidence = Evidence::new(1 << 20);
    evidence.add(&opened(100 * HOUR, "ASIA1", "red"), 0);
    assert_eq!(agent(&ask(&mut evidence, 1, 101 * HOUR - 1, &[])), Some(("red", Tie::SessionName)));
    assert_eq!(agent(&ask(&mut evidence, 1, 101 * HOUR, &[])), None);
    assert_eq!(agent(&ask(&mut evidence, 1, 100 * HOUR - SKEW - 1, &[])), None, "not opened yet");
}

#[test]
fn what_is_forgotten_is_loaded_again() {
    let mut evidence = Evidence::new(0);
    let (request, event) = called(100 * HOUR, 1, "ASIA1");
    let stored = vec![(0, opened(99 * HOUR + HOUR / 2, "ASIA1", "red")), (request, event.clone())];
    evidence.turn();
    evidence.add(&stored[0].1, 0);
    evidence.add(&event, request);
    evidence.evict();
    assert!(!evidence.is_empty(), "not stored yet: must stay");
    evidence.committed(1);
    evidence.turn();
    evidence.evict();
    assert!(evidence.is_empty());
    assert_eq!(agent(&ask(&mut evidence, 1, 100 * HOUR, &stored)), Some(("red", Tie::AccessKey)));
    assert_eq!(agent(&ask(&mut evidence, 1, 100 * HOUR, &[])), Some(("red", Tie::AccessKey)), "in memory until it is forgotten");
}

#[test]
fn a_run_is_known_by_role_and_time_only_where_it_was_alone() {
    let mut evidence = Evidence::new(1 << 20);
    evidence.add(&ran(100 * HOUR, "one"), 0);
    let run = |found: CallEvidence| found.run.map(|(run, tie)| (run.session_id.clone(), tie));
    assert_eq!(run(ask(&mut evidence, 1, 100 * HOUR + MINUTE, &[])), Some(("one".to_owned(), Tie::RoleAndTime)));
    evidence.add(&ran(100 * HOUR + 2 * SECOND, "two"), 0);
    assert_eq!(run(ask(&mut evidence, 1, 100 * HOUR + MINUTE, &[])), None);
    let (request, event) = span(100 * HOUR + MINUTE, 1, "three");
    evidence.add(&event, request);
    assert_eq!(run(ask(&mut evidence, 1, 100 * HOUR + MINUTE, &[])), Some(("three".to_owned(), Tie::Request)));
}

proptest! {
    #[test]
    fn many_at_once_are_known_as_one_by_one_is(
        told in prop::collection::vec((0..240_i64, 0..12_u128, 0..3_usize), 0..40),
        asked in prop::collection::vec((0..240_i64, 0..12_u128), 0..40),
    ) {
        let (mut one_by_one, mut at_once) = (Evidence::new(1 << 20), Evidence::new(1 << 20));
        let (mut gathered, mut alike) = (Gathered::of(told.len()), [Alike::default(); 3]);
        for (minute, request, key) in told {
            let (request, event) = called(100 * HOUR + minute * MINUTE, request, ["ASIA1", "ASIA2", "ASIA3"][key]);
            let touched = one_by_one.add(&event, request);
            let known = gathered.put(event.event_time, request, &alike[key]);
            prop_assert_eq!(known.or_else(|| at_once.add_alike(&event, request, &mut alike[key])), touched);
        }
        at_once.add_gathered(&gathered);
        let load = &mut |_: Wanted| Ok::<_, Infallible>(Vec::new());
        let asked: Vec<(Micros, u128)> = asked.into_iter().map(|(minute, request)| (Micros(100 * HOUR + minute * MINUTE), request)).collect();
        let found = at_once.by_requests(&asked, load).unwrap_or_default();
        prop_assert_eq!(found.len(), asked.len());
        for ((at, request), found) in asked.into_iter().zip(found) {
            let call = CallKey { request, principal_arn: NAME, at, resources: &[] };
            prop_assert_eq!(at_once.of_call_unless(&call, &found, None), one_by_one.of_call(&call, load).ok());
        }
    }

    #[test]
    fn the_order_of_events_does_not_matter(order in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle(), split in 0..9_usize, bytes in 0..4_000_usize) {
        let at = 100 * HOUR;
        let events = [
            (0, opened(at - 50 * MINUTE, "ASIA1", "red")),
            (0, opened(at - 2 * SECOND, "ASIA2", "blue")),
            called(at + SECOND, 1, "ASIA1"),
            called(at + 2 * SECOND, 1, "ASIA2"),
            called(at + 3 * SECOND, 2, "ASIA2"),
            span(at - MINUTE, 2, "s2"),
            span(at + MINUTE, 2, "s1"),
            (0, ran(at, "r")),
            (0, ran(at + SECOND, "r")),
        ];
        let expected: Vec<CallEvidence> = {
            let mut evidence = Evidence::new(1 << 20);
            events.iter().for_each(|(key, event)| drop(evidence.add(event, *key)));
            (1..4).map(|request| ask(&mut evidence, request, at, &[])).collect()
        };
        // Some are stored already, the others come in whatever order, some of them twice.
        let stored: Vec<_> = order[..split].iter().map(|place| events[*place].clone()).collect();
        let mut evidence = Evidence::new(bytes);
        for place in &order[split..] {
            evidence.turn();
            evidence.add(&events[*place].1, events[*place].0);
            ask(&mut evidence, 3, at, &stored);
            evidence.add(&events[*place].1, events[*place].0);
            evidence.evict();
        }
        let found: Vec<CallEvidence> = (1..4).map(|request| ask(&mut evidence, request, at, &stored)).collect();
        prop_assert_eq!(found, expected);
    }
}

/// AWS gives an access key once; events that say otherwise are each believed for their own time, in whatever order they came.
#[test]
fn a_key_that_two_events_name_is_of_the_session_that_lived_then() {
    let (first, second) = (opened(0, "ASIA1", "red"), opened(2 * HOUR, "ASIA1", "blue"));
    for order in [[&first, &second], [&second, &first]] {
        let mut evidence = Evidence::new(1 << 20);
        for event in order {
            evidence.add(event, 1);
        }
        let mut agent = |at: i64| {
            let call = called(at, 7, "ASIA1");
            let found = ask(&mut evidence, 7, at, &[call, (1, first.clone()), (1, second.clone())]);
            found.session.map(|(session, tie)| (session.tags[0].1.clone(), tie))
        };
        assert_eq!(agent(HOUR / 2), Some(("red".to_owned(), Tie::AccessKey)));
        assert_eq!(agent(2 * HOUR + HOUR / 2), Some(("blue".to_owned(), Tie::AccessKey)));
    }
}

#[test]
fn a_run_of_an_inline_agent_is_its_callers() {
    let mut evidence = Evidence::new(1 << 20);
    let mut event = inline(100 * HOUR, "inline-1");
    let touched = evidence.add(&event, 0);
    assert_eq!(touched, Some(Touched::Session(NAME.to_owned(), Micros(100 * HOUR).plus(-SKEW), Micros(100 * HOUR).plus(REACH))));
    let found = ask(&mut evidence, 1, 100 * HOUR + MINUTE, &[]);
    assert_eq!(found.run.map(|(run, tie)| (run.session_id.clone(), tie)), Some(("inline-1".to_owned(), Tie::RoleAndTime)));
    event.principal_arn.clear();
    event.event_id.push('x');
    assert_eq!(evidence.add(&event, 0), None, "nobody's");
}
