//! Rate cards: the prices of one model in one place, tier and span of time.
//!
//! A card is never edited, only superseded by one that starts later.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use sluice_schemas::{Micros, ServiceTier};

use super::decimal::UnitPrice;

/// Region of a card that holds in every region without a card of its own.
pub const ANY_REGION: &str = "*";
/// Pseudo model under which the units of Bedrock Guardrails are priced.
pub const GUARDRAILS: &str = "guardrails";

/// Through which door a model is called; each has its own prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `bedrock-runtime`: the one that writes invocation logs.
    #[default]
    Runtime,
    /// `bedrock-mantle`: writes no invocation log.
    Mantle,
    /// The vendor's own platform on AWS: writes no invocation log.
    ClaudePlatform,
}

/// How far a call may be routed, a price dimension of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Called by its bare id: runs where it is called.
    #[default]
    InRegion,
    /// Called through a geographic inference profile: the profile's prefix, for example `us`.
    Geo(String),
    /// Called through a global inference profile.
    Global,
}

/// Tier of a card: the tiers a log can name, and what can only be bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// On-demand.
    #[default]
    Standard,
    /// Half price, best effort.
    Flex,
    /// Faster, dearer.
    Priority,
    /// Batch inference.
    Batch,
    /// Latency-optimised; no log names it.
    Ultrafast,
    /// Provisioned throughput without commitment: an hour of a model unit, no token price.
    HourlyUnit,
    /// Provisioned throughput bought for a month.
    HourlyUnit1Month,
    /// Provisioned throughput bought for six months.
    HourlyUnit6Months,
}

macro_rules! words {
    ($type:ty { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// Returns the word of price files.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads the word of price files.
            #[must_use]
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words!(Endpoint { Runtime = "runtime", Mantle = "mantle", ClaudePlatform = "claude_platform" });
words!(Tier {
    Standard = "standard",
    Flex = "flex",
    Priority = "priority",
    Batch = "batch",
    Ultrafast = "ultrafast",
    HourlyUnit = "provisioned",
    HourlyUnit1Month = "provisioned_1_month",
    HourlyUnit6Months = "provisioned_6_months",
});

impl Tier {
    /// Returns the tier of a log; `None` for reserved capacity, which has no token price.
    #[must_use]
    pub const fn of(tier: ServiceTier) -> Option<Self> {
        match tier {
            ServiceTier::Standard => Some(Self::Standard),
            ServiceTier::Flex => Some(Self::Flex),
            ServiceTier::Priority => Some(Self::Priority),
            ServiceTier::Batch => Some(Self::Batch),
            ServiceTier::Reserved => None,
        }
    }
}

impl Scope {
    /// Reads `in_region`, `geo:us`, `global`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "in_region" => Some(Self::InRegion),
            "global" => Some(Self::Global),
            _ => word.strip_prefix("geo:").filter(|geo| !geo.is_empty()).map(|geo| Self::Geo(geo.to_owned())),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InRegion => f.write_str("in_region"),
            Self::Geo(prefix) => write!(f, "geo:{prefix}"),
            Self::Global => f.write_str("global"),
        }
    }
}

/// What a card prices: at any moment at most one card is valid for a key (invariant C9).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PriceKey {
    /// Canonical model id, without profile prefix.
    pub model: String,
    /// Door.
    pub endpoint: Endpoint,
    /// Routing scope.
    pub scope: Scope,
    /// Source region, or [`ANY_REGION`].
    pub region: String,
    /// Tier.
    pub tier: Tier,
}

impl fmt::Display for PriceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.model, self.scope, self.region, self.tier.as_str())?;
        if self.endpoint == Endpoint::Runtime { Ok(()) } else { write!(f, " ({})", self.endpoint.as_str()) }
    }
}

/// Prices of the five token classes; `None` where no price is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenRates {
    /// Uncached prompt tokens.
    pub input: Option<UnitPrice>,
    /// Generated tokens.
    pub output: Option<UnitPrice>,
    /// Prompt tokens read from the cache.
    pub cache_read: Option<UnitPrice>,
    /// Prompt tokens written to the cache for five minutes.
    pub cache_write_5m: Option<UnitPrice>,
    /// Prompt tokens written to the cache for one hour.
    pub cache_write_1h: Option<UnitPrice>,
}

impl TokenRates {
    /// Returns the classes with their words in price files.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Option<UnitPrice>)> {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write_5m", self.cache_write_5m),
            ("cache_write_1h", self.cache_write_1h),
        ]
        .into_iter()
    }

    /// Returns the place of a class by its word in price files.
    pub fn slot(&mut self, word: &str) -> Option<&mut Option<UnitPrice>> {
        Some(match word {
            "input" => &mut self.input,
            "output" => &mut self.output,
            "cache_read" => &mut self.cache_read,
            "cache_write_5m" => &mut self.cache_write_5m,
            "cache_write_1h" => &mut self.cache_write_1h,
            _ => return None,
        })
    }

    /// Tells whether no class has a price.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.named().all(|(_, price)| price.is_none())
    }

    pub(super) fn for_each(&mut self, change: impl Fn(UnitPrice) -> UnitPrice) {
        for price in [&mut self.input, &mut self.output, &mut self.cache_read, &mut self.cache_write_5m, &mut self.cache_write_1h] {
            *price = price.map(&change);
        }
    }
}

/// Long-context step: a prompt of more than `above` tokens, cached ones included, is priced as a whole at these rates.
///
/// An empty step says that such prompts have another price and that it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The step applies from `above + 1` tokens on.
    pub above: u64,
    /// Rates of the whole request.
    pub tokens: TokenRates,
}

