//! Runs of agents, flows and runtimes that only their own data events tell of: no request id ties them to calls, so role and time do.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::Micros;
use sluice_schemas::trail::{Invoked, TrailEvent};

use crate::attribution::resource;

use super::{REACH, SKEW, Touched, text_bytes};

/// Name of the event of an inline agent.
const INLINE: &str = "InvokeInlineAgent";

/// Invocations of resources, by time.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_resource: HashMap<String, BTreeMap<(Micros, String), Arc<Invoked>>, FixedState>,
}

impl Runs {
    /// Takes in an event; returns which calls it speaks of, and the bytes it takes.
    pub(super) fn add(&mut self, event: &TrailEvent, invoked: &Invoked) -> Option<(Touched, usize)> {
        // An inline agent calls models as whoever invokes it; events of other things name an endpoint, a version or an alias, and what runs as
        // a role is the thing itself.
        let is_inline = event.event_name == INLINE;
        let thing = if is_inline { event.principal_arn.clone() } else { resource::thing(&invoked.resource_arn).into_owned() };
        if thing.is_empty() {
            return None;
        }
        let runs = self.by_resource.entry_ref(&thing).or_default();
        let key = (event.event_time, event.event_id.clone());
        if runs.insert(key, Arc::new(invoked.clone())).is_some() {
            return None;
        }
        let (from, to) = (event.event_time.plus(-SKEW), event.event_time.plus(REACH));
        let touched = if is_inline { Touched::Session(thing, from, to) } else { Touched::Resource(thing, from, to) };
        Some((touched, bytes(event, invoked)))
    }

    /// Returns the run that was under way on these resources, or of an inline agent of the caller, at a time, if there was only one.
    pub(super) fn nearby(&self, resources: &[String], principal_arn: &str, at: Micros) -> Option<Arc<Invoked>> {
        let (from, to) = ((at.plus(-REACH), String::new()), (at.plus(SKEW), "\u{10ffff}".to_owned()));
        let known = resources.iter().map(String::as_str).chain([principal_arn]).filter_map(|resource| self.by_resource.get(resource));
        let mut near = known.flat_map(|runs| runs.range(from.clone()..=to.clone()).map(|(_, run)| run));
        let first = near.next()?;
        near.all(|run| run.session_id == first.session_id && run.resource_arn == first.resource_arn).then(|| Arc::clone(first))
    }

    /// Forgets the runs of an hour.
    pub(super) fn forget(&mut self, hour: i64) {
        for runs in self.by_resource.values_mut() {
            runs.retain(|(at, _), _| at.hour() != hour);
        }
        self.by_resource.retain(|_, runs| !runs.is_empty());
    }
}

fn bytes(event: &TrailEvent, invoked: &Invoked) -> usize {
    let texts = [&event.event_id, &invoked.resource_arn, &invoked.session_id, &invoked.user_id, &invoked.agent_name];
    let claims = invoked.claims.iter().flat_map(|(key, value)| [key, value]);
    texts.into_iter().chain(claims).map(|text| text_bytes(text)).sum::<usize>() + size_of::<Invoked>() + 64
}
