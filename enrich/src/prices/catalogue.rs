//! The catalogue: an immutable set of rate cards, and how one list of prices is laid over another.
//!
//! Owns: the set, its versions and its order. Does not own: files, clocks, downloads. Invariant C9: the spans of one key
//! never overlap.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use sluice_schemas::{ErrorClass, Micros};

use super::card::{Endpoint, PriceKey, RateCard};
use super::decimal::PriceTextError;
use super::span::{Span, cut};
use super::text;

/// The prices that come with the program: LiteLLM's list, and what is laid over it.
const BUILTIN: &str = include_str!("../../data/bedrock.toml");
const AMENDMENTS: &str = include_str!("../../data/amendments.toml");

/// Two cards of one key hold at the same moment (invariant C9).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two rate cards of '{key}' hold at {at}")]
pub struct OverlapError {
    /// The key.
    pub key: PriceKey,
    /// First moment at which both hold.
    pub at: Micros,
}

/// A card that ends before it begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rate card of '{key}' from {from} ends at {to}")]
pub struct EmptySpanError {
    /// The key.
    pub key: PriceKey,
    /// `effective_from`.
    pub from: Micros,
    /// `effective_to`.
    pub to: Micros,
}

/// A word in a price file that is not one of those it can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{model}: '{word}' is not a {what}")]
pub struct UnknownWordError {
    /// Model of the card.
    pub model: String,
    /// What the word should name.
    pub what: &'static str,
    /// The word.
    pub word: String,
}

/// Why a price list was refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Not of the shape of a price file.
    #[error("not a price file")]
    Syntax(#[from] toml::de::Error),
    /// Of a format this program does not know.
    #[error("price format '{found}' is not '{expected}'")]
    Format {
        /// The format it names.
        found: String,
        /// The format it should name.
        expected: &'static str,
    },
    /// A word that is not known.
    #[error(transparent)]
    UnknownWord(#[from] UnknownWordError),
    /// A price that cannot be read.
    #[error("{model}: price of '{item}'")]
    Price {
        /// Model of the card.
        model: String,
        /// What is priced.
        item: String,
        /// Why.
        #[source]
        source: PriceTextError,
    },
    /// Two cards at once.
    #[error(transparent)]
    Overlap(#[from] OverlapError),
    /// A card without a moment.
    #[error(transparent)]
    EmptySpan(#[from] EmptySpanError),
}

impl CatalogueError {
    /// Returns what the caller should do: someone has to mend the price list.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Misconfigured
    }
}

/// Cards of one key, earliest first.
pub(super) type Cards = Vec<Arc<RateCard>>;

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) version: Arc<str>,
    pub(super) cards: BTreeMap<PriceKey, Cards>,
    /// Models with a card at the endpoint that writes invocation logs.
    pub(super) models: HashSet<String>,
    /// Model behind a profile or provisioned ARN that does not name it.
    pub(super) aliases: HashMap<String, String>,
}

/// An immutable set of rate cards; a clone costs one reference count.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub(super) inner: Arc<Inner>,
}

impl Catalogue {
    /// Reads the prices that come with the program. They hold from 1970 on, as the best that is known for an older log.
    pub fn builtin() -> Result<Self, CatalogueError> {
        Self::from_text(BUILTIN)?.overlay(&Self::from_text(AMENDMENTS)?)
    }

    /// Reads a price file.
    pub fn from_text(text: &str) -> Result<Self, CatalogueError> {
        text::read(text)
    }

