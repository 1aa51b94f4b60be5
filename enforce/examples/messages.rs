//! Prints one message of each kind, as receivers get it, one a line: what `tests/peers/read_messages.py` holds against the published schemas.

#![expect(clippy::print_stdout, clippy::expect_used, reason = "it prints and has nobody to report an error to")]

use sluice_enforce::Mode;
use sluice_enforce::hold::{Cause, Hold, HoldState};
use sluice_enforce::lever::{LeverKind, Subject};
use sluice_enforce::notice::{BreakerNotice, HoldNews, HoldNotice, Notice, Word};
use sluice_enforce::reconcile::breaker::{Closed, Tripped};
use sluice_enforce::store::conformance::sample_crossing;
use sluice_schemas::{Micros, PicoUsd};

const ID: &str = "00112233445566778899aabbccddeeff";

fn hold(cause: Cause) -> Hold {
    Hold {
        id: ID.to_owned(),
        target: "agent_id=checkout-bot,team=\u{1f980}".to_owned(),
        cause,
        until: Some(Micros(1_790_899_200_500_000)),
        mode: Mode::Enforce,
        state: HoldState::Active,
        created_at: Micros(1_790_812_800_000_000),
        approved_by: None,
        released: None,
        revision: 1,
        scope: sluice_enforce::guard::Scope::default(),
        burn: sluice_schemas::PicoUsd::ZERO,
        note: None,
        approve_by: None,
    }
}

fn main() {
    let tell = |notice: Notice<'_>| println!("{}", notice.json().expect("JSON"));
    let mut breach = sample_crossing(ID, "agent_id=a%2Cb").breach;
    tell(Notice::Breach(&breach));
    (breach.projected_usd, breach.projection) = (Some(PicoUsd(123)), Some("linear".to_owned()));
    breach.actions = vec!["notify".to_owned()];
    breach.spent_usd = PicoUsd(1);
    tell(Notice::Breach(&breach));
    breach.note = Some("hold not put: the target is protected".to_owned());
    (breach.period_end, breach.projected_usd, breach.projection) = (None, None, None);
    tell(Notice::Breach(&breach));
    let (fire_id, budget) = (ID.to_owned(), "daily".to_owned());
    let of_breach = hold(Cause::Breach { fire_id, budget, period: "2026-10-01".to_owned(), threshold: "100%".to_owned() });
    let of_person = Hold { until: None, ..hold(Cause::Manual { actor: "eve".to_owned(), note: String::new() }) };
    let news = [
        HoldNews::AwaitingApproval,
        HoldNews::Put,
        HoldNews::Verified,
        HoldNews::Degraded,
        HoldNews::Ineffective,
        HoldNews::ManualDetach,
        HoldNews::Released,
    ];
    for (number, news) in news.into_iter().enumerate() {
        let at = Micros(1_790_812_800_000_000 + i64::try_from(number).unwrap_or_default());
        tell(Notice::Hold(&HoldNotice::new(&of_breach, news, "1", at).because("sluice", "why\nnot")));
        tell(Notice::Hold(&HoldNotice::new(&of_person, news, "1", at)));
    }
    let (state, approve_by) = (HoldState::PendingApproval, Some(Micros(1_790_899_200_000_000)));
    let waiting = Hold { state, approve_by, mode: Mode::Approve, note: Some("the caps are reached".to_owned()), ..of_breach.clone() };
    let commands = [format!("sluice approve {ID}"), format!("sluice hold release {ID}")];
    if let Some(word) = Word::of(&waiting) {
        tell(Notice::Hold(&HoldNotice::of_word(&waiting, word, commands, Micros(1_790_812_800_000_000))));
    }
    let tripped = Tripped { at: Micros(1_790_812_800_000_000), reason: "10 levers in a row could not be pulled".to_owned() };
    let (targets, close) = (vec![of_breach.target.clone()], "sluice lever close-breaker".to_owned());
    tell(Notice::Breaker(&BreakerNotice::tripped(&tripped, targets, close.clone())));
    tell(Notice::Breaker(&BreakerNotice::tripped(&tripped, Vec::new(), close)));
    let closed = Closed { tripped, at: Micros(1_790_812_800_500_000), actor: "eve".to_owned(), reason: String::new() };
    tell(Notice::Breaker(&BreakerNotice::closed(&closed)));
    for lever in LeverKind::ALL {
        let subject = Subject::Role { arn: "arn:aws:iam::111122223333:role/agents/triage".to_owned() };
        tell(Notice::Hold(&HoldNotice::new(&of_breach, HoldNews::Put, lever.as_str(), Micros(5)).by(lever, &subject)));
    }
}
