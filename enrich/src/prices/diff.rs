//! What changes between two catalogues: price by price, over the spans where they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sluice_schemas::Micros;

use super::card::{PriceKey, RateCard};
use super::catalogue::Catalogue;
use super::decimal::UnitPrice;

/// One price that differs between two catalogues over a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateChange {
    /// What is priced.
    pub key: PriceKey,
    /// Which of its prices, as [`RateCard::items`] names it.
    pub item: String,
    /// First moment at which they differ.
    pub from: Micros,
    /// First moment after it; `None` for ever.
    pub to: Option<Micros>,
    /// Price in the first catalogue.
    pub before: Option<UnitPrice>,
    /// Price in the second.
    pub after: Option<UnitPrice>,
}

impl Catalogue {
    /// Returns what changes from this catalogue to another, by key, price and time. Versions and sources don't count.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<RateChange> {
        let keys: BTreeSet<&PriceKey> = self.inner.cards.keys().chain(other.inner.cards.keys()).collect();
        let mut changes = Vec::new();
        for key in keys {
            let (before, after) = (self.cards_of(key), other.cards_of(key));
            if before != after {
                diff_key(key, before, after, &mut changes);
            }
        }
        changes
    }
}

fn diff_key(key: &PriceKey, before: &[Arc<RateCard>], after: &[Arc<RateCard>], changes: &mut Vec<RateChange>) {
    let bounds: BTreeSet<Micros> =
        before.iter().chain(after).flat_map(|card| std::iter::once(card.effective_from).chain(card.effective_to)).collect();
    let bounds: Vec<Micros> = bounds.into_iter().collect();
    let mut found: Vec<RateChange> = Vec::new();
    for (at, from) in bounds.iter().enumerate() {
        let to = bounds.get(at + 1).copied();
        let (old, new) = (items_at(before, *from), items_at(after, *from));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for item in names {
            let (before, after) = (old.get(item).copied(), new.get(item).copied());
            if before == after {
                continue;
            }
            let same = |change: &&mut RateChange| change.item == *item && change.to == Some(*from);
            match found.iter_mut().rev().find(same).filter(|change| change.before == before && change.after == after) {
                Some(change) => change.to = to,
                None => found.push(RateChange { key: key.clone(), item: item.clone(), from: *from, to, before, after }),
            }
        }
    }
    found.sort_by(|a, b| (&a.item, a.from).cmp(&(&b.item, b.from)));
    changes.append(&mut found);
}

fn items_at(cards: &[Arc<RateCard>], at: Micros) -> BTreeMap<String, UnitPrice> {
    cards.iter().find(|card| card.holds_at(at)).map(|card| card.items()).unwrap_or_default()
}
