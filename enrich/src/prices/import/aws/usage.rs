//! Usage types of AWS price lists: which meter of which model a price is for.
//!
//! A usage type with a word that is not known is refused, so that a new tier or meter is never taken for an old one.
//! Sources: "Understanding your Amazon Bedrock Cost and Usage Report data", Amazon Bedrock User Guide.

use super::super::super::card::{Tier, Unit};
use super::words::words;

/// What a usage type meters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    /// A token class, by its word in price files.
    Tokens(&'static str),
    /// A unit beside the five token classes.
    Unit(Unit),
    /// An image of at most this side, in this quality; both may be open.
    Image { max_side: Option<u32>, quality: String },
}

/// A usage type, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageType {
    /// Billing code of the region, for example `USE1`.
    pub(crate) place: String,
    /// Name of the model as far as it is in the usage type; empty for the Marketplace.
    pub(crate) name: String,
    /// The name is the model id of the `bedrock-mantle` endpoint.
    pub(crate) mantle: bool,
    pub(crate) meter: Meter,
    pub(crate) tier: Tier,
    pub(crate) global: bool,
    pub(crate) long_context: bool,
}

/// Words of a meter that add nothing.
const FILLERS: &[&str] =
    &["token", "tokens", "count", "standard", "cross", "region", "text", "min", "m", "h", "hr", "hour", "1", "5", "30", "unit", "units"];

/// Reads a usage type.
pub(crate) fn parse(usage_type: &str) -> Result<UsageType, String> {
    let split = usage_type.find(['-', '_']).ok_or("no billing region in it")?;
    let (place, rest) = (&usage_type[..split], &usage_type[split + 1..]);
    if place.is_empty() || !place.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
        return Err("no billing region in it".to_owned());
    }
    let marketplace = rest.strip_prefix("MP:").and_then(|rest| rest.split_once('_')).map(|(_, rest)| rest);
    let rest = marketplace.unwrap_or(rest);
    let rest = rest.strip_suffix("-Units").unwrap_or(rest);
    let read = |name: &str, mantle, (meter, flags): (Meter, Flags)| UsageType {
        place: place.to_owned(),
        name: name.to_owned(),
        mantle,
        meter,
        tier: flags.tier,
        global: flags.global,
        long_context: flags.long_context,
    };
    if let Some(policy) = rest.strip_prefix("Guardrail-") {
        let unit = guardrail(policy).ok_or("unknown guardrail unit")?;
        return Ok(read("", false, (Meter::Unit(unit), Flags::default())));
    }
    if let Some((id, meter)) = rest.split_once("-mantle-") {
        return Ok(read(id, true, tokens(&words(meter))?));
    }
    if let Some((name, term)) = rest.split_once("ProvisionedThroughput") {
        let flags = Flags { tier: provisioned(term)?, ..Flags::default() };
        return Ok(read(name.trim_matches(['-', '_']), false, (Meter::Unit(Unit::ModelUnitHour), flags)));
    }
    if let Some((name, image)) = ["-T2I-", "-I2I-"].iter().find_map(|kind| rest.split_once(kind)) {
        return Ok(read(name, false, (image_meter(image)?, Flags::default())));
    }
    let at = meter_start(rest).ok_or("no meter known to this program")?;
    let (name, meter) = rest.split_at(at);
    Ok(read(name.trim_matches(['-', '_']), false, tokens(&words(meter))?))
}

/// Returns where the meter begins: at the first part that names one, as in `NovaPro-input-tokens`.
fn meter_start(rest: &str) -> Option<usize> {
    const STARTS: &[&str] = &["input", "output", "response", "cache", "search", "created", "speech", "reserved"];
    let mut from = 0;
    for part in rest.split(['-', '_']) {
        let first = words(part).into_iter().next().unwrap_or_default();
        if STARTS.contains(&first.as_str()) {
            return Some(from);
        }
        from += part.len() + 1;
    }
    None
}

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    tier: Tier,
    global: bool,
    long_context: bool,
}

/// Reads the words of a meter: what is counted, then tier, scope and context length in any order.
fn tokens(words: &[String]) -> Result<(Meter, Flags), String> {
    let has = |word: &str| words.iter().any(|other| other == word);
    if has("reserved") || has("tpm") {
        return Err("reserved capacity has no token price".to_owned());
    }
    if has("custom") || has("customization") || has("training") {
        return Err("prices of custom models are not kept: their base model is not in the log".to_owned());
    }
    let mut flags = Flags::default();
    for word in words {
        match word.as_str() {
            "flex" => flags.tier = Tier::Flex,
            "priority" => flags.tier = Tier::Priority,
            "batch" => flags.tier = Tier::Batch,
            "latency" | "optimized" => flags.tier = Tier::Ultrafast,
            "global" => flags.global = true,
            "long" | "ctx" | "context" => flags.long_context = true,
            "input" | "output" | "response" | "cache" | "read" | "write" | "speech" | "image" | "search" | "created" => {}
            filler if FILLERS.contains(&filler) => {}
            other => return Err(format!("unknown word '{other}'")),
        }
    }
    let hour = words.windows(2).any(|pair| pair[0] == "1" && matches!(pair[1].as_str(), "h" | "hr" | "hour"));
    let token = has("token") || has("tokens");
    let meter = match () {
        () if has("search") => Meter::Unit(Unit::Query),
        () if has("created") && has("image") => Meter::Image { max_side: None, quality: String::new() },
        () if has("image") && has("input") && !token => Meter::Unit(Unit::InputImage),
        () if has("image") && has("input") => Meter::Unit(Unit::InputImageToken),
        () if has("speech") && has("input") => Meter::Unit(Unit::InputAudioToken),
        () if has("speech") && has("output") => Meter::Unit(Unit::OutputAudioToken),
        () if has("image") || has("speech") || !token => return Err("no meter known to this program".to_owned()),
        () if has("cache") && has("read") => Meter::Tokens("cache_read"),
        () if has("cache") && has("write") && hour => Meter::Tokens("cache_write_1h"),
        () if has("cache") && has("write") => Meter::Tokens("cache_write_5m"),
        () if has("output") || has("response") => Meter::Tokens("output"),
        () if has("input") => Meter::Tokens("input"),
        () => return Err("no meter known to this program".to_owned()),
    };
    Ok((meter, flags))
}

