//! The caller's own CloudTrail event: the resource that holds its credentials, its unique id, the service that called for it.

use std::borrow::Cow;

use sluice_schemas::Rank;

use super::Context;
use crate::attribution::resource::Resource;
use crate::attribution::saying::{Attribute, Kind, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some(caller) = context.evidence.caller.as_deref() else {
        return;
    };
    let arn = caller.credentials_issued_to.as_str();
    if !arn.is_empty() {
        let entry = context.directory.runtime_or_agent(arn).filter(|entry| !entry.name.is_empty());
        let name = entry.map(|entry| Cow::Borrowed(entry.name.as_str())).or_else(|| Resource::parse(arn)?.name());
        said.say(Kind::IssuedTo, Attribute::Agent, Kind::IssuedTo.as_str(), name.unwrap_or_default(), (Specificity::Resource, Rank::Aws));
        said.tag("aws:CredentialsIssuedTo", arn);
    }
    said.tag("aws:userid", &caller.principal_id);
    said.tag("aws:CalledVia", &caller.invoked_by);
}
