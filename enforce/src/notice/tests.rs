//! Messages say the same to people and machines, and forge nothing.

use serde_json::Value;

use super::*;
use crate::budget::Mode;
use crate::fire::tests::follows;
use crate::hold::{Cause, Hold, HoldState, Released};
use crate::lever::{LeverKind, Subject};
use crate::store::conformance::sample_crossing;

pub(crate) fn sample_hold() -> Hold {
    Hold {
        id: "00112233445566778899aabbccddeeff".to_owned(),
        target: "agent_id=a,team=t".to_owned(),
        cause: Cause::Breach {
            fire_id: "00112233445566778899aabbccddeeff".to_owned(),
            budget: "daily".to_owned(),
            period: "2026-10-01".to_owned(),
            threshold: "100%".to_owned(),
        },
        until: Some(Micros(86_400_000_000)),
        mode: crate::budget::Mode::Enforce,
        state: HoldState::Active,
        created_at: Micros(5),
        approved_by: None,
        released: None,
        revision: 1,
        scope: crate::guard::Scope::default(),
        burn: sluice_schemas::PicoUsd::ZERO,
        note: None,
        approve_by: None,
    }
}

const NEWS: [HoldNews; 7] = [
    HoldNews::AwaitingApproval,
    HoldNews::Put,
    HoldNews::Verified,
    HoldNews::Degraded,
    HoldNews::Ineffective,
    HoldNews::ManualDetach,
    HoldNews::Released,
];

#[test]
fn severity_follows_the_limit() {
    let mut breach = sample_crossing("f", "agent_id=a").breach;
    assert_eq!(Notice::Breach(&breach).severity(), Severity::Critical);
    breach.spent_usd = PicoUsd::from_dollars(20);
    assert_eq!(Notice::Breach(&breach).severity(), Severity::Critical, "a hold follows");
    breach.actions = vec!["notify".to_owned()];
    assert_eq!(Notice::Breach(&breach).severity(), Severity::Info);
    breach.projected_usd = Some(PicoUsd::from_dollars(25));
    assert_eq!(Notice::Breach(&breach).severity(), Severity::Warning);
    (breach.projected_usd, breach.note) = (None, Some("hold not put: x".to_owned()));
    assert_eq!(Notice::Breach(&breach).severity(), Severity::Warning);
}

#[test]
fn ids_are_the_same_in_each_repetition_and_differ_else() {
    let hold = sample_hold();
    let id = |news, occasion| HoldNotice::new(&hold, news, occasion, Micros(9)).notice_id;
    assert_eq!(id(HoldNews::Put, "1"), HoldNotice::new(&hold, HoldNews::Put, "1", Micros(77)).notice_id);
    assert_ne!(id(HoldNews::Put, "1"), id(HoldNews::Put, "2"));
    assert_ne!(id(HoldNews::Put, "1"), id(HoldNews::Released, "1"));
}

#[test]
fn machines_read_what_was_said() {
    for news in NEWS {
        let notice = HoldNotice::new(&sample_hold(), news, "1", Micros(9))
            .by(LeverKind::DenyPolicy, &Subject::Role { arn: "arn:aws:iam::111122223333:role/a".to_owned() })
            .because("sluice", "why");
        let json = Notice::Hold(&notice).json().unwrap();
        assert!(json.starts_with("{\"schema\":\"sluice.hold/1\""), "{json}");
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["severity"], Notice::Hold(&notice).severity().as_str());
        assert_eq!(value["state"], news.as_str());
        assert_eq!(follows(HOLD_JSON_SCHEMA, &value), Ok(()), "{json}");
        assert_eq!(Notice::Hold(&notice).kind(), format!("hold_{}", news.as_str()));
        assert_eq!(serde_json::from_value::<HoldNotice>(value).unwrap(), notice);
    }
}