/// Tells what usage no invocation log tells of, where [`parse`] refuses its usage type.
pub(crate) fn never_logged(usage_type: &str) -> Option<NeverLogged> {
    let words = words(usage_type);
    let has = |word: &str| words.iter().any(|other| other == word);
    let video = ["-T2V", "-I2V", "-V2V"].iter().any(|kind| usage_type.contains(kind));
    match () {
        () if has("reserved") || has("tpm") => Some(NeverLogged::Reserved),
        () if has("provisioned") => Some(NeverLogged::Provisioned),
        () if has("customization") || has("training") || (has("custom") && has("storage")) => Some(NeverLogged::Customization),
        () if has("batch") => Some(NeverLogged::Batch),
        () if usage_type.contains("-mantle-") => Some(NeverLogged::Mantle),
        () if video => Some(NeverLogged::Async),
        () if has("speech") => Some(NeverLogged::Bidirectional),
        () if has("guardrail") || usage_type.contains("GuardrailChecks-") => Some(NeverLogged::Guardrail),
        () => None,
    }
}

/// Usage that no invocation log tells of ("Monitor model invocation using CloudWatch Logs and Amazon S3", Amazon Bedrock User Guide,
/// lists the operations that are logged).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NeverLogged {
    Batch,
    Mantle,
    Provisioned,
    Reserved,
    Customization,
    Async,
    Bidirectional,
    Guardrail,
}

fn provisioned(term: &str) -> Result<Tier, String> {
    let term = words(term);
    let has = |word: &str| term.iter().any(|other| other == word);
    match () {
        () if has("no") && has("commit") => Ok(Tier::HourlyUnit),
        () if has("1") && has("month") => Ok(Tier::HourlyUnit1Month),
        () if has("6") && (has("month") || has("months")) => Ok(Tier::HourlyUnit6Months),
        () => Err("provisioned throughput of an unknown term".to_owned()),
    }
}

/// Reads `1024-Standard`.
fn image_meter(text: &str) -> Result<Meter, String> {
    let words = words(text);
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [side, quality @ ("standard" | "premium")] => {
            let side = side.parse().map_err(|_| format!("unknown size '{side}'"))?;
            Ok(Meter::Image { max_side: Some(side), quality: (*quality).to_owned() })
        }
        _ => Err("an image price of unknown form".to_owned()),
    }
}

fn guardrail(policy: &str) -> Option<Unit> {
    Some(match policy {
        "TopicPolicyUnitsConsumed" => Unit::GuardrailTopic,
        "ContentPolicyUnitsConsumed" => Unit::GuardrailContent,
        "WordPolicyUnitsConsumed" => Unit::GuardrailWord,
        "SensitiveInformationPolicyPaidUnitsConsumed" => Unit::GuardrailSensitive,
        "SensitiveInformationPolicyFreeUnitsConsumed" => Unit::GuardrailSensitiveFree,
        "ContextualGroundingPolicyUnitsConsumed" => Unit::GuardrailGrounding,
        "ContentPolicyImageUnitsConsumed" => Unit::GuardrailContentImage,
        "AutomatedReasoningPolicyUnitsConsumed" => Unit::GuardrailReasoning,
        _ => return None,
    })
}

/// Returns the region of a billing code, for products without a `regionCode`.
pub(crate) fn region_of(place: &str) -> Option<&'static str> {
    Some(match place {
        "USE1" => "us-east-1",
        "USE2" => "us-east-2",
        "USW1" => "us-west-1",
        "USW2" => "us-west-2",
        "UGE1" => "us-gov-east-1",
        "UGW1" => "us-gov-west-1",
        "CAN1" => "ca-central-1",
        "SAE1" => "sa-east-1",
        "EU" | "EUW1" => "eu-west-1",
        "EUW2" => "eu-west-2",
        "EUW3" => "eu-west-3",
        "EUC1" => "eu-central-1",
        "EUC2" => "eu-central-2",
        "EUN1" => "eu-north-1",
        "EUS1" => "eu-south-1",
        "EUS2" => "eu-south-2",
        "APN1" => "ap-northeast-1",
        "APN2" => "ap-northeast-2",
        "APN3" => "ap-northeast-3",
        "APS1" => "ap-southeast-1",
        "APS2" => "ap-southeast-2",
        "APS3" => "ap-south-1",
        "APS4" => "ap-southeast-3",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
