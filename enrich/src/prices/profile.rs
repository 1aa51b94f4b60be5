//! Which model stands behind an application inference profile, from the models it routes to.

use super::card::Scope;
use super::names::{geographies_of, split_listed};

/// Returns the model of a profile whose destinations are these model ARNs, with the prefix of how far they lie apart: prices of a global
/// profile differ. `None` if they tell no model, or several.
pub(crate) fn model_behind(models: &[String]) -> Option<String> {
    let mut regions: Vec<&str> = Vec::new();
    let mut model: Option<&str> = None;
    for arn in models {
        let mut fields = arn.splitn(6, ':');
        let region = fields.nth(3)?;
        let (kind, id) = fields.nth(1)?.split_once('/')?;
        if kind == "inference-profile" {
            // A copy of a system-defined profile carries the prefix itself.
            return Some(id.to_owned());
        }
        if kind != "foundation-model" || model.is_some_and(|known| known != id) {
            return None;
        }
        model = Some(id);
        if !regions.contains(&region) {
            regions.push(region);
        }
    }
    let (model, (first, others)) = (model?, regions.split_first()?);
    if !matches!(split_listed(model), (_, Scope::InRegion)) || (others.is_empty() && !first.is_empty()) {
        return Some(model.to_owned());
    }
    let everywhere = |geography: &&str| others.iter().all(|region| geographies_of(region).contains(geography));
    let geography = geographies_of(first).iter().find(|geography| everywhere(geography));
    Some(format!("{}.{model}", geography.unwrap_or(&"global")))
}

/// Tells whether an id is that of a system-defined inference profile.
pub(crate) fn is_system_profile(id: &str) -> bool {
    !matches!(split_listed(id), (_, Scope::InRegion))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_tells_how_far_the_destinations_lie_apart() {
        let behind = |regions: &[&str]| {
            let arns: Vec<_> =
                regions.iter().map(|region| format!("arn:aws:bedrock:{region}::foundation-model/amazon.nova-lite-v1:0")).collect();
            model_behind(&arns)
        };
        let model = |prefix: &str| Some(format!("{prefix}amazon.nova-lite-v1:0"));
        assert_eq!(behind(&["us-east-1"]), model(""));
        assert_eq!(behind(&["us-east-1", "us-west-2"]), model("us."));
        assert_eq!(behind(&["us-east-1", "ca-central-1"]), model("us."));
        assert_eq!(behind(&["ap-northeast-1", "ap-northeast-3"]), model("jp."));
        assert_eq!(behind(&["us-east-1", "eu-west-1"]), model("global."));
        assert_eq!(behind(&["us-east-1", ""]), model("global."));
        assert_eq!(behind(&[""]), model("global."));
        assert_eq!(behind(&[]), None);
        let arn = |id: &str| format!("arn:aws:bedrock:us-east-1::foundation-model/{id}");
        assert_eq!(model_behind(&[arn("a.b"), arn("a.c")]), None);
        assert_eq!(model_behind(&["x".to_owned()]), None);
        assert_eq!(model_behind(&["arn:aws:bedrock:us-east-1:1:inference-profile/us.a.b".to_owned()]).as_deref(), Some("us.a.b"));
        assert_eq!(model_behind(&["arn:aws:bedrock:us-east-1:1:custom-model/x".to_owned()]), None);
    }
}
