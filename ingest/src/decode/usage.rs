//! Token counts: what the envelope and the body each tell, and what they add up to.
//!
//! The envelope's counts win; a body supplies what the envelope lacks, and alone tells how long cache writes live.
//! Where the body's split does not add up to the envelope's count of cache writes, that count stands: as many of it as the
//! body says are one-hour writes, the rest five-minute ones.

use sluice_schemas::usage::MAX_TOKENS;
use sluice_schemas::{CostBasis, Usage};

use super::body::lenient_u32;
use super::fault::{Fault, Field};
use super::number;
use super::scan::Scanner;

/// Counts as Bedrock itself writes them: `input` without cached tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// `inputTokenCount`.
    pub(super) input: Option<u64>,
    /// `outputTokenCount`.
    pub(super) output: Option<u64>,
    /// `cacheReadInputTokenCount`.
    pub(super) cache_read: Option<u64>,
    /// `cacheWriteInputTokenCount`.
    pub(super) cache_write: Option<u64>,
}

impl Counts {
    /// Fills what is absent from `other`.
    fn or(self, other: &Self) -> Self {
        Self {
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            cache_read: self.cache_read.or(other.cache_read),
            cache_write: self.cache_write.or(other.cache_write),
        }
    }
}

/// How many cache writes live how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Split {
    five_minutes: u64,
    one_hour: u64,
}

/// What a body tells about tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BodyUsage {
    /// A usage object was read.
    pub(super) read: bool,
    counts: Counts,
    /// The last `amazon-bedrock-invocationMetrics`.
    metrics: Counts,
    /// Prompt tokens with the cached ones among them, and how many those are: the usage of OpenAI-shaped answers.
    prompt: Option<u64>,
    cached: Option<u64>,
    split: Option<Split>,
}

impl BodyUsage {
    /// Overrides count by count with a later reading.
    pub(super) fn merge(&mut self, later: &Self) {
        *self = Self {
            read: self.read || later.read,
            counts: later.counts.or(&self.counts),
            metrics: later.metrics.or(&self.metrics),
            prompt: later.prompt.or(self.prompt),
            cached: later.cached.or(self.cached),
            split: later.split.or(self.split),
        };
    }

    /// Adds envelope and body up.
    pub(super) fn resolve(&self, envelope: Counts) -> Result<(Usage, CostBasis), Fault> {
        let counted = envelope.or(&self.metrics);
        let written_by_split = self.split.map(|split| split.five_minutes.saturating_add(split.one_hour));
        let write = counted.cache_write.or(self.counts.cache_write).or(written_by_split).unwrap_or(0);
        let one_hour = self.split.map_or(0, |split| split.one_hour.min(write));
        let (input, cache_read) = self.prompt_tokens(&counted)?;
        let usage = Usage {
            input,
            output: counted.output.or(self.counts.output).unwrap_or(0),
            cache_read,
            cache_write_5m: write - one_hour,
            cache_write_1h: one_hour,
        };
        if write > MAX_TOKENS {
            return Err(Fault::OutOfRange(Field::Usage));
        }
        Ok((usage, if write > 0 && self.split.is_none() { CostBasis::Envelope } else { CostBasis::Exact }))
    }

    /// Uncached and cached prompt tokens. Where the cached ones are known only as part of an OpenAI-shaped prompt, they are
    /// taken out of it, and out of the envelope's count when that is the same whole prompt.
    fn prompt_tokens(&self, counted: &Counts) -> Result<(u64, u64), Fault> {
        let cache_read = counted.cache_read.or(self.counts.cache_read);
        let (None, Some(prompt), Some(cached)) = (cache_read, self.prompt, self.cached) else {
            let input = counted.input.or(self.counts.input).or(self.prompt);
            return Ok((input.unwrap_or(0), cache_read.unwrap_or(0)));
        };
        match counted.input {
            Some(input) if input != prompt => Ok((input, cached)),
            _ => match prompt.checked_sub(cached) {
                Some(uncached) => Ok((uncached, cached)),
                None => Err(Fault::OutOfRange(Field::Usage)),
            },
        }
    }
}

/// What a key of a usage object holds.
#[derive(Clone, Copy)]
enum Slot {
    Input,
    Prompt,
    Output,
    CacheRead,
    CacheWrite,
    NovaCacheWrite,
    CacheCreation,
    CacheDetails,
    PromptDetails,
}

/// The spellings of Anthropic, Converse, Nova and OpenAI.
const KEYS: [(&[u8], Slot); 15] = [
    (b"input_tokens", Slot::Input),
    (b"output_tokens", Slot::Output),
    (b"cache_creation_input_tokens", Slot::CacheWrite),
    (b"cache_read_input_tokens", Slot::CacheRead),
    (b"cache_creation", Slot::CacheCreation),
    (b"inputTokens", Slot::Input),
    (b"outputTokens", Slot::Output),
    (b"cacheReadInputTokens", Slot::CacheRead),
    (b"cacheWriteInputTokens", Slot::CacheWrite),
    (b"cacheDetails", Slot::CacheDetails),
    (b"cacheReadInputTokenCount", Slot::CacheRead),
    (b"cacheWriteInputTokenCount", Slot::NovaCacheWrite),
    (b"prompt_tokens", Slot::Prompt),
    (b"completion_tokens", Slot::Output),
    (b"prompt_tokens_details", Slot::PromptDetails),
];
/// As `prompt_tokens_details`, but tells that `input_tokens` is the whole prompt.
const INPUT_DETAILS: &[u8] = b"input_tokens_details";

