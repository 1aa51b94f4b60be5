//! The models called, and the forms in which a log names them.

use std::sync::Arc;

use super::random::Random;

/// Shape of a model's native request and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Anthropic messages.
    Claude,
    /// Amazon Nova messages.
    Nova,
    /// Meta Llama prompt and generation.
    Llama,
    /// OpenAI chat completions (gpt-oss).
    OpenAi,
    /// Amazon Titan text embeddings.
    Embedding,
}

/// One model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// Its family.
    pub(crate) family: Family,
    /// Its id without a geography.
    pub(crate) id: &'static str,
    /// Geographies that have an inference profile of it.
    pub(crate) geographies: &'static [&'static str],
    /// Whether it can be called by its bare id.
    pub(crate) bare: bool,
    /// Geographies (`""` for the bare id) in which flex and priority tiers are sold.
    pub(crate) tiers: &'static [&'static str],
}

const CLAUDE_GEOGRAPHIES: &[&str] = &["us", "eu", "jp", "global"];

impl Model {
    /// Returns the name its maker uses inside bodies.
    pub(crate) fn own_name(&self) -> &'static str {
        let (_, name) = self.id.split_once('.').unwrap_or(("", self.id));
        name.split_once("-v1").map_or(name, |(name, _)| name)
    }
}

/// All models.
pub(crate) const MODELS: [Model; 11] = [
    Model {
        family: Family::Claude,
        id: "anthropic.claude-sonnet-4-5-20250929-v1:0",
        geographies: CLAUDE_GEOGRAPHIES,
        bare: false,
        tiers: &[],
    },
    Model {
        family: Family::Claude,
        id: "anthropic.claude-haiku-4-5-20251001-v1:0",
        geographies: CLAUDE_GEOGRAPHIES,
        bare: false,
        tiers: &[],
    },
    Model { family: Family::Claude, id: "anthropic.claude-opus-4-6-v1", geographies: &["us", "eu", "global"], bare: false, tiers: &[] },
    Model { family: Family::Nova, id: "amazon.nova-pro-v1:0", geographies: &["us", "eu", "apac"], bare: true, tiers: &["us", ""] },
    Model { family: Family::Nova, id: "amazon.nova-lite-v1:0", geographies: &["us", "eu", "apac"], bare: true, tiers: &[] },
    Model { family: Family::Nova, id: "amazon.nova-micro-v1:0", geographies: &["us", "eu", "apac"], bare: true, tiers: &[] },
    Model {
        family: Family::Nova,
        id: "amazon.nova-2-lite-v1:0",
        geographies: &["us", "eu", "jp", "apac", "global"],
        bare: false,
        tiers: &["us"],
    },
    Model { family: Family::Llama, id: "meta.llama3-3-70b-instruct-v1:0", geographies: &["us"], bare: true, tiers: &[] },
    Model { family: Family::Llama, id: "meta.llama3-1-8b-instruct-v1:0", geographies: &["us"], bare: true, tiers: &[] },
    Model { family: Family::OpenAi, id: "openai.gpt-oss-120b-1:0", geographies: &[], bare: true, tiers: &[""] },
    Model { family: Family::Embedding, id: "amazon.titan-embed-text-v2:0", geographies: &[], bare: true, tiers: &[] },
];

/// Places of the models in [`MODELS`].
pub(crate) mod at {
    /// Claude Sonnet 4.5.
    pub(crate) const SONNET: usize = 0;
    /// Claude Haiku 4.5.
    pub(crate) const HAIKU: usize = 1;
    /// Claude Opus 4.6.
    pub(crate) const OPUS: usize = 2;
    /// Nova Pro.
    pub(crate) const NOVA_PRO: usize = 3;
    /// Nova Lite.
    pub(crate) const NOVA_LITE: usize = 4;
    /// Nova Micro.
    pub(crate) const NOVA_MICRO: usize = 5;
    /// Nova 2 Lite.
    pub(crate) const NOVA_2_LITE: usize = 6;
    /// Llama 3.3 70B.
    pub(crate) const LLAMA_70B: usize = 7;
    /// Llama 3.1 8B.
    pub(crate) const LLAMA_8B: usize = 8;
    /// gpt-oss 120B.
    pub(crate) const GPT_OSS: usize = 9;
    /// Titan Text Embeddings V2.
    pub(crate) const TITAN_EMBED: usize = 10;
}

/// How a caller writes a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The id of a model or of a system profile.
    Id,
    /// The ARN of the same.
    Arn,
    /// The ARN of an application profile with this id: it does not tell the model.
    Application(u64),
}

/// A model as one caller names it.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    /// `modelId` of the log.
    pub(crate) model_id: Arc<str>,
    /// Geography of the profile, empty for a bare id.
    pub(crate) geography: &'static str,
}

/// Names a model for a caller in a region.
pub(crate) fn name(model: &Model, region: &str, account_id: &str, form: Form, global: bool) -> Naming {
    let wanted = match region.split('-').next() {
        _ if global => "global",
        _ if region == "ap-northeast-1" && model.geographies.contains(&"jp") => "jp",
        Some("us") => "us",
        Some("eu") => "eu",
        Some("ap") => "apac",
        _ => "global",
    };
    let has = |geography: &str| model.geographies.iter().copied().find(|known| *known == geography);
    let bare = if model.bare { Some("") } else { None };
    let geography = has(wanted).or(bare).or_else(|| has("global")).or_else(|| model.geographies.first().copied()).unwrap_or("");
    let id = if geography.is_empty() { model.id.to_owned() } else { format!("{geography}.{}", model.id) };
    let model_id = match form {
        Form::Id => id,
        Form::Arn if geography.is_empty() => format!("arn:aws:bedrock:{region}::foundation-model/{id}"),
        Form::Arn => format!("arn:aws:bedrock:{region}:{account_id}:inference-profile/{id}"),
        Form::Application(number) => {
            format!("arn:aws:bedrock:{region}:{account_id}:application-inference-profile/{:012x}", number & 0xFFFF_FFFF_FFFF)
        }
    };
    Naming { model_id: model_id.into(), geography }
}

/// Returns where a call through a profile ran, when that was another region.
pub(crate) fn inference_region(geography: &str, region: &str, random: &mut Random) -> Option<&'static str> {
    let regions: &[&'static str] = match geography {
        "us" => &["us-east-1", "us-east-2", "us-west-2"],
        "eu" => &["eu-central-1", "eu-west-1", "eu-north-1", "eu-west-3"],
        "jp" => &["ap-northeast-1", "ap-northeast-3"],
        "apac" => &["ap-northeast-1", "ap-southeast-1", "ap-southeast-2", "ap-south-1"],
        "global" => &["us-east-1", "us-west-2", "eu-west-1", "ap-southeast-2", "sa-east-1"],
        _ => return None,
    };
    Some(random.pick(regions)).filter(|chosen| *chosen != region)
}
