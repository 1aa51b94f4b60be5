//! What is worked on in a turn, and in which order. Pure.
//!
//! Calls are few, so the order decides who waits. Whoever is to be stopped comes by burn, the highest first; one place in four belongs to
//! those who are to be given back what was taken, so that a storm of stops locks nobody out for longer; what only has to be looked at
//! again comes last, the longest waiting first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sluice_schemas::Micros;

use super::intent::{Intent, Stage};
use super::step::{Due, due};
use super::want::Want;

/// One place in so many is for a lift.
const LIFT_EVERY: usize = 4;

/// Returns the ids of what is due, in order; `turn` moves the place of the lifts, so that a turn that has one call to make lifts too.
pub(super) fn agenda(wanted: &BTreeMap<String, Want>, intents: &BTreeMap<String, Intent>, now: Micros, turn: usize) -> Vec<String> {
    let (mut stops, mut lifts, mut looks) = (Vec::new(), Vec::new(), Vec::new());
    for (id, want) in wanted {
        let intent = intents.get(id);
        if due(Some(want), intent, now) == Due::Nothing {
            continue;
        }
        match intent {
            Some(intent) if matches!(intent.stage, Stage::Stands | Stage::Foreign | Stage::Refused | Stage::Gone) => {
                looks.push((intent.again_at, id));
            }
            _ => stops.push((Reverse(want.burn), id)),
        }
    }
    for (id, intent) in intents {
        if !wanted.contains_key(id) && due(None, Some(intent), now) != Due::Nothing {
            lifts.push((intent.again_at, id));
        }
    }
    stops.sort();
    lifts.sort();
    looks.sort();
    let (mut stops, mut lifts) = (stops.into_iter().map(|(_, id)| id).peekable(), lifts.into_iter().map(|(_, id)| id).peekable());
    let mut ids = Vec::with_capacity(wanted.len());
    while stops.peek().is_some() || lifts.peek().is_some() {
        let lifts_first = (turn + ids.len()).is_multiple_of(LIFT_EVERY);
        let next = if lifts_first { lifts.next().or_else(|| stops.next()) } else { stops.next().or_else(|| lifts.next()) };
        ids.extend(next.cloned());
    }
    ids.extend(looks.into_iter().map(|(_, id)| id.clone()));
    ids
}