/// A unit beside the five token classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A token of speech in the prompt.
    InputAudioToken,
    /// A token of speech in the answer.
    OutputAudioToken,
    /// A token of an image in the prompt.
    InputImageToken,
    /// An image in the request of an embedding model.
    InputImage,
    /// A second of video in the request.
    InputVideoSecond,
    /// A second of audio in the request.
    InputAudioSecond,
    /// A second of generated video.
    OutputVideoSecond,
    /// A query of a rerank call.
    Query,
    /// A search by the model's own web search tool.
    WebSearch,
    /// An hour of a provisioned model unit.
    ModelUnitHour,
    /// Guardrail text unit: topic policy.
    GuardrailTopic,
    /// Guardrail text unit: content policy.
    GuardrailContent,
    /// Guardrail text unit: word policy.
    GuardrailWord,
    /// Guardrail text unit: sensitive information.
    GuardrailSensitive,
    /// Guardrail text unit: sensitive information by pattern, free.
    GuardrailSensitiveFree,
    /// Guardrail text unit: contextual grounding.
    GuardrailGrounding,
    /// Guardrail image unit: content policy.
    GuardrailContentImage,
    /// Guardrail text unit: automated reasoning.
    GuardrailReasoning,
}

words!(Unit {
    InputAudioToken = "input_audio",
    OutputAudioToken = "output_audio",
    InputImageToken = "input_image_token",
    InputImage = "input_image",
    InputVideoSecond = "input_video_second",
    InputAudioSecond = "input_audio_second",
    OutputVideoSecond = "output_video_second",
    Query = "query",
    WebSearch = "web_search",
    ModelUnitHour = "model_unit_hour",
    GuardrailTopic = "guardrail_topic",
    GuardrailContent = "guardrail_content",
    GuardrailWord = "guardrail_word",
    GuardrailSensitive = "guardrail_sensitive",
    GuardrailSensitiveFree = "guardrail_sensitive_free",
    GuardrailGrounding = "guardrail_grounding",
    GuardrailContentImage = "guardrail_content_image",
    GuardrailReasoning = "guardrail_reasoning",
});

impl Unit {
    /// Tells whether price files write the unit per million, as they do tokens.
    #[must_use]
    pub const fn is_token(self) -> bool {
        matches!(self, Self::InputAudioToken | Self::OutputAudioToken | Self::InputImageToken)
    }
}

/// Price of one generated image within bounds; the tightest that fits holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageRate {
    /// Longest side in pixels; `None` is unbounded.
    pub max_side: Option<u32>,
    /// Diffusion steps; `None` is unbounded.
    pub max_steps: Option<u32>,
    /// `standard`, `premium`, or empty for both.
    pub quality: String,
    /// Price of one image.
    pub price: UnitPrice,
}

/// Prices of one key over one span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateCard {
    /// What it prices.
    pub key: PriceKey,
    /// First moment at which it holds.
    pub effective_from: Micros,
    /// First moment at which it no longer holds; `None` while nothing supersedes it.
    pub effective_to: Option<Micros>,
    /// Version of the price list it came from, as `price_version` of the facts names it.
    pub version: Arc<str>,
    /// Where the prices were read.
    pub source: Arc<str>,
    /// Prices by token class.
    pub tokens: TokenRates,
    /// Long-context steps, lowest first.
    pub steps: Vec<Step>,
    /// Prices of other units.
    pub units: BTreeMap<Unit, UnitPrice>,
    /// Prices of generated images, tightest bounds first.
    pub images: Vec<ImageRate>,
}

impl RateCard {
    /// Returns a card without prices that holds from `effective_from` on.
    #[must_use]
    pub fn new(key: PriceKey, effective_from: Micros) -> Self {
        Self {
            key,
            effective_from,
            effective_to: None,
            version: Arc::from(""),
            source: Arc::from(""),
            tokens: TokenRates::default(),
            steps: Vec::new(),
            units: BTreeMap::new(),
            images: Vec::new(),
        }
    }

    /// Tells whether it holds at a moment.
    #[must_use]
    pub fn holds_at(&self, at: Micros) -> bool {
        self.effective_from <= at && self.effective_to.is_none_or(|to| at < to)
    }

    /// Returns every price with the name of what it prices: `input`, `above_200000.input`, `query`, `image.512.50-steps`.
    #[must_use]
    pub fn items(&self) -> BTreeMap<String, UnitPrice> {
        let mut items = BTreeMap::new();
        let mut add = |prefix: &str, tokens: &TokenRates| {
            items.extend(tokens.named().filter_map(|(name, price)| Some((format!("{prefix}{name}"), price?))));
        };
        add("", &self.tokens);
        for step in &self.steps {
            add(&format!("above_{}.", step.above), &step.tokens);
        }
        items.extend(self.units.iter().map(|(unit, price)| (unit.as_str().to_owned(), *price)));
        for image in &self.images {
            let side = image.max_side.map_or("any".to_owned(), |side| side.to_string());
            let steps = image.max_steps.map_or("any".to_owned(), |steps| steps.to_string());
            let quality = if image.quality.is_empty() { "any" } else { &image.quality };
            items.insert(format!("image.side_{side}.steps_{steps}.{quality}"), image.price);
        }
        items
    }

    pub(super) fn for_each_price(&mut self, change: impl Fn(UnitPrice) -> UnitPrice) {
        self.tokens.for_each(&change);
        self.steps.iter_mut().for_each(|step| step.tokens.for_each(&change));
        self.units.values_mut().for_each(|price| *price = change(*price));
        self.images.iter_mut().for_each(|image| image.price = change(image.price));
    }
}
