//! The rules file: an account's own habits of naming.

use super::Context;
use crate::attribution::saying::{Attribute, Kind, Said};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some(found) = context.rules.first_match(context) else {
        return;
    };
    let label = format!("rule:{}", found.rule);
    let trust = (found.specificity, found.rank);
    said.say(Kind::Rule, Attribute::Agent, label.clone(), found.agent, trust);
    said.say(Kind::Rule, Attribute::Session, label.clone(), found.session, trust);
    said.say(Kind::Rule, Attribute::Team, label, found.team, trust);
    for (key, value) in found.tags {
        said.tag(key, value);
    }
}
