//! Sessions of the name of a call that are not the call's, and why: for those who explain it. Attribution does not ask.

use std::cmp::Reverse;
use std::sync::Arc;

use sluice_schemas::Micros;

use super::{Session, Sessions, Tie};
use crate::evidence::{CallEvidence, CallKey, Evidence, SKEW};

/// Most sessions of one call.
const MOST: usize = 8;

/// Why a session of the call's name is not the call's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passed {
    /// The call was made with another access key.
    OtherKey,
    /// It is one of several that lived then and say different things.
    Disagrees,
    /// Its credentials had expired.
    Expired,
    /// It was opened after the call.
    NotYetOpen,
}

/// A session that could have been the call's by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// The session.
    pub session: Arc<Session>,
    /// Why it is not the call's.
    pub why: Passed,
}

impl Sessions {
    /// Returns why a session is not the call's; `None` if it may be, or says what the session says that is.
    fn passed(session: &Arc<Session>, access_key: &str, at: Micros, found: Option<&(Arc<Session>, Tie)>) -> Option<Passed> {
        let why = if at >= session.expires {
            Passed::Expired
        } else if session.opened.plus(-SKEW) > at {
            Passed::NotYetOpen
        } else if !access_key.is_empty() && !session.access_key_id.is_empty() && session.access_key_id != access_key {
            Passed::OtherKey
        } else {
            Passed::Disagrees
        };
        // Once the session is known, the others of that time alone could be taken for it.
        match found {
            Some((of_call, _)) => (why == Passed::OtherKey && !Arc::ptr_eq(of_call, session)).then_some(why),
            None => Some(why),
        }
    }
}

impl Evidence {
    /// Returns the sessions of a call's name that are not the call's, those of its time first; `found` is what [`Evidence::of_call`] said.
    #[must_use]
    pub fn passed_over(&self, call: &CallKey<'_>, found: &CallEvidence) -> Vec<PassedOver> {
        let access_key = found.caller.as_ref().map_or("", |caller| caller.access_key_id.as_str());
        let named = self.sessions.by_name.get(call.principal_arn).into_iter().flat_map(|words| words.values());
        let why = |session: &Arc<Session>| Sessions::passed(session, access_key, call.at, found.session.as_ref());
        let over = named.flat_map(|alike| alike.values()).filter_map(|session| Some((why(session)?, session)));
        let mut over: Vec<_> = over.map(|(why, session)| PassedOver { session: Arc::clone(session), why }).collect();
        over.sort_by_key(|over| (over.why, Reverse(over.session.opened), Arc::clone(&over.session)));
        over.truncate(MOST);
        over
    }
}
