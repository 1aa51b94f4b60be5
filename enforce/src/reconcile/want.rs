//! What should stand now: the levers that the holds in force ask for. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_schemas::{Micros, PicoUsd};

use super::intent::{Intent, Stage, id};
use crate::hold::Hold;
use crate::lever::{LeverKind, Subject};

/// One lever on one subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pull {
    /// The lever.
    pub lever: LeverKind,
    /// On whom.
    pub subject: Subject,
}

/// How a hold stops one of the things its target acts through: the first lever that can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grip {
    /// In order of preference.
    pub chain: Vec<Pull>,
}

/// A lever that has to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The lever.
    pub lever: LeverKind,
    /// On whom.
    pub subject: Subject,
    /// Ids of the holds that want it, sorted.
    pub holds: Vec<String>,
    /// Why, for people.
    pub reason: String,
    /// Earliest of the holds.
    pub since: Micros,
    /// Latest end of the holds; `None` if one of them has none.
    pub until: Option<Micros>,
    /// Dollars an hour that the targets burn: the largest goes first.
    pub burn: PicoUsd,
}

/// Returns what has to stand, by id of the intent.
///
/// A lever that cannot act is stood in for by the next of its chain as long as it cannot, and until it is seen to stand; where none can,
/// the hold is only told.
#[must_use]
pub fn wants(holds: &[Hold], intents: &BTreeMap<String, Intent>) -> BTreeMap<String, Want> {
    let mut wants: BTreeMap<String, Want> = BTreeMap::new();
    for hold in holds {
        for grip in hold.pulls() {
            // A lever that was refused stays wanted, so that it is tried again; the next of the chain stands in for it.
            let mut links = grip.chain.iter().map(|pull| (id(pull.lever, &pull.subject), pull)).peekable();
            while let Some((id, pull)) = links.next() {
                let stage = intents.get(&id).map(|intent| intent.stage);
                add(&mut wants, id, pull, hold);
                let stand_in = links.peek().and_then(|(next, _)| intents.get(next)).is_some_and(|next| !is_over(next.stage));
                let goes_on = match stage {
                    Some(Stage::Refused) => true,
                    Some(Stage::Planned | Stage::Pulled) => stand_in,
                    _ => false,
                };
                if !goes_on {
                    break;
                }
            }
        }
    }
    wants
}

/// Tells whether a stand-in is on its way out, or was never one.
const fn is_over(stage: Stage) -> bool {
    matches!(stage, Stage::Lifting | Stage::TakenOff | Stage::Gone)
}

fn add(wants: &mut BTreeMap<String, Want>, id: String, pull: &Pull, hold: &Hold) {
    let want = wants.entry(id).or_insert_with(|| Want {
        lever: pull.lever,
        subject: pull.subject.clone(),
        holds: Vec::new(),
        reason: hold.reason(),
        since: hold.created_at,
        until: hold.until,
        burn: hold.burn,
    });
    if let Err(at) = want.holds.binary_search(&hold.id) {
        want.holds.insert(at, hold.id.clone());
    }
    want.since = want.since.min(hold.created_at);
    want.until = want.until.zip(hold.until).map(|(a, b)| a.max(b));
    want.burn = want.burn.max(hold.burn);
}
