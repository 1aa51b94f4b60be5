//! The price of one call: units × prices at its event time, summed exactly, rounded once.
//!
//! Unknown is never zero: a unit that was consumed and has no price makes the whole call unpriced. There is no fallback from
//! one token class to another (a missing cache price is not the input price), nor from one tier to another.

use std::sync::Arc;

use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{CostBasis, Extras, Micros, PicoUsd, PriceStatus, Usage};

use super::card::{RateCard, TokenRates, Unit};
use super::decimal::{UnitPrice, round_half_even, to_pico};
use super::image;

/// A count and a price up to which their product cannot overflow.
const FAST_COUNT: u64 = 1 << 40;
const FAST_STEPS: u128 = 1 << 84;

/// Why a call has no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnpricedReason {
    /// No card knows the model.
    #[default]
    UnknownModel,
    /// The model is known, but not in this scope, region and tier at this time.
    NoCard,
    /// The call consumed a unit that the card does not price.
    NoRate,
    /// The model is priced by units that the log of this call does not tell.
    UnitsNotLogged,
    /// An application inference profile that no alias resolves to its model.
    ApplicationProfile,
    /// A custom model: its base model is not in the log.
    CustomModel,
    /// An imported model: priced by copies and minutes, which are not in the log.
    ImportedModel,
    /// A prompt router: the model it chose is not in the log.
    PromptRouter,
    /// The exact cost does not fit.
    Overflow,
}

impl UnpricedReason {
    /// Returns a short stable word for counters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownModel => "unknown_model",
            Self::NoCard => "no_card",
            Self::NoRate => "no_rate",
            Self::UnitsNotLogged => "units_not_logged",
            Self::ApplicationProfile => "application_profile",
            Self::CustomModel => "custom_model",
            Self::ImportedModel => "imported_model",
            Self::PromptRouter => "prompt_router",
            Self::Overflow => "overflow",
        }
    }
}

/// What prices the calls of one kind over all time, as [`super::Catalogue::resolve`] found it.
#[derive(Clone, Debug, Default)]
pub struct ProfileRates {
    /// Canonical model; the logged id when unknown.
    pub model: String,
    /// `in_region`, `geo:us`, `global`, or empty when unknown.
    pub scope: String,
    /// Paid by the hour or in advance: no price per token.
    pub no_token_price: bool,
    /// Why a call is unpriced when no card holds at its time.
    pub why_unpriced: UnpricedReason,
    /// Cards that do not overlap, earliest first.
    pub(super) cards: Vec<Arc<RateCard>>,
    /// Cards of guardrail units.
    pub(super) guardrails: Vec<Arc<RateCard>>,
}

/// Price of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<'a> {
    /// Cost; zero unless priced.
    pub cost: PicoUsd,
    /// Upper bound where the log leaves the cost open; equals `cost` otherwise.
    pub cost_max: PicoUsd,
    /// Whether there is a price.
    pub status: PriceStatus,
    /// Version of the card that priced it; empty unless priced.
    pub price_version: &'a str,
    /// Why there is no price; `None` unless unpriced.
    pub reason: Option<UnpricedReason>,
}

/// Exact sums of a call, in [`UnitPrice::steps`].
#[derive(Clone, Copy, Default)]
struct Sum {
    cost: u128,
    cost_max: u128,
}

impl ProfileRates {
    /// Returns the card that holds at a moment.
    #[must_use]
    pub fn card_at(&self, at: Micros) -> Option<&RateCard> {
        card_at(&self.cards, at)
    }

    /// Prices one call. `failed` is a call with an error code: what it consumed nevertheless is priced, the images and
    /// queries it only asked for are not.
    #[must_use]
    pub fn quote(&self, at: Micros, usage: &Usage, extras: Option<&Extras>, basis: CostBasis, failed: bool) -> Quote<'_> {
        let guardrail = extras.map(|extras| extras.guardrail).filter(|units| *units != GuardrailUnits::default());
        if failed && usage.is_zero() && guardrail.is_none() {
            return no_charge();
        }
        let model = if self.no_token_price {
            Ok(None)
        } else {
            let card = self.card_at(at).ok_or(self.why_unpriced);
            card.and_then(|card| Ok(Some((price_model(card, usage, extras, basis, failed)?, card))))
        };
        let guarded = guardrail.map(|units| price_guardrail(&self.guardrails, at, &units)).transpose();
        let (model, guarded) = match (model, guarded) {
            (Ok(model), Ok(guarded)) => (model, guarded),
            (Err(reason), _) | (_, Err(reason)) => return unpriced(reason),
        };
        let Some((_, card)) = model.or(guarded) else { return no_charge() };
        match add(model.map_or(Sum::default(), |(sum, _)| sum), guarded.map_or(Sum::default(), |(sum, _)| sum)) {
            Ok(sum) => priced(sum, &card.version),
            Err(reason) => unpriced(reason),
        }
    }
}

