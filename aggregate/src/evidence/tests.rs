//! Rows of evidence against the events they were.

use sluice_schemas::time::HOUR;
use sluice_schemas::trail::{AssumedSession, Invoked, SPAN_SOURCE, TrailEvent};
use sluice_schemas::{Clock, Micros, tables};

use super::*;
use crate::lake::Lake;

struct At(Micros);

impl Clock for At {
    fn now(&self) -> Micros {
        self.0
    }
}

fn event(number: u32, at: Micros) -> TrailEvent {
    TrailEvent {
        event_time: at,
        event_id: format!("{number:08x}-0000-4000-8000-000000000000"),
        request_id: if number.is_multiple_of(3) { String::new() } else { format!("{number:08x}-0000-4000-8000-0000000000ff") },
        event_source: if number.is_multiple_of(5) { SPAN_SOURCE.to_owned() } else { "bedrock.amazonaws.com".to_owned() },
        event_name: "Converse".to_owned(),
        account_id: "111122223333".to_owned(),
        region: "us-east-1".to_owned(),
        access_key_id: format!("ASIA{}", number % 4),
        user_agent: "aws-cli/2".to_owned(),
        invoked_by: "lambda.amazonaws.com".to_owned(),
        bearer_token: number.is_multiple_of(2),
        model_id: "amazon.nova-lite-v1:0".to_owned(),
        inference_region: "us-east-2".to_owned(),
        input_tokens: (number.is_multiple_of(2)).then_some(u64::from(number)),
        output_tokens: Some(0),
        resources: if number.is_multiple_of(2) { vec!["arn:aws:bedrock:::x".to_owned()] } else { Vec::new() },
        assumed: (number.is_multiple_of(7))
            .then(|| Box::new(AssumedSession { expires: Some(at), tags: vec![("a".into(), "b".into())], ..AssumedSession::default() })),
        invoked: (number.is_multiple_of(5)).then(|| Box::new(Invoked { session_id: "s".to_owned(), ..Invoked::default() })),
        ..TrailEvent::default()
    }
}

#[test]
fn rows_read_back_as_the_events_they_were() {
    let events: Vec<TrailEvent> = (0..40).map(|number| event(number, Micros(1_790_000_000_000_000))).collect();
    let keep: Vec<bool> = (0..40).map(|number| number != 11).collect();
    let mut read = Vec::new();
    for (_, rows) in evidence_rows(&events, &Kinds::of(&events), &keep, "kinesis:s/0", Micros(5)) {
        super::events(&rows, |_, _| true, |event| read.push(event)).unwrap();
    }
    let expected: Vec<TrailEvent> = events.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(event, _)| event).collect();
    assert_eq!(read, expected);
}

#[test]
fn an_hour_of_the_lake_gives_its_events_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let start = Micros(496_000 * HOUR);
    let clock = At(start);
    let mut lake = Lake::open_writer(folder.path(), &clock).unwrap();
    let events: Vec<TrailEvent> = (0..60_u32).map(|number| event(number, start.plus(i64::from(number) * HOUR / 10))).collect();
    let mut epoch = lake.begin_epoch();
    for (day, rows) in evidence_rows(&events, &Kinds::of(&events), &[true; 60], "s", start.plus(7)) {
        epoch.append(tables::EVIDENCE, day, rows).unwrap();
    }
    let sealed = epoch.seal().unwrap();
    lake.commit(sealed, Default::default(), start, start).unwrap();
    let of = |hour, openings| events_of_hour(&lake, Hour { hour, openings }).unwrap();
    let second = of(496_001, false);
    assert_eq!(second.iter().map(|(_, event)| event.clone()).collect::<Vec<_>>(), events[10..20]);
    assert_eq!(second[1].0, crate::dedup::stored_key("111122223333", "us-east-1", &events[11].request_id));
    let openings: Vec<TrailEvent> = of(496_001, true).into_iter().map(|(_, event)| event).collect();
    assert_eq!(openings, vec![events[14].clone()], "a span opens nothing");
    assert_eq!(event_keys_of_hour(&lake, 496_002).unwrap(), (20..30).map(|at| event_key(&events[at].event_id)).collect::<Vec<_>>());
    let since = |moment, from| {
        let mut found = Vec::new();
        for_each_event_since(&lake, moment, from, |events| found.extend(events)).unwrap();
        found
    };
    assert_eq!(since(start.plus(6), Micros(0)).len(), 60);
    assert!(since(start.plus(7), Micros(0)).is_empty());
}
