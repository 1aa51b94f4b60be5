//! Which cards price the calls of one kind: model, scope, tier and source region, over all time.
//!
//! The source region prices a call, wherever it ran ("Increase throughput with cross-Region inference", Amazon Bedrock
//! User Guide). AWS bills calls in a region and through a geographic profile under one usage type of the source region,
//! and only global profiles under another; so each of the first two stands in where a list names only the other.

use std::sync::Arc;

use sluice_schemas::ServiceTier;

use super::card::{ANY_REGION, Endpoint, GUARDRAILS, PriceKey, RateCard, Scope, Tier};
use super::catalogue::{Cards, Catalogue};
use super::names::{self, Called, Hidden};
use super::quote::{ProfileRates, UnpricedReason};
use super::span::{Span, cut};

/// Operation of a batch job: always at the batch tier.
const BATCH_OPERATION: &str = "CreateModelInvocationJob";

impl Catalogue {
    /// Finds the cards that price calls of `model_id` made in `region`. Done once for each distinct kind of call.
    ///
    /// `inference_region` tells for an application profile with an alias to a bare model whether it routes at all;
    /// it never changes which region's prices hold.
    #[must_use]
    pub fn resolve(&self, model_id: &str, region: &str, inference_region: &str, tier: ServiceTier, operation: &str) -> ProfileRates {
        let known = &self.inner.models;
        let mut called = names::parse(model_id, known);
        let no_token_price = tier == ServiceTier::Reserved || called == Called::Hidden(Hidden::Provisioned);
        if let (Called::Hidden(_), Some(alias)) = (&called, self.inner.aliases.get(model_id)) {
            called = match names::parse(alias, known) {
                Called::Model { id, scope: Scope::InRegion } => Called::Model { id, scope: routed(region, inference_region) },
                other => other,
            };
        }
        let guardrails = self.guardrails(region);
        let mut rates = ProfileRates { model: model_id.to_owned(), no_token_price, guardrails, ..ProfileRates::default() };
        match called {
            Called::Hidden(hidden) => rates.why_unpriced = reason_of(hidden),
            Called::Model { id, .. } if !known.contains(id) => rates.why_unpriced = UnpricedReason::UnknownModel,
            Called::Model { id, scope } => {
                id.clone_into(&mut rates.model);
                rates.scope = scope.to_string();
                rates.why_unpriced = UnpricedReason::NoCard;
                let tier = if operation == BATCH_OPERATION { Some(Tier::Batch) } else { Tier::of(tier) };
                if let Some(tier) = tier {
                    rates.cards = self.timeline(candidates(&scope, region), id, tier);
                }
            }
        }
        rates
    }

    /// Finds the cards that price a canonical model, over all time.
    pub(crate) fn cards_for(&self, model: &str, scope: &Scope, region: &str, tier: Tier) -> Vec<Arc<RateCard>> {
        self.timeline(candidates(scope, region), model, tier)
    }

    fn guardrails(&self, region: &str) -> Cards {
        self.timeline(candidates(&Scope::InRegion, region), GUARDRAILS, Tier::Standard)
    }

    /// Lines up the cards of the candidate keys: at each moment the first candidate with a card holds. A candidate that has
    /// only a standard price holds too, with none for the tier: another place's price of the tier would be a guess.
    fn timeline(&self, candidates: Vec<(Scope, &str)>, model: &str, tier: Tier) -> Vec<Arc<RateCard>> {
        let mut line: Vec<Arc<RateCard>> = Vec::new();
        let mut taken: Vec<Span> = Vec::new();
        for (scope, region) in candidates {
            let mut key = PriceKey { model: model.to_owned(), endpoint: Endpoint::Runtime, scope, region: region.to_owned(), tier };
            let cards = self.cards_of(&key);
            for card in cards {
                let free = Span::of(card).minus(taken.iter().copied());
                line.extend(free.into_iter().map(|span| cut(card, span)));
            }
            key.tier = Tier::Standard;
            taken.extend(cards.iter().chain(self.cards_of(&key)).map(|card| Span::of(card)));
        }
        line.sort_by_key(|card| card.effective_from);
        line
    }
}

/// Returns the scopes and regions whose cards price a call, the most exact first.
fn candidates<'a>(scope: &Scope, region: &'a str) -> Vec<(Scope, &'a str)> {
    let everywhere = |scope: Scope| [(scope.clone(), region), (scope, ANY_REGION)];
    let geographies = || names::geographies_of(region).iter().map(|geography| Scope::Geo((*geography).to_owned()));
    let mut all = match scope {
        Scope::Global => everywhere(Scope::Global).to_vec(),
        Scope::InRegion => vec![(Scope::InRegion, region)],
        Scope::Geo(_) => everywhere(scope.clone()).into_iter().chain([(Scope::InRegion, region)]).collect(),
    };
    if *scope != Scope::Global {
        all.extend(geographies().filter(|geography| geography != scope).flat_map(everywhere));
    }
    all.push((Scope::InRegion, ANY_REGION));
    all
}

/// Returns how far a profile routes, as far as one call shows: within the geography of its region or beyond.
fn routed(region: &str, inference_region: &str) -> Scope {
    if inference_region.is_empty() || inference_region == region {
        return Scope::InRegion;
    }
    let there = names::geographies_of(inference_region);
    let common = names::geographies_of(region).iter().find(|geography| there.contains(geography));
    common.map_or(Scope::Global, |geography| Scope::Geo((*geography).to_owned()))
}

const fn reason_of(hidden: Hidden) -> UnpricedReason {
    match hidden {
        Hidden::ApplicationProfile => UnpricedReason::ApplicationProfile,
        Hidden::CustomModel => UnpricedReason::CustomModel,
        Hidden::ImportedModel => UnpricedReason::ImportedModel,
        Hidden::PromptRouter => UnpricedReason::PromptRouter,
        Hidden::Provisioned | Hidden::Other => UnpricedReason::UnknownModel,
    }
}
