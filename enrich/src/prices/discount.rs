//! Discounts: a percentage off the unit prices of a provider or of models, for a span of time, multiplied exactly.

use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sluice_schemas::Micros;

use super::card::RateCard;
use super::catalogue::{Cards, Catalogue, short_hash};
use super::names;
use super::span::{Span, cut};

/// Millionths of a percent in one whole.
const WHOLE: i64 = 100_000_000;

/// Not a percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a percentage between -100 and 100 with at most six decimals")]
pub struct PercentError {
    /// The refused text.
    pub text: String,
}

/// A percentage off; a negative one is a surcharge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percent {
    millionths: i64,
}

impl FromStr for Percent {
    type Err = PercentError;

    /// Reads `12.5`, `-3`, `15%`.
    fn from_str(text: &str) -> Result<Self, PercentError> {
        let refuse = || PercentError { text: text.to_owned() };
        let body = text.strip_suffix('%').unwrap_or(text).trim();
        let (sign, body) = body.strip_prefix('-').map_or((1, body), |rest| (-1, rest));
        let (whole, fraction) = body.split_once('.').unwrap_or((body, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 6 || whole.len() > 3 {
            return Err(refuse());
        }
        let millionths: i64 = format!("{whole}{fraction:0<6}").parse().map_err(|_| refuse())?;
        if millionths > 100_000_000 { Err(refuse()) } else { Ok(Self { millionths: sign * millionths }) }
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, size) = (if self.millionths < 0 { "-" } else { "" }, self.millionths.unsigned_abs());
        let text = format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A negotiated discount. Several that match one price multiply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discount {
    /// Vendor of the model, its id up to the first dot, for example `anthropic`; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Canonical model, `*` and `?` allowed; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// First moment at which it holds; absent for always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Micros>,
    /// First moment at which it no longer holds; absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Micros>,
    /// How much off.
    pub percent: Percent,
}

impl Discount {
    fn applies_to(&self, model: &str) -> bool {
        let provider = self.provider.as_deref().is_none_or(|provider| names::provider(model) == provider);
        provider && self.model.as_deref().is_none_or(|glob| matches_glob(glob, model))
    }

    fn span(&self) -> Span {
        Span { from: self.from.unwrap_or(Micros(i64::MIN)), to: self.to }
    }
}

impl Catalogue {
    /// Returns the catalogue with every unit price reduced by the discounts that match it. A price whose exact product is
    /// finer than 10⁻²⁴ USD is rounded half to even there, far below what a call can show.
    #[must_use]
    pub fn with_discounts(&self, discounts: &[Discount]) -> Self {
        let mut cards = self.inner.cards.clone();
        for (key, cards) in &mut cards {
            for discount in discounts.iter().filter(|discount| discount.applies_to(&key.model)) {
                *cards = discounted(cards, discount);
            }
        }
        // Cutting and scaling cannot make spans overlap: no need to check them again.
        Self::assemble(cards, self.inner.aliases.clone())
    }
}

fn discounted(cards: &Cards, discount: &Discount) -> Cards {
    // A percentage is at most 100, so what is left is not negative.
    let numerator = u128::from((WHOLE - discount.percent.millionths).unsigned_abs());
    let mark = format!("~{}", short_hash(&format!("{discount:?}")));
    let mut all: Cards = Vec::with_capacity(cards.len());
    for card in cards {
        let span = Span::of(card);
        all.extend(span.minus([discount.span()]).into_iter().map(|rest| cut(card, rest)));
        if let Some(within) = span.intersect(discount.span()) {
            let mut reduced = RateCard::clone(&cut(card, within));
            reduced.for_each_price(|price| price.scaled(numerator, u128::from(WHOLE.unsigned_abs())));
            reduced.version = Arc::from(format!("{}{mark}", card.version));
            all.push(Arc::new(reduced));
        }
    }
    all.sort_by_key(|card| card.effective_from);
    all
}

/// Matches `*` (any text) and `?` (any one character).
fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut seen, mut retry) = (0, 0, None);
    while seen < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match retry {
                Some((star, from)) => {
                    (at, seen) = (star, from + 1);
                    retry = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, matches) in [
            ("*", "", true),
            ("anthropic.*", "anthropic.claude-v2:1", true),
            ("*claude*sonnet*", "anthropic.claude-3-5-sonnet-20240620-v1:0", true),
            ("*haiku", "anthropic.claude-haiku-4-5", false),
            ("amazon.nova-?ite-v1:0", "amazon.nova-lite-v1:0", true),
            ("amazon.nova", "amazon.nova-lite", false),
        ] {
            assert_eq!(matches_glob(glob, text), matches, "{glob} {text}");
        }
    }

    #[test]
    fn percentages_are_exact_or_refused() {
        for (text, shown) in [("12.5", "12.5"), ("15%", "15"), ("-3", "-3"), ("0", "0"), ("100", "100"), ("0.000001", "0.000001")] {
            assert_eq!(text.parse::<Percent>().map(|percent| percent.to_string()), Ok(shown.to_owned()));
        }
        for bad in ["", "100.000001", "0.0000001", "1e1", "NaN", "%", "-", "1.", "5 5"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }
}