/// Reads a `usage` object into `usage`, over what was there.
pub(super) fn read_usage(scanner: &mut Scanner<'_>, usage: &mut BodyUsage) -> Result<(), Fault> {
    let (mut found, mut seen, mut whole_prompt) = (BodyUsage { read: true, ..BodyUsage::default() }, 0_u32, false);
    object_or_null(scanner, |scanner, key| {
        let at = KEYS.iter().position(|(name, _)| *name == key);
        let (bit, slot) = match at {
            Some(at) => (at, KEYS[at].1),
            None if key == INPUT_DETAILS => (KEYS.len(), Slot::PromptDetails),
            None => return scanner.skip_any(),
        };
        if seen >> bit & 1 == 1 {
            return Err(Fault::Duplicate(Field::Usage));
        }
        seen |= 1 << bit;
        whole_prompt |= bit == KEYS.len();
        match slot {
            Slot::Input => found.counts.input = read_count(scanner)?,
            Slot::Prompt => found.prompt = read_count(scanner)?,
            Slot::Output => found.counts.output = read_count(scanner)?,
            Slot::CacheRead => found.counts.cache_read = read_count(scanner)?,
            Slot::CacheWrite => found.counts.cache_write = read_count(scanner)?,
            Slot::NovaCacheWrite => {
                found.counts.cache_write = read_count(scanner)?;
                // The spelling of Nova, which caches for five minutes alone.
                found.split = found.split.or(found.counts.cache_write.map(|five_minutes| Split { five_minutes, one_hour: 0 }));
            }
            Slot::CacheCreation => found.split = read_creation(scanner)?.or(found.split),
            Slot::CacheDetails => found.split = read_details(scanner)?.or(found.split),
            Slot::PromptDetails => object_or_null(scanner, |scanner, key| match key {
                b"cached_tokens" => read_count(scanner).map(|cached| found.cached = cached),
                _ => scanner.skip_any(),
            })?,
        }
        Ok(())
    })?;
    if whole_prompt {
        found.prompt = found.prompt.or(found.counts.input.take());
    }
    usage.merge(&found);
    Ok(())
}

/// Reads `amazon-bedrock-invocationMetrics`; returns its latency.
pub(super) fn read_metrics(scanner: &mut Scanner<'_>, usage: &mut BodyUsage) -> Result<Option<u32>, Fault> {
    let (mut found, mut latency) = (Counts::default(), None);
    object_or_null(scanner, |scanner, key| {
        match key {
            b"inputTokenCount" => found.input = read_count(scanner)?,
            b"outputTokenCount" => found.output = read_count(scanner)?,
            b"cacheReadInputTokenCount" => found.cache_read = read_count(scanner)?,
            b"cacheWriteInputTokenCount" => found.cache_write = read_count(scanner)?,
            b"invocationLatency" => latency = lenient_u32(scanner)?,
            _ => scanner.skip_any()?,
        }
        Ok(())
    })?;
    usage.metrics = found.or(&usage.metrics);
    Ok(latency)
}

/// `{"ephemeral_5m_input_tokens": n, "ephemeral_1h_input_tokens": n}`.
fn read_creation(scanner: &mut Scanner<'_>) -> Result<Option<Split>, Fault> {
    let (mut five_minutes, mut one_hour) = (None, None);
    object_or_null(scanner, |scanner, key| {
        match key {
            b"ephemeral_5m_input_tokens" => five_minutes = read_count(scanner)?,
            b"ephemeral_1h_input_tokens" => one_hour = read_count(scanner)?,
            _ => scanner.skip_any()?,
        }
        Ok(())
    })?;
    let told = five_minutes.is_some() || one_hour.is_some();
    Ok(told.then(|| Split { five_minutes: five_minutes.unwrap_or(0), one_hour: one_hour.unwrap_or(0) }))
}

/// `[{"ttl": "1h", "inputTokens": n}, {"ttl": "5m", "inputTokens": n}]`; a lifetime without a name here leaves the split
/// untold.
fn read_details(scanner: &mut Scanner<'_>) -> Result<Option<Split>, Fault> {
    let (mut split, mut told, mut strange) = (Split::default(), false, false);
    if scanner.peek() != Some(b'[') {
        return null(scanner).map(|()| None);
    }
    scanner.array(|scanner| {
        let (mut one_hour, mut tokens) = (None, None);
        object_or_null(scanner, |scanner, key| {
            match key {
                b"ttl" if scanner.peek() == Some(b'"') => one_hour = lifetime(&scanner.string()?.bytes()?),
                b"inputTokens" => tokens = read_count(scanner)?,
                _ => scanner.skip_any()?,
            }
            Ok(())
        })?;
        told = true;
        match one_hour {
            Some(true) => split.one_hour = split.one_hour.saturating_add(tokens.unwrap_or(0)),
            Some(false) => split.five_minutes = split.five_minutes.saturating_add(tokens.unwrap_or(0)),
            None => strange = true,
        }
        Ok(())
    })?;
    Ok((told && !strange).then_some(split))
}

/// Whether a cache entry lives an hour rather than five minutes; `None` for another lifetime.
fn lifetime(ttl: &[u8]) -> Option<bool> {
    match ttl {
        b"1h" => Some(true),
        b"5m" => Some(false),
        _ => None,
    }
}

fn read_count(scanner: &mut Scanner<'_>) -> Result<Option<u64>, Fault> {
    scanner.peek();
    number::count(scanner.scalar(), Field::Usage)
}

fn null(scanner: &mut Scanner<'_>) -> Result<(), Fault> {
    scanner.peek();
    if scanner.scalar() == b"null" { Ok(()) } else { Err(Fault::Malformed(Field::Usage)) }
}

fn object_or_null(scanner: &mut Scanner<'_>, each: impl FnMut(&mut Scanner<'_>, &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    match scanner.peek() {
        Some(b'{') => scanner.object(each),
        _ => null(scanner),
    }
}
