//! What a logged `modelId` names: a model and how far the call may be routed, or a thing that hides the model.
//!
//! Sources: Amazon Bedrock User Guide, "Supported foundation models", "Supported Regions and models for inference
//! profiles", "Resource types defined by Amazon Bedrock" (service authorization reference).

use std::collections::HashSet;

use super::card::Scope;

/// Prefixes of geographic inference profiles seen so far. A prefix not listed here is taken for one when the rest of the
/// id is a known model.
const GEOGRAPHIES: &[&str] = &["us-gov", "us", "eu", "apac", "ap", "au", "jp", "ca", "in", "mx", "sa", "il", "me", "af", "uk", "kr"];

/// What a `modelId` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Called<'a> {
    /// A model by its canonical id.
    Model { id: &'a str, scope: Scope },
    /// A thing whose ARN does not name the model, and whether its use is paid by the hour instead of by the token.
    Hidden(Hidden),
}

/// Things that hide the model they call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hidden {
    ApplicationProfile,
    Provisioned,
    CustomModel,
    ImportedModel,
    PromptRouter,
    Other,
}

/// Reads a `modelId`.
pub(super) fn parse<'a>(model_id: &'a str, known: &HashSet<String>) -> Called<'a> {
    if !model_id.starts_with("arn:") {
        return model(model_id, known);
    }
    let mut parts = model_id.splitn(6, ':');
    let (service, region) = (parts.nth(2).unwrap_or(""), parts.next().unwrap_or(""));
    let (kind, id) = parts.nth(1).and_then(|resource| resource.split_once('/')).unwrap_or(("", ""));
    match (service, kind) {
        // The model of a global profile is written without a region.
        ("bedrock", "foundation-model") if region.is_empty() => match model(id, known) {
            Called::Model { id, .. } => Called::Model { id, scope: Scope::Global },
            hidden @ Called::Hidden(_) => hidden,
        },
        ("bedrock", "foundation-model" | "inference-profile") => model(id, known),
        ("bedrock", "application-inference-profile") => Called::Hidden(Hidden::ApplicationProfile),
        ("bedrock", "provisioned-model") => Called::Hidden(Hidden::Provisioned),
        ("bedrock", "custom-model" | "custom-model-deployment") => Called::Hidden(Hidden::CustomModel),
        ("bedrock", "imported-model") => Called::Hidden(Hidden::ImportedModel),
        ("bedrock", "prompt-router" | "default-prompt-router") => Called::Hidden(Hidden::PromptRouter),
        _ => Called::Hidden(Hidden::Other),
    }
}

fn model<'a>(id: &'a str, known: &HashSet<String>) -> Called<'a> {
    if known.contains(id) {
        return Called::Model { id, scope: Scope::InRegion };
    }
    let Some((prefix, rest)) = id.split_once('.').filter(|(_, rest)| rest.contains('.')) else {
        return Called::Model { id, scope: Scope::InRegion };
    };
    let scope = match prefix {
        "global" => Scope::Global,
        // An older spelling of the same geography.
        "ap" => Scope::Geo("apac".to_owned()),
        _ => Scope::Geo(prefix.to_owned()),
    };
    if prefix == "global" || GEOGRAPHIES.contains(&prefix) || known.contains(rest) {
        return Called::Model { id: rest, scope };
    }
    Called::Model { id, scope: Scope::InRegion }
}

/// Splits the prefix of an inference profile off an id of a price list.
pub(crate) fn split_listed(id: &str) -> (&str, Scope) {
    match model(id, &HashSet::new()) {
        Called::Model { id, scope } => (id, scope),
        Called::Hidden(_) => (id, Scope::InRegion),
    }
}

/// Returns the vendor of a canonical model id: its text up to the first dot.
pub(super) fn provider(model: &str) -> &str {
    model.split_once('.').map_or("", |(vendor, _)| vendor)
}

/// Returns the prefixes of the geographic profiles that can be called from a region, the narrower first.
pub(crate) fn geographies_of(region: &str) -> &'static [&'static str] {
    match region {
        "ap-northeast-1" | "ap-northeast-3" => &["jp", "apac"],
        "ap-southeast-2" | "ap-southeast-4" => &["au", "apac"],
        "ap-south-1" | "ap-south-2" => &["in", "apac"],
        _ if region.starts_with("us-gov-") => &["us-gov"],
        _ if region.starts_with("us-") => &["us"],
        _ if region.starts_with("ca-") => &["ca", "us"],
        _ if region.starts_with("mx-") => &["mx", "us"],
        _ if region.starts_with("sa-") => &["sa"],
        _ if region.starts_with("eu-") => &["eu"],
        _ if region.starts_with("ap-") => &["apac"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(id: &str) -> (String, String) {
        let known = ["anthropic.claude-v2:1", "deepseek.v3.2", "moonshotai.kimi-k2.5", "amazon.nova-lite-v1:0"].map(str::to_owned).into();
        match parse(id, &known) {
            Called::Model { id, scope } => (id.to_owned(), scope.to_string()),
            Called::Hidden(hidden) => (format!("{hidden:?}"), String::new()),
        }
    }

    #[test]
    fn every_spelling_of_a_model() {
        for (id, model, scope) in [
            ("anthropic.claude-v2:1", "anthropic.claude-v2:1", "in_region"),
            ("us.anthropic.claude-v2:1", "anthropic.claude-v2:1", "geo:us"),
            ("us-gov.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "geo:us-gov"),
            ("ap.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "geo:apac"),
            ("global.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "global"),
            ("eu.acme.new-model", "acme.new-model", "geo:eu"),
            ("zz.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "geo:zz"),
            ("zz.acme.new-model", "zz.acme.new-model", "in_region"),
            // Dots inside a name are no prefix.
            ("deepseek.v3.2", "deepseek.v3.2", "in_region"),
            ("moonshotai.kimi-k2.5", "moonshotai.kimi-k2.5", "in_region"),
            ("acme.model-1.5", "acme.model-1.5", "in_region"),
            ("eu.deepseek.v3.2", "deepseek.v3.2", "geo:eu"),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1", "anthropic.claude-v2:1", "in_region"),
            ("arn:aws:bedrock:::foundation-model/anthropic.claude-v2:1", "anthropic.claude-v2:1", "global"),
            ("arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", "geo:us"),
            (
                "arn:aws-us-gov:bedrock:us-gov-west-1:1:inference-profile/us-gov.amazon.nova-lite-v1:0",
                "amazon.nova-lite-v1:0",
                "geo:us-gov",
            ),
            ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl", "ApplicationProfile", ""),
            ("arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl", "Provisioned", ""),
            ("arn:aws:bedrock:us-east-1:111122223333:custom-model-deployment/abc", "CustomModel", ""),
            ("arn:aws:bedrock:us-east-1:111122223333:imported-model/abc", "ImportedModel", ""),
            ("arn:aws:bedrock:us-east-1:111122223333:default-prompt-router/anthropic.claude:1", "PromptRouter", ""),
            ("arn:aws:sagemaker:us-east-1:111122223333:endpoint/abc", "Other", ""),
            ("arn:", "Other", ""),
            ("", "", "in_region"),
        ] {
            assert_eq!(called(id), (model.to_owned(), scope.to_owned()), "{id}");
        }
    }
}