    /// Writes the price file that [`Catalogue::from_text`] reads back as the same catalogue, aliases excepted.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::write(self)
    }

    /// Makes a catalogue of cards. Cards without a version get `label#hash`, the hash over the content of all of them.
    pub fn from_cards(label: &str, cards: impl IntoIterator<Item = RateCard>) -> Result<Self, CatalogueError> {
        let mut cards: Vec<RateCard> = cards.into_iter().collect();
        cards.sort_by(|a, b| (&a.key, a.effective_from).cmp(&(&b.key, b.effective_from)));
        let version: Arc<str> = Arc::from(format!("{label}#{}", content_hash(cards.iter().filter(|card| card.version.is_empty()))));
        let mut by_key: BTreeMap<PriceKey, Cards> = BTreeMap::new();
        for mut card in cards {
            if card.version.is_empty() {
                card.version = Arc::clone(&version);
            }
            by_key.entry(card.key.clone()).or_default().push(Arc::new(card));
        }
        Self::from_map(by_key, HashMap::new())
    }

    fn from_map(cards: BTreeMap<PriceKey, Cards>, aliases: HashMap<String, String>) -> Result<Self, CatalogueError> {
        cards.values().try_for_each(|cards| check_spans(cards))?;
        Ok(Self::assemble(cards, aliases))
    }

    /// Makes a catalogue of cards whose spans are known not to overlap.
    pub(super) fn assemble(cards: BTreeMap<PriceKey, Cards>, aliases: HashMap<String, String>) -> Self {
        let version = version_of(cards.values().flatten());
        let models = cards.keys().filter(|key| key.endpoint == Endpoint::Runtime).map(|key| key.model.clone()).collect();
        Self { inner: Arc::new(Inner { version, cards, models, aliases }) }
    }

    /// Returns the same cards as one list under a new label.
    pub fn relabelled(&self, label: &str) -> Result<Self, CatalogueError> {
        Self::from_cards(label, self.cards().map(|card| RateCard { version: Arc::from(""), ..card.clone() }))
    }

    /// Lays another catalogue over this one: where a key has a card in `other`, that card holds for its span; before it,
    /// after it and for all other keys the cards of this catalogue stay.
    pub fn overlay(&self, other: &Self) -> Result<Self, CatalogueError> {
        let mut cards = self.inner.cards.clone();
        for (key, above) in &other.inner.cards {
            let below = cards.remove(key).unwrap_or_default();
            let mut merged: Cards = above.clone();
            for card in &below {
                let left = Span::of(card).minus(above.iter().map(|card| Span::of(card)));
                merged.extend(left.into_iter().map(|span| cut(card, span)));
            }
            merged.sort_by_key(|card| card.effective_from);
            cards.insert(key.clone(), merged);
        }
        let mut aliases = self.inner.aliases.clone();
        aliases.extend(other.inner.aliases.iter().map(|(arn, model)| (arn.clone(), model.clone())));
        Self::from_map(cards, aliases)
    }

    /// Names the models behind ARNs that hide them: application inference profiles (from `GetInferenceProfile`, best the
    /// system profile it was made from) and provisioned models.
    #[must_use]
    pub fn with_aliases(&self, aliases: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all = self.inner.aliases.clone();
        all.extend(aliases);
        let inner = &self.inner;
        let (version, cards, models) = (Arc::clone(&inner.version), inner.cards.clone(), inner.models.clone());
        Self { inner: Arc::new(Inner { version, cards, models, aliases: all }) }
    }

    /// Names the models behind ARNs as [`Self::with_aliases`] does, where no alias is known yet.
    pub(crate) fn with_more_aliases(&self, aliases: impl IntoIterator<Item = (String, String)>) -> Self {
        let unknown = aliases.into_iter().filter(|(arn, _)| !self.inner.aliases.contains_key(arn));
        self.with_aliases(unknown)
    }

    /// Returns the versions of the price lists in it, joined by `+`; names what a whole catalogue holds.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Returns the cards by key and time.
    pub fn cards(&self) -> impl Iterator<Item = &RateCard> {
        self.inner.cards.values().flatten().map(Arc::as_ref)
    }

    /// Returns the models priced at the endpoint that writes invocation logs, in no order.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.inner.models.iter().map(String::as_str)
    }

    /// Returns the cards of one key, earliest first.
    pub(super) fn cards_of(&self, key: &PriceKey) -> &[Arc<RateCard>] {
        self.inner.cards.get(key).map_or(&[], Vec::as_slice)
    }
}

/// Checks invariant C9 on the cards of one key, earliest first.
fn check_spans(cards: &[Arc<RateCard>]) -> Result<(), CatalogueError> {
    for card in cards {
        if let Some(to) = card.effective_to.filter(|to| *to <= card.effective_from) {
            return Err(EmptySpanError { key: card.key.clone(), from: card.effective_from, to }.into());
        }
    }
    for pair in cards.windows(2) {
        if let Some(both) = Span::of(&pair[0]).intersect(Span::of(&pair[1])) {
            return Err(OverlapError { key: pair[1].key.clone(), at: both.from }.into());
        }
    }
    Ok(())
}

fn version_of<'a>(cards: impl Iterator<Item = &'a Arc<RateCard>>) -> Arc<str> {
    let versions: std::collections::BTreeSet<&str> = cards.map(|card| card.version.as_ref()).collect();
    Arc::from(versions.into_iter().collect::<Vec<_>>().join("+"))
}

/// Returns eight hexadecimal digits over what the cards say, their versions apart.
pub(super) fn content_hash<'a>(cards: impl Iterator<Item = &'a RateCard>) -> String {
    let mut content = String::new();
    for card in cards {
        text::write_card(&mut content, card, &text::Defaults::of_version(&card.version));
    }
    short_hash(&content)
}

pub(super) fn short_hash(content: &str) -> String {
    Sha256::digest(content.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
