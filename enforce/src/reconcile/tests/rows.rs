//! Every row of the table.

use super::*;
use crate::lever::Sight;
use crate::reconcile::step::{Due, OnManualDetach, Pacing, Then, due, look_again, seen};
use crate::reconcile::want::Want;
use sluice_schemas::PicoUsd;

const NOW: Micros = Micros(START);

fn want(holds: &[&str], until: Option<i64>) -> Want {
    Want {
        lever: LeverKind::DenyPolicy,
        subject: role(LeverKind::DenyPolicy).subject,
        holds: holds.iter().map(|&hold| hold.to_owned()).collect(),
        reason: String::new(),
        since: NOW,
        until: until.map(Micros),
        burn: PicoUsd::ZERO,
    }
}

fn intent(lever: LeverKind, stage: Stage, touched: bool) -> Intent {
    let want = Want { lever, ..want(&["h"], None) };
    Intent { stage, touched, ..super::super::note::blank(&want, 1, NOW) }
}

fn then(intent: Option<&Intent>, stands: bool) -> Then {
    let sight = Sight { stands, ..Sight::default() };
    seen(&want(&["h"], None), intent, &sight, NOW, OnManualDetach::Respect, &Pacing::default())
}

#[test]
fn what_a_look_leads_to() {
    use Stage::{Foreign, Gone, Lifting, Planned, Pulled, Refused, Stands, TakenOff};
    assert_eq!((then(None, false), then(None, true)), (Then::Plan, Then::Foreign));
    let deny = LeverKind::DenyPolicy;
    for (stage, touched, not_standing, standing) in [
        (Planned, false, Then::Pull, Then::Foreign),
        (Planned, true, Then::Pull, Then::Stands),
        (Pulled, true, Then::Pull, Then::Stands),
        (Lifting, true, Then::Pull, Then::Pull),
        (Stands, true, Then::Absent, Then::Keep),
        (Foreign, false, Then::Plan, Then::Keep),
        (TakenOff, true, Then::Keep, Then::Keep),
        (Refused, true, Then::Pull, Then::Stands),
        (Refused, false, Then::Plan, Then::Foreign),
        (Gone, false, Then::Plan, Then::Foreign),
        (Gone, true, Then::Plan, Then::Foreign),
    ] {
        let intent = intent(deny, stage, touched);
        assert_eq!((then(Some(&intent), false), then(Some(&intent), true)), (not_standing, standing), "{stage:?} {touched}");
    }
    let renewed = |lever, stands| {
        let (want, sight) = (want(&["h", "i"], None), Sight { stands, ..Sight::default() });
        seen(&want, Some(&intent(lever, TakenOff, true)), &sight, NOW, OnManualDetach::Respect, &Pacing::default())
    };
    assert_eq!((renewed(deny, false), renewed(deny, true)), (Then::Plan, Then::Foreign));
    assert_eq!((renewed(LeverKind::Detach, false), renewed(LeverKind::Detach, true)), (Then::Plan, Then::Stands));
    // The image of what was planned and not begun is that of now.
    let sight = Sight { image: serde_json::json!({"attached": false}), ..Sight::default() };
    let planned = intent(deny, Planned, false);
    assert_eq!(seen(&want(&["h"], None), Some(&planned), &sight, NOW, OnManualDetach::Respect, &Pacing::default()), Then::Plan);
}

#[test]
fn times_of_a_stop_that_is_not_seen() {
    let pacing = Pacing::default();
    let look = |intent: &Intent, want: &Want, on_manual| seen(want, Some(intent), &Sight::default(), NOW, on_manual, &pacing);
    let at = |ago: i64| Some(Micros(NOW.0 - ago));
    for (ago, expected) in [(0, Then::Keep), (pacing.spread - 1, Then::Keep), (pacing.spread, Then::Pull), (-SECOND, Then::Pull)] {
        let pulled = Intent { pulled_at: at(ago), ..intent(LeverKind::DenyPolicy, Stage::Pulled, true) };
        assert_eq!(look(&pulled, &want(&["h"], None), OnManualDetach::Respect), expected, "{ago}");
    }
    for (ago, respect, repair) in
        [(pacing.spread - 1, Then::Keep, Then::Keep), (pacing.spread, Then::TakenOff, Then::Repair), (-SECOND, Then::Absent, Then::Absent)]
    {
        let absent = Intent { absent_since: at(ago), ..intent(LeverKind::DenyPolicy, Stage::Stands, true) };
        assert_eq!(look(&absent, &want(&["h"], None), OnManualDetach::Respect), respect, "{ago}");
        assert_eq!(look(&absent, &want(&["h"], None), OnManualDetach::Repair), repair, "{ago}");
    }
    // A stop that has to last longer is put anew, and nobody took anything off.
    let short = Intent { until: Some(Micros(5)), ..intent(LeverKind::DenySession, Stage::Stands, true) };
    for (until, expected) in [(None, Then::Pull), (Some(6), Then::Pull), (Some(5), Then::Absent), (Some(4), Then::Absent)] {
        assert_eq!(look(&short, &want(&["h"], until), OnManualDetach::Respect), expected, "{until:?}");
    }
}

#[test]
fn what_is_due() {
    let wanted = want(&["h"], None);
    let waiting = |stage, touched, seconds: i64| Intent {
        again_at: Some(NOW.plus(seconds * SECOND)),
        ..intent(LeverKind::DenyPolicy, stage, touched)
    };
    assert_eq!((due(None, None, NOW), due(Some(&wanted), None, NOW)), (Due::Nothing, Due::Look));
    for stage in [Stage::Planned, Stage::Pulled, Stage::Stands, Stage::Refused, Stage::Foreign, Stage::Gone] {
        assert_eq!(due(Some(&wanted), Some(&waiting(stage, true, 1)), NOW), Due::Nothing, "{stage:?}");
        assert_eq!(due(Some(&wanted), Some(&waiting(stage, true, 0)), NOW), Due::Look, "{stage:?}");
        // A clock that was far ahead wrote it.
        assert_eq!(due(Some(&wanted), Some(&waiting(stage, true, 86_400)), NOW), Due::Look, "{stage:?}");
        assert_eq!(due(None, Some(&waiting(stage, false, 1)), NOW), Due::Forget, "{stage:?}");
    }
    for stage in [Stage::Planned, Stage::Pulled, Stage::Stands, Stage::Refused] {
        assert_eq!(due(None, Some(&waiting(stage, true, 1)), NOW), Due::Lift, "{stage:?}");
    }
    assert_eq!(due(None, Some(&waiting(Stage::Lifting, true, 1)), NOW), Due::Nothing);
    assert_eq!(due(None, Some(&waiting(Stage::Lifting, true, 0)), NOW), Due::Lift);
    assert_eq!(due(Some(&wanted), Some(&waiting(Stage::TakenOff, true, 0)), NOW), Due::Nothing);
    assert_eq!(due(Some(&want(&["h", "i"], None)), Some(&waiting(Stage::TakenOff, true, 9)), NOW), Due::Look);
    assert_eq!(due(None, Some(&waiting(Stage::TakenOff, true, 0)), NOW), Due::Forget);
    assert_eq!(due(None, Some(&intent(LeverKind::Detach, Stage::TakenOff, true)), NOW), Due::Lift);
    assert_eq!(due(None, Some(&waiting(Stage::Foreign, true, 0)), NOW), Due::Forget);
    assert!(look_again(Stage::Refused, false, NOW, &Pacing { refused: i64::MAX, ..Pacing::default() }).0 <= NOW.0 + 3_600 * SECOND);
}