#[test]
fn a_question_says_why_until_when_and_how_to_answer_it() {
    let waiting = Hold {
        state: HoldState::PendingApproval,
        note: Some("the most holds within a minute are reached".to_owned()),
        approve_by: Some(Micros(86_400_000_000)),
        ..sample_hold()
    };
    let commands = || ["sluice approve 00".to_owned(), "sluice hold release 00".to_owned()];
    let told = |hold: &Hold, now| Word::of(hold).map(|word| HoldNotice::of_word(hold, word, commands(), Micros(now)));
    let question = told(&waiting, 7).unwrap();
    assert_eq!((question.state, question.approve_by), (HoldNews::AwaitingApproval, waiting.approve_by));
    assert_eq!(told(&waiting, 900).unwrap().notice_id, question.notice_id, "asked by another process at another time");
    let later = Hold { approve_by: Some(Micros(99_000_000_000)), ..waiting.clone() };
    assert_ne!(told(&later, 7).unwrap().notice_id, question.notice_id, "asked anew");
    for mode in [Mode::Approve, Mode::Enforce] {
        let asked = Hold { mode, ..waiting.clone() };
        let json: Value = serde_json::from_str(&Notice::Hold(&told(&asked, 7).unwrap()).json().unwrap()).unwrap();
        assert_eq!(follows(HOLD_JSON_SCHEMA, &json), Ok(()), "{json}");
        assert_eq!((json["severity"].as_str(), json["approve"].as_str()), (Some("warning"), Some("sluice approve 00")));
    }
    let text = Notice::Hold(&question).text();
    for line in [
        "budget 'daily' at 100% in 2026-10-01; it waits for a person: the most holds within a minute are reached",
        "To stop it: sluice approve 00",
        "To let it go on: sluice hold release 00",
        "Without a word it goes on, and the question ends at 1970-01-02T00:00:00Z.",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn who_is_asked_and_who_hears_the_end_of_it() {
    let waiting = Hold { state: HoldState::PendingApproval, approve_by: Some(Micros(99)), ..sample_hold() };
    let released = |actor: &str, reason: &str, at| {
        let released = Some(Released { at: Micros(at), actor: actor.to_owned(), reason: reason.to_owned() });
        Hold { state: HoldState::Released, released, ..waiting.clone() }
    };
    assert_eq!(Word::of(&waiting), Some(Word::Awaited(Some(Micros(99)))));
    assert_eq!(Word::of(&Hold { mode: Mode::Observe, ..waiting.clone() }), None, "nothing would come of an answer");
    assert_eq!(Word::of(&sample_hold()), None);
    assert_eq!(Word::of(&released("sluice", "exempted", sample_hold().created_at.0)), None, "spared from the start");
    assert_eq!(Word::of(&Hold { approved_by: Some("ann".to_owned()), ..released("ann", "enough", 50) }), None, "it was in force");
    for (hold, actor, reason) in [
        (released("ann", "let it run", 50), "ann", "rejected, nobody was stopped: let it run"),
        (released("sluice", "nobody approved it in time", 99), "sluice", "ended without having stopped anyone: nobody approved it in time"),
    ] {
        let word = Word::of(&hold).unwrap();
        let notice = HoldNotice::of_word(&hold, word, [String::new(), String::new()], Micros(1_000));
        assert_eq!((notice.state, notice.actor.as_str(), notice.reason.as_str()), (HoldNews::Released, actor, reason));
        assert!(Notice::Hold(&notice).resolves() && notice.approve.is_none());
        let json: Value = serde_json::from_str(&Notice::Hold(&notice).json().unwrap()).unwrap();
        assert_eq!(follows(HOLD_JSON_SCHEMA, &json), Ok(()), "{json}");
    }
}

#[test]
fn people_read_lines_that_no_name_can_forge() {
    let crossing = sample_crossing("f", "agent_id=a\nFire id g is released");
    let text = Notice::Breach(&crossing.breach).text();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("agent_id=a\\nFire id g is released spent $26.00 of $25.00 (100% of budget daily, 2026-10-01)"), "{text}");
    assert!(text.contains("A hold follows (mode enforce)."), "{text}");
    let hold = HoldNotice::new(&sample_hold(), HoldNews::Degraded, "1", Micros(9)).because("eve\u{202e}", "no\nlever");
    let text = Notice::Hold(&hold).text();
    assert!(text.starts_with("Flagged only, not stopped: agent_id=a,team=t\n") && text.contains("no\\nlever"), "{text}");
    assert!(!text.contains('\u{202e}'), "{text}");
}

#[test]
fn filters_ask_for_severity_agent_and_team() {
    let (crossing, hold) =
        (sample_crossing("f", "agent_id=ci-7,team=t"), HoldNotice::new(&sample_hold(), HoldNews::Released, "1", Micros(9)));
    let (breach, released) = (Notice::Breach(&crossing.breach), Notice::Hold(&hold));
    let patterns = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let filter = |least, agents: &[&str], teams: &[&str]| Filter { least, agents: patterns(agents), teams: patterns(teams) };
    assert!(Filter::default().wants(&breach) && Filter::default().wants(&released));
    assert!(filter(Severity::Critical, &["ci-*"], &["t"]).wants(&breach));
    assert!(!filter(Severity::Warning, &[], &[]).wants(&released));
    assert!(!filter(Severity::Info, &["ci"], &[]).wants(&breach) && !filter(Severity::Info, &[], &["u"]).wants(&breach));
    let whole = sample_crossing("f", "*");
    assert!(!filter(Severity::Info, &["*"], &[]).wants(&Notice::Breach(&whole.breach)), "it has no agent");
}

#[test]
fn messages_follow_the_published_schemas() {
    let fire_id = "00112233445566778899aabbccddeeff";
    for actions in [&["notify"][..], &["notify", "hold"]] {
        let mut crossing = sample_crossing(fire_id, "agent_id=a");
        crossing.breach.actions = actions.iter().map(|word| (*word).to_owned()).collect();
        let json: Value = serde_json::from_str(&Notice::Breach(&crossing.breach).json().unwrap()).unwrap();
        assert_eq!(follows(sluice_schemas::breach::BREACH_JSON_SCHEMA, &json), Ok(()));
    }
    let manual = Hold { cause: Cause::Manual { actor: "eve".to_owned(), note: String::new() }, until: None, ..sample_hold() };
    for lever in LeverKind::ALL {
        let subject = Subject::Target { target: "agent_id=a".to_owned() };
        let notice = HoldNotice::new(&manual, HoldNews::Put, "1", Micros(9)).by(lever, &subject);
        let mut json: Value = serde_json::from_str(&Notice::Hold(&notice).json().unwrap()).unwrap();
        assert_eq!(follows(HOLD_JSON_SCHEMA, &json), Ok(()), "{json}");
        json["state"] = "gone".into();
        assert!(follows(HOLD_JSON_SCHEMA, &json).is_err());
    }
}