fn priced(sum: Sum, price_version: &str) -> Quote<'_> {
    let cost = to_pico(sum.cost);
    let cost_max = if sum.cost_max == sum.cost { cost } else { to_pico(sum.cost_max) };
    Quote { cost, cost_max, status: PriceStatus::Priced, price_version, reason: None }
}

const fn no_charge() -> Quote<'static> {
    Quote { cost: PicoUsd::ZERO, cost_max: PicoUsd::ZERO, status: PriceStatus::NoCharge, price_version: "", reason: None }
}

const fn unpriced(reason: UnpricedReason) -> Quote<'static> {
    Quote { cost: PicoUsd::ZERO, cost_max: PicoUsd::ZERO, status: PriceStatus::Unpriced, price_version: "", reason: Some(reason) }
}

fn card_at(cards: &[Arc<RateCard>], at: Micros) -> Option<&RateCard> {
    let card = cards.iter().rfind(|card| card.effective_from <= at)?;
    card.holds_at(at).then_some(card.as_ref())
}

fn price_model(card: &RateCard, usage: &Usage, extras: Option<&Extras>, basis: CostBasis, failed: bool) -> Result<Sum, UnpricedReason> {
    let prompt = usage.prompt();
    let step = card.steps.iter().rfind(|step| prompt > step.above);
    let rates = step.map_or(&card.tokens, |step| &step.tokens);
    let mut sum = price_tokens(rates, usage, basis)?;
    if card.units.is_empty() && card.images.is_empty() {
        return Ok(sum);
    }
    if !usage.is_zero() && !tokens_tell_all(card, rates) {
        return Err(UnpricedReason::UnitsNotLogged);
    }
    let asked = extras.filter(|_| !failed).map_or(Ok(None), |extras| price_extras(card, extras))?;
    if let Some(extra) = asked {
        sum = add(sum, extra)?;
    } else if !failed && !is_paid_by_token(card, usage) && is_paid_by_unit(card) {
        return Err(UnpricedReason::UnitsNotLogged);
    }
    Ok(sum)
}

fn price_tokens(rates: &TokenRates, usage: &Usage, basis: CostBasis) -> Result<Sum, UnpricedReason> {
    let mut cost = 0;
    let classes = [
        (usage.input, rates.input),
        (usage.output, rates.output),
        (usage.cache_read, rates.cache_read),
        (usage.cache_write_5m, rates.cache_write_5m),
        (usage.cache_write_1h, rates.cache_write_1h),
    ];
    for (count, price) in classes {
        cost = add_units(cost, count, price)?;
    }
    let mut cost_max = cost;
    if let (CostBasis::Envelope, Some(short), Some(long)) = (basis, rates.cache_write_5m, rates.cache_write_1h) {
        let dearer = long.steps().saturating_sub(short.steps());
        let more = dearer.checked_mul(u128::from(usage.cache_write_5m)).ok_or(UnpricedReason::Overflow)?;
        cost_max = cost.checked_add(more).ok_or(UnpricedReason::Overflow)?;
    }
    Ok(Sum { cost, cost_max })
}

#[inline]
fn add_units(sum: u128, count: u64, price: Option<UnitPrice>) -> Result<u128, UnpricedReason> {
    if count == 0 {
        return Ok(sum);
    }
    let steps = price.ok_or(UnpricedReason::NoRate)?.steps();
    // The checked product of 128-bit numbers is several times slower than the plain one, which suffices for every real call.
    let product =
        if count <= FAST_COUNT && steps <= FAST_STEPS { Some(steps * u128::from(count)) } else { steps.checked_mul(u128::from(count)) };
    product.and_then(|cost| sum.checked_add(cost)).ok_or(UnpricedReason::Overflow)
}

