//! The call is the same in each repetition, and needs a session id that can be one.

use super::*;
use crate::lever::json::tests::{Fake, order, refused};

fn session(qualifier: &str, session: &str) -> Subject {
    let runtime = "arn:aws:bedrock-agentcore:us-west-2:111122223333:runtime/triage-AbC123".to_owned();
    Subject::RuntimeSession { runtime, qualifier: qualifier.to_owned(), session: session.to_owned() }
}

const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

#[test]
fn the_session_is_named_as_the_service_wants_it() {
    let aws = Fake::new((), |(), _, _| Ok(json!({})));
    let (subject, holds) = (session("prod 1", ID), ["h".to_owned()]);
    StopSession.pull(&aws, &order(&subject, &holds)).unwrap();
    StopSession.pull(&aws, &Order { now: sluice_schemas::Micros(77), ..order(&subject, &holds) }).unwrap();
    let calls = aws.calls();
    assert_eq!(calls[0], calls[1], "a repetition is the same call");
    let path = "/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A111122223333%3Aruntime%2Ftriage-AbC123/stopruntimesession?qualifier=prod%201";
    assert_eq!((calls[0].path.as_str(), calls[0].region.as_str(), calls[0].method), (path, "us-west-2", Method::Post));
    assert_eq!(calls[0].headers[1], (SESSION_HEADER, ID.to_owned()));
    let Body::Json(body) = &calls[0].body else { panic!("no body") };
    let token = serde_json::from_str::<Value>(body).unwrap()["clientToken"].as_str().unwrap().to_owned();
    assert!((33..=256).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{token}");
    let later = Order { since: sluice_schemas::Micros(6), ..order(&subject, &holds) };
    StopSession.pull(&aws, &later).unwrap();
    assert_ne!(aws.calls()[2].body, calls[0].body, "another order is another stop");
    aws.check_grants(&StopSession);
}

#[test]
fn it_says_that_it_holds_nobody_and_a_session_that_is_over_is_no_failure() {
    let aws = Fake::new((), |(), call, _| Err(refused(call, 404, "ResourceNotFoundException")));
    let (subject, holds) = (session("", ID), ["h".to_owned()]);
    let seen = StopSession.look(&aws, &order(&subject, &holds)).unwrap();
    assert!(!seen.stands && seen.ineffective.unwrap().contains("denies"));
    assert_eq!(StopSession.about().undo, Undo::Nothing);
    assert!(StopSession.pull(&aws, &order(&subject, &holds)).unwrap().requests.is_empty());
    assert!(!aws.calls()[0].path.contains('?'));
    assert!(StopSession.lift(&aws, &order(&subject, &holds), &Value::Null).is_ok());
}

#[test]
fn what_cannot_be_a_session_is_refused() {
    for id in ["main", &"x".repeat(32), &"x".repeat(257), &format!("{ID}\r\nx: y")] {
        assert!(matches!(StopSession.fits(&session("", id)), Err(LeverError::Unfit { .. })), "{id}");
    }
    let memory = Subject::RuntimeSession {
        runtime: "arn:aws:bedrock-agentcore:us-west-2:111122223333:memory/m".to_owned(),
        qualifier: String::new(),
        session: ID.to_owned(),
    };
    assert!(StopSession.fits(&memory).is_err());
}
