//! Application inference profiles: models and tags, and all that can go wrong with a question.

use serde_json::{Value, json};
use sluice_ingest::directory::{LookError, Wanted};
use sluice_schemas::ErrorClass;
use sluice_schemas::directory::{Entry, EntryKind};

use super::fake::{Answer, Asked, Fake, NOW, asker};

const ARN: &str = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6";

fn wanted() -> Wanted {
    Wanted::of_model(ARN).unwrap()
}

fn profile() -> Value {
    json!({
        "inferenceProfileName": "search", "description": "of the search team", "createdAt": "2026-10-01T00:00:00Z", "updatedAt": "2026-10-01T00:00:00Z",
        "inferenceProfileArn": ARN, "inferenceProfileId": "a1b2c3d4e5f6", "status": "ACTIVE", "type": "APPLICATION",
        "models": [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"}, {"modelArn": "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0"}],
    })
}

fn good(asked: &Asked) -> Answer {
    match asked.line.as_str() {
        "GET /inference-profiles/a1b2c3d4e5f6" => Answer::ok(profile()),
        "POST /listTagsForResource" => {
            assert_eq!(asked.body, json!({ "resourceARN": ARN }).to_string());
            Answer::ok(json!({"tags": [{"key": "team", "value": "search"}, {"key": "agent", "value": "triage"}]}))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn models_and_tags() {
    let fake = Fake::start(|asked, _| good(asked));
    let entry = asker(&fake, &[]).look_up(&wanted(), None).unwrap();
    assert_eq!((entry.kind, entry.arn.as_str(), entry.name.as_str(), entry.seen_at), (EntryKind::InferenceProfile, ARN, "search", NOW));
    assert_eq!(entry.models.len(), 2);
    assert_eq!(entry.tags, [("agent".to_owned(), "triage".to_owned()), ("team".to_owned(), "search".to_owned())]);
    let asked = fake.asked.lock().unwrap();
    assert!(asked[1].authorization.contains("/us-east-1/bedrock/aws4_request"), "{}", asked[1].authorization);
}

#[test]
fn throttling_and_trouble_pass() {
    let fake = Fake::start(|asked, before| match before {
        0 => Answer::refused(429, "ThrottlingException"),
        1 => Answer::refused(500, "InternalServerException:http://internal.amazon.com/"),
        _ => good(asked),
    });
    assert_eq!(asker(&fake, &[]).look_up(&wanted(), None).unwrap().name, "search");
    assert_eq!(fake.lines().len(), 4);
}

#[test]
fn trouble_that_stays_is_told() {
    let fake = Fake::start(|_, _| Answer::refused(429, "ThrottlingException"));
    let error = asker(&fake, &[]).look_up(&wanted(), None).unwrap_err();
    assert_eq!((error.class(), error.denied()), (ErrorClass::Transient, None));
    assert_eq!(error.to_string(), "bedrock:GetInferenceProfile in account 111122223333: ThrottlingException: ThrottlingException it is");
    assert_eq!(fake.lines().len(), 5);
}

#[test]
fn a_missing_permission_is_named_and_asked_once() {
    let fake = Fake::start(|_, _| Answer::refused(403, "AccessDeniedException"));
    let error = asker(&fake, &[]).look_up(&wanted(), None).unwrap_err();
    assert_eq!(error.denied(), Some(("bedrock:GetInferenceProfile", "111122223333")));
    assert_eq!(fake.lines().len(), 1);
}

#[test]
fn tags_that_may_not_be_read_stay_as_they_were() {
    let fake =
        Fake::start(|asked, _| if asked.line.starts_with("POST") { Answer::refused(403, "AccessDeniedException") } else { good(asked) });
    let known = Entry { tags: vec![("team".to_owned(), "search".to_owned())], ..Entry::default() };
    let mut somebody = asker(&fake, &[]);
    let entry = somebody.look_up(&wanted(), Some(&known)).unwrap();
    assert_eq!((entry.name.as_str(), entry.tags), ("search", known.tags));
    assert_eq!(somebody.take_denied().into_iter().collect::<Vec<_>>(), [("bedrock:ListTagsForResource", "111122223333".to_owned())]);
    assert!(somebody.take_denied().is_empty());
}

#[test]
fn what_is_deleted_keeps_its_last_words() {
    let fake = Fake::start(|_, _| Answer::refused(404, "ResourceNotFoundException"));
    let known = Entry { name: "search".to_owned(), arn: ARN.to_owned(), models: vec!["m".to_owned()], ..Entry::default() };
    let entry = asker(&fake, &[]).look_up(&wanted(), Some(&known)).unwrap();
    assert_eq!(entry, Entry { deleted: true, seen_at: NOW, ..known });
    let entry = asker(&fake, &[]).look_up(&wanted(), None).unwrap();
    assert_eq!((entry.deleted, entry.arn.as_str(), entry.kind), (true, ARN, EntryKind::InferenceProfile));
}

#[test]
fn answers_that_are_none() {
    for body in ["", "<html>", "[1"] {
        let fake = Fake::start(move |_, _| Answer::ok(body));
        let error = asker(&fake, &[]).look_up(&wanted(), None).unwrap_err();
        assert!(matches!(error, LookError::Answer { .. }), "{error}");
        assert_eq!(error.class(), ErrorClass::Transient);
    }
}

#[test]
fn another_account_is_not_asked_without_a_role() {
    let fake = Fake::start(|asked, _| panic!("{asked:?}"));
    let other = Wanted::of_model(&ARN.replace("111122223333", "999999999999")).unwrap();
    let error = asker(&fake, &[]).look_up(&other, None).unwrap_err();
    assert_eq!(error.to_string(), "nothing is asked about account 999999999999: name a role for it in [directory.roles]");
    assert!(fake.lines().is_empty());
}