/// Tells whether the token counts of a log are all that a card prices tokens by: not where speech and text, which share one
/// count in the log, have different prices, nor where the prompt is priced by seconds.
fn tokens_tell_all(card: &RateCard, rates: &TokenRates) -> bool {
    let same = |unit: Unit, text: Option<UnitPrice>| card.units.get(&unit).is_none_or(|price| Some(*price) == text);
    let by_seconds = card.units.contains_key(&Unit::InputVideoSecond) || card.units.contains_key(&Unit::InputAudioSecond);
    same(Unit::InputAudioToken, rates.input)
        && same(Unit::OutputAudioToken, rates.output)
        && same(Unit::InputImageToken, rates.input)
        && (rates.input.is_some() || !by_seconds)
}

/// Tells whether the tokens of a call are what it is paid by.
fn is_paid_by_token(card: &RateCard, usage: &Usage) -> bool {
    !usage.is_zero() && card.tokens.named().any(|(_, price)| price.is_some_and(|price| !price.is_zero()))
}

/// Tells whether a card has a price for something a call asks for beside tokens.
fn is_paid_by_unit(card: &RateCard) -> bool {
    const ASKED: [Unit; 5] = [Unit::InputImage, Unit::InputVideoSecond, Unit::InputAudioSecond, Unit::OutputVideoSecond, Unit::Query];
    !card.images.is_empty() || ASKED.iter().any(|unit| card.units.contains_key(unit))
}

/// Prices images, queries and video; `None` when the call has none of what the card prices.
fn price_extras(card: &RateCard, extras: &Extras) -> Result<Option<Sum>, UnpricedReason> {
    let rate = |unit: Unit| card.units.get(&unit).copied();
    let (mut cost, mut any) = (0, false);
    let counted = [(extras.input_images, rate(Unit::InputImage)), (extras.queries, rate(Unit::Query))];
    for (count, price) in counted {
        // The unit is priced apart only where the card says so; elsewhere its tokens are what is paid.
        if let Some(price) = price.filter(|_| count > 0) {
            cost = add_units(cost, count, Some(price))?;
            any = true;
        }
    }
    if extras.images > 0 && !card.images.is_empty() {
        let price = image::rate_of(&card.images, extras).ok_or(UnpricedReason::NoRate)?;
        cost = add_units(cost, extras.images, Some(price))?;
        any = true;
    }
    if let Some(price) = rate(Unit::OutputVideoSecond).filter(|_| extras.video_ms > 0) {
        // Exact for a price of at most 21 decimals; below that the rounding is 10⁻²⁴ USD.
        let thousandths = add_units(0, extras.video_ms, Some(price))?;
        cost = cost.checked_add(round_half_even(thousandths, 1_000)).ok_or(UnpricedReason::Overflow)?;
        any = true;
    }
    Ok(any.then_some(Sum { cost, cost_max: cost }))
}

fn price_guardrail<'a>(cards: &'a [Arc<RateCard>], at: Micros, units: &GuardrailUnits) -> Result<(Sum, &'a RateCard), UnpricedReason> {
    let card = card_at(cards, at).ok_or(UnpricedReason::NoRate)?;
    let consumed = [
        (units.topic, Unit::GuardrailTopic),
        (units.content, Unit::GuardrailContent),
        (units.word, Unit::GuardrailWord),
        (units.sensitive, Unit::GuardrailSensitive),
        (units.sensitive_free, Unit::GuardrailSensitiveFree),
        (units.grounding, Unit::GuardrailGrounding),
        (units.content_image, Unit::GuardrailContentImage),
        (units.reasoning, Unit::GuardrailReasoning),
    ];
    let mut cost = 0;
    for (count, unit) in consumed {
        cost = add_units(cost, count, card.units.get(&unit).copied())?;
    }
    Ok((Sum { cost, cost_max: cost }, card))
}

fn add(a: Sum, b: Sum) -> Result<Sum, UnpricedReason> {
    match (a.cost.checked_add(b.cost), a.cost_max.checked_add(b.cost_max)) {
        (Some(cost), Some(cost_max)) => Ok(Sum { cost, cost_max }),
        _ => Err(UnpricedReason::Overflow),
    }
}
