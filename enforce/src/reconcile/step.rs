//! What is due for one lever on one subject. Pure: every row of the table below is a line of code.
//!
//! | wanted | stage | seen to stand | then |
//! |---|---|---|---|
//! | yes | none | no | plan with the image of what is there, then pull |
//! | yes | none | yes | foreign: nothing is pulled, nothing will be lifted |
//! | yes | planned, not begun | no / yes | pull, with the image of now / foreign |
//! | yes | planned | no / yes | pull / it stands |
//! | yes | lifting | – | pull: what is seen may be from before the lift |
//! | yes | pulled | yes | it stands |
//! | yes | pulled | no | wait while changes spread, then pull again |
//! | yes | stands, and has to last longer than it did | no | pull |
//! | yes | stands | no | after it was absent for as long as changes take to spread: respect or repair |
//! | yes | refused | – | looked at again from time to time |
//! | yes | gone | – | looked at as what stands; whoever comes back is new |
//! | yes | taken off | – | nothing, until a hold wants it that did not then |
//! | no | planned, pulled, stands, refused or gone and touched | – | lift, and look until it is away |
//! | no | taken off, and the lever takes several things away | – | lift: the person may have given back only some of them |
//! | no | foreign, gone, taken off, or never touched | – | forget |

use sluice_schemas::Micros;
use sluice_schemas::time::{HOUR, MINUTE, SECOND};

use super::intent::{Intent, Stage, takes_several};
use super::want::Want;
use crate::lever::Sight;

/// Nothing waits for longer: a time further off was written by a clock that was wrong.
const FURTHEST: i64 = HOUR;

/// What is done about a stop that a person took off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnManualDetach {
    /// It stays off until the hold ends, and is told.
    #[default]
    Respect,
    /// It is put back, and is told.
    Repair,
}

/// Times of the reconciler, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Between two looks at what stands.
    pub resync: i64,
    /// How long a change may take to be seen everywhere.
    pub spread: i64,
    /// Between two looks while something is on its way.
    pub glance: i64,
    /// Before a lever that cannot act is tried again; an hour at most, as the others.
    pub refused: i64,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { resync: 30 * SECOND, spread: 60 * SECOND, glance: 2 * SECOND, refused: 15 * MINUTE }
    }
}

/// What is due before anything was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing now.
    Nothing,
    /// A look, and then [`seen`].
    Look,
    /// A lift, and then a look that says whether anything is left.
    Lift,
    /// The intent is to be removed: nothing of it is anywhere.
    Forget,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Note the image; it is ours to pull.
    Plan,
    /// It stands and is not ours.
    Foreign,
    /// Pull; the image that is noted stays.
    Pull,
    /// Note that it stands.
    Stands,
    /// Note that it is seen not to stand, although it did.
    Absent,
    /// A person took it off: note it and leave it.
    TakenOff,
    /// A person took it off: note it and pull.
    Repair,
    /// All is as noted.
    Keep,
}

/// Says what is due.
#[must_use]
pub fn due(want: Option<&Want>, intent: Option<&Intent>, now: Micros) -> Due {
    let Some(intent) = intent else { return if want.is_some() { Due::Look } else { Due::Nothing } };
    let waits = intent.again_at.is_some_and(|at| now < at && at.0.saturating_sub(now.0) <= FURTHEST);
    match (want, intent.stage) {
        (None, Stage::TakenOff) if intent.touched && takes_several(intent.lever) => Due::Lift,
        (None, Stage::Foreign | Stage::TakenOff) => Due::Forget,
        (None, _) if !intent.touched => Due::Forget,
        // Whoever was held has waited long enough: only a failed lift has to wait.
        (None, Stage::Lifting) if waits => Due::Nothing,
        (None, _) => Due::Lift,
        (Some(want), Stage::TakenOff) => {
            if is_renewed(want, intent) {
                Due::Look
            } else {
                Due::Nothing
            }
        }
        (Some(_), _) if waits => Due::Nothing,
        (Some(_), _) => Due::Look,
    }
}

/// Tells whether a hold wants it that did not when the intent was noted.
#[must_use]
pub fn is_renewed(want: &Want, intent: &Intent) -> bool {
    want.holds.iter().any(|hold| intent.holds.binary_search(hold).is_err())
}

/// Says what follows from a look at something that is wanted.
#[must_use]
pub fn seen(want: &Want, intent: Option<&Intent>, sight: &Sight, now: Micros, on_manual: OnManualDetach, pacing: &Pacing) -> Then {
    let fresh = if sight.stands { Then::Foreign } else { Then::Plan };
    let Some(intent) = intent else { return fresh };
    match (intent.stage, sight.stands) {
        // Nothing was begun: what is seen now is what stood before.
        (Stage::Planned, true) if !intent.touched => Then::Foreign,
        (Stage::Planned, false) if !intent.touched && intent.image != sight.image => Then::Plan,
        (Stage::Planned | Stage::Pulled, true) => Then::Stands,
        (Stage::Planned | Stage::Lifting, false) => Then::Pull,
        // A look may lag behind the lift that was begun.
        (Stage::Lifting, true) => Then::Pull,
        (Stage::Pulled, false) => {
            let spreads = intent.pulled_at.is_some_and(|at| (0..pacing.spread).contains(&now.0.saturating_sub(at.0)));
            if spreads { Then::Keep } else { Then::Pull }
        }
        (Stage::Stands, true) => {
            if intent.absent_since.is_some() {
                Then::Stands
            } else {
                Then::Keep
            }
        }
        (Stage::Stands, false) if lasts_longer(want, intent) => Then::Pull,
        (Stage::Stands, false) => match (intent.absent_since, on_manual) {
            (None, _) => Then::Absent,
            // The clock was set back.
            (Some(since), _) if now < since => Then::Absent,
            (Some(since), _) if now.0.saturating_sub(since.0) < pacing.spread => Then::Keep,
            (Some(_), OnManualDetach::Respect) => Then::TakenOff,
            (Some(_), OnManualDetach::Repair) => Then::Repair,
        },
        (Stage::Foreign, true) => Then::Keep,
        (Stage::Foreign, false) => Then::Plan,
        // What was taken away in part is still ours to give back.
        (Stage::TakenOff, true) if is_renewed(want, intent) && takes_several(intent.lever) => Then::Stands,
        (Stage::TakenOff, _) if is_renewed(want, intent) => fresh,
        (Stage::TakenOff, _) => Then::Keep,
        // What was begun keeps the image of what stood before it.
        (Stage::Refused, true) if intent.touched => Then::Stands,
        (Stage::Refused, false) if intent.touched => Then::Pull,
        (Stage::Refused | Stage::Gone, _) => fresh,
    }
}

/// Tells whether the stop has to last longer than what was put.
fn lasts_longer(want: &Want, intent: &Intent) -> bool {
    intent.until.is_some_and(|known| want.until.is_none_or(|until| until > known))
}

/// Says when to look again at something that was just noted.
#[must_use]
pub fn look_again(stage: Stage, unsure: bool, now: Micros, pacing: &Pacing) -> Micros {
    let wait = match stage {
        Stage::Planned | Stage::Pulled | Stage::Lifting => pacing.glance,
        _ if unsure => pacing.glance.max(pacing.spread / 4),
        Stage::Refused => pacing.refused,
        Stage::Stands | Stage::Foreign | Stage::TakenOff | Stage::Gone => pacing.resync,
    };
    now.plus(wait.min(FURTHEST))
}
