//! Units a call consumed: tokens by class, images, guardrail text units, and how well they are known.

use serde::{Deserialize, Serialize};

/// Largest token count of one class accepted from a record: 2⁴⁰.
pub const MAX_TOKENS: u64 = 1 << 40;

/// Tokens of one call by the five classes that AWS prices apart.
///
/// `input` excludes cached tokens, as `inputTokenCount` of the invocation log does: the whole prompt is
/// `input + cache_read + cache_write_5m + cache_write_1h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Uncached prompt tokens.
    pub input: u64,
    /// Generated tokens.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Prompt tokens written to the cache for one hour.
    pub cache_write_1h: u64,
}

impl Usage {
    /// Returns the tokens of the whole prompt, cached ones included: what long-context thresholds count.
    #[must_use]
    pub const fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write_5m).saturating_add(self.cache_write_1h)
    }

    /// Tells whether every class is zero.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.prompt() == 0 && self.output == 0
    }
}

/// What the usage of a call rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostBasis {
    /// Complete: nothing that could change the cost was missing.
    #[default]
    Exact,
    /// The body that alone splits cache writes by lifetime was offloaded or not delivered: writes are booked as
    /// five-minute ones and `cost_max_usd` holds the bound with all of them at one hour.
    Envelope,
    /// Metered from CloudTrail's token counts where no invocation log was written: cached tokens are not among them.
    LowerBound,
}

impl CostBasis {
    /// Every basis.
    pub const ALL: [Self; 3] = [Self::Exact, Self::Envelope, Self::LowerBound];

    /// Reads the word stored in the lake.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|basis| basis.as_str() == word)
    }

    /// Returns the word stored in the lake.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Envelope => "envelope",
            Self::LowerBound => "lower_bound",
        }
    }
}

/// Service tier of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceTier {
    /// On-demand; also when the log does not tell (`InvokeModel` names the tier only in a header that is not logged).
    #[default]
    Standard,
    /// Half price, best effort.
    Flex,
    /// Faster, dearer.
    Priority,
    /// Batch inference.
    Batch,
    /// Capacity bought ahead: no per-token price.
    Reserved,
}

impl ServiceTier {
    /// Returns the word stored in the lake.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
            Self::Reserved => "reserved",
        }
    }

    /// Reads the word of a log (`default` and `standard` are one) or of a price file.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "default" | "standard" => Self::Standard,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            "batch" => Self::Batch,
            "reserved" => Self::Reserved,
            _ => return None,
        })
    }
}

/// Billed text or image units of Bedrock Guardrails, summed over all assessments of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardrailUnits {
    /// `topicPolicyUnits`.
    pub topic: u64,
    /// `contentPolicyUnits`.
    pub content: u64,
    /// `wordPolicyUnits`.
    pub word: u64,
    /// `sensitiveInformationPolicyUnits`.
    pub sensitive: u64,
    /// `sensitiveInformationPolicyFreeUnits`.
    pub sensitive_free: u64,
    /// `contextualGroundingPolicyUnits`.
    pub grounding: u64,
    /// `contentPolicyImageUnits`.
    pub content_image: u64,
    /// `automatedReasoningPolicyUnits`.
    pub reasoning: u64,
}

/// Units beside tokens; most calls have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extras {
    /// Images the request asked for (`imageGenerationConfig.numberOfImages`, 1 when the body names none).
    pub images: u64,
    /// Images in the request of an embedding model.
    pub input_images: u64,
    /// Width in pixels, 0 when not told.
    pub image_width: u32,
    /// Height in pixels, 0 when not told.
    pub image_height: u32,
    /// `standard`, `premium` or empty.
    pub image_quality: String,
    /// Diffusion steps, 0 when not told.
    pub image_steps: u32,
    /// Queries of a rerank call.
    pub queries: u64,
    /// Milliseconds of generated video.
    pub video_ms: u64,
    /// Guardrail units.
    pub guardrail: GuardrailUnits,
}
