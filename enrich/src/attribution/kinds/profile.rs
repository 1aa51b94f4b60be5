//! Application inference profile: the ARN that a call went through, which IAM can enforce, and the tags an administrator put on it.

use sluice_schemas::Rank;

use super::{Context, say_tags};
use crate::attribution::saying::{Kind, Said, Specificity};

pub(super) fn say<'a>(context: &Context<'a>, said: &mut Said<'a>) {
    if let Some(profile) = context.directory.profile(context.model_id) {
        let source = (Kind::InferenceProfile, "inference_profile_tag", "aws:ResourceTag/");
        say_tags(context, source, &profile.tags, Specificity::Profile, |_| Rank::Aws, said);
    }
}
