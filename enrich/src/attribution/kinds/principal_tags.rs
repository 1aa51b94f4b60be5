//! Tags of the role or user, as cost allocation by IAM principal uses them; those of a Bedrock API key's user are the key's.

use sluice_schemas::Rank;
use sluice_schemas::directory::EntryKind;

use super::{Context, say_tags};
use crate::attribution::saying::{Kind, Said, Specificity};

/// Start of the names of users that Bedrock makes for its API keys.
pub(super) const API_KEY_USER: &str = "BedrockAPIKey-";

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    let Some(entry) = context.principal_entry else {
        return;
    };
    let by_key = entry.kind == EntryKind::User && context.principal.is_some_and(|principal| principal.name.starts_with(API_KEY_USER));
    let (kind, label) = if by_key { (Kind::ApiKey, "api_key_tag") } else { (Kind::PrincipalTag, "principal_tag") };
    say_tags(context, (kind, label, "aws:PrincipalTag/"), &entry.tags, Specificity::Principal, |_| Rank::Aws, said);
}
