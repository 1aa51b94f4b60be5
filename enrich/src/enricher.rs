//! The stage itself: a decoded batch in, the same batch with prices and owners out.
//!
//! Owns: the order of work and what is remembered between batches. Does not own: what a price or an owner is
//! (`crate::prices`, `crate::attribution`). No I/O, no clock: a call is priced at its own event time.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::{Batch, EnrichedBatch, Extras, Invocation, Micros, Owner, Pricing, Profile, ServiceTier, StringTable, Sym};

use crate::agents::AgentsFile;
use crate::attribution::{
    Beside, CallToAttribute, Change, Explanation, KeyNames, OwnerCache, OwnerTexts, Owners, ReadClaims, Sources, Template,
};
use crate::config::MetadataKeys;
use crate::directory::Directory;
use crate::evidence::CallEvidence;
use crate::memo::Memo;
use crate::prices::{Catalogue, ProfileRates};
use crate::rules::{RuleMatch, Rules};

/// Prices and attributes batches; shared by all workers.
#[derive(Clone, Debug)]
pub struct Enricher {
    /// Prices with the models of the directory's inference profiles.
    catalogue: Catalogue,
    /// Prices as configured.
    configured: Catalogue,
    directory: Arc<Directory>,
    rules: Arc<Rules>,
    agents: AgentsFile,
    keys: MetadataKeys,
    key_names: KeyNames,
    template: Arc<Template>,
    /// Tells this enricher from any other, so that a cache filled by another one is not believed.
    identity: Arc<()>,
}

/// What one worker remembers across batches, bounded in bytes: the agents of each principal, and the rates of each model, place, tier
/// and operation. Emptied when it meets another [`Enricher`].
#[derive(Debug, Default)]
pub struct EnrichCache {
    filled_by: Option<Arc<()>>,
    owners: OwnerCache,
    rates: Memo<ProfileRates>,
}

/// What was read of the metadata of a batch's calls, so that it need not be read again once more is known of who made them.
#[derive(Clone, Debug, Default)]
pub struct ReadMetadata {
    claims: ReadClaims,
    /// Whose words the claims were read with.
    template: Option<Arc<Template>>,
}

impl EnrichCache {
    fn prepare(&mut self, identity: &Arc<()>) {
        if !self.filled_by.as_ref().is_some_and(|filled_by| Arc::ptr_eq(filled_by, identity)) {
            *self = Self { filled_by: Some(Arc::clone(identity)), ..Self::default() };
        }
        self.owners.trim();
        self.rates.trim();
    }
}

impl Enricher {
    /// Returns an enricher with these prices, agents and metadata keys.
    #[must_use]
    pub fn new(catalogue: Catalogue, agents: AgentsFile, keys: MetadataKeys) -> Self {
        let key_names = KeyNames::new(&keys);
        Self {
            configured: catalogue.clone(),
            catalogue,
            directory: Arc::default(),
            rules: Arc::default(),
            agents,
            keys,
            template: Arc::new(Template::new(&key_names)),
            key_names,
            identity: Arc::new(()),
        }
    }

    /// Returns the same enricher with what AWS says about the things that call, in place of what it knew of them. Models of inference
    /// profiles that are configured go before those of the directory.
    #[must_use]
    pub fn with_directory(self, directory: Arc<Directory>) -> Self {
        let catalogue = self.configured.with_more_aliases(directory.models());
        Self { catalogue, directory, identity: Arc::new(()), ..self }
    }

    /// Returns the same enricher with these rules in place of its own.
    #[must_use]
    pub fn with_rules(self, rules: Arc<Rules>) -> Self {
        Self { rules, identity: Arc::new(()), ..self }
    }

    /// Returns the prices it works with.
    #[must_use]
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Returns the agents it works with.
    #[must_use]
    pub const fn agents(&self) -> &AgentsFile {
        &self.agents
    }

    /// Returns what it knows of the things that call.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Returns the owner of calls of a profile in the light of evidence, in symbols of `strings`, which are those of the profile.
    /// Without the time of a call, sessions whose credentials had expired are not told: see [`Enricher::owner_at`].
    #[must_use]
    pub fn owner_of(&self, profile: &Profile, evidence: &CallEvidence, strings: &mut StringTable, cache: &mut EnrichCache) -> Owner {
        self.owner(profile, (evidence, None), strings, cache)
    }

    /// Returns the owner of a call of a profile made at this time, in the light of evidence, as [`Enricher::owner_of`] does.
    #[must_use]
    pub fn owner_at(
        &self,
        at: Micros,
        profile: &Profile,
        evidence: &CallEvidence,
        strings: &mut StringTable,
        cache: &mut EnrichCache,
    ) -> Owner {
        self.owner(profile, (evidence, Some(at)), strings, cache)
    }

    fn owner(
        &self,
        profile: &Profile,
        (evidence, at): (&CallEvidence, Option<Micros>),
        strings: &mut StringTable,
        cache: &mut EnrichCache,
    ) -> Owner {
        cache.prepare(&self.identity);
        Owners::of_one(self.sources(), &mut cache.owners, strings).owner(profile, evidence, at, strings)
    }

    /// Returns the owner of a stored call, given as texts, in the light of evidence: the decision of [`Enricher::owner_of`].
    #[must_use]
    pub fn attribute(&self, call: &CallToAttribute<'_>, evidence: &CallEvidence) -> OwnerTexts {
        let (mut strings, mut cache) = (self.template.strings.clone(), OwnerCache::default());
        let profile = call.profile(&mut strings);
        let owner =
            Owners::of_template(self.sources(), &mut cache, &self.template).owner(&profile, evidence, call.event_time, &mut strings);
        OwnerTexts::new(&owner, &strings)
    }

    /// Explains who a stored call is booked to in the light of evidence.
    #[must_use]
    pub fn explain(&self, call: &CallToAttribute<'_>, evidence: &CallEvidence, beside: Beside<'_>) -> Explanation {
        let (mut strings, mut cache) = (self.template.strings.clone(), OwnerCache::default());
        let profile = call.profile(&mut strings);
        let mut owners = Owners::of_template(self.sources(), &mut cache, &self.template);
        let owner = owners.owner(&profile, evidence, call.event_time, &mut strings);
        let texts = OwnerTexts::new(&owner, &strings);
        owners.explain((&profile, evidence, call.event_time), texts, beside, &mut strings)
    }

    /// Returns the cheapest change that would make the owner of calls like this one more certain; `None` where AWS or a trust policy
    /// vouches already.
    #[must_use]
    pub fn cheapest_change(&self, call: &CallToAttribute<'_>, owner: &OwnerTexts, beside: Beside<'_>) -> Option<Change> {
        let (mut strings, mut cache) = (self.template.strings.clone(), OwnerCache::default());
        let profile = call.profile(&mut strings);
        Owners::of_template(self.sources(), &mut cache, &self.template).cheapest_change(&profile, owner, beside, &mut strings)
    }

    /// Returns what the first matching rule says of a stored call, whether or not it names the owner.
    #[must_use]
    pub fn rule_of(&self, call: &CallToAttribute<'_>, evidence: &CallEvidence) -> Option<RuleMatch> {
        let (mut strings, mut cache) = (self.template.strings.clone(), OwnerCache::default());
        let profile = call.profile(&mut strings);
        let mut owners = Owners::of_template(self.sources(), &mut cache, &self.template);
        owners.rule((&profile, evidence, call.event_time), &mut strings)
    }

    fn sources(&self) -> Sources<'_> {
        Sources { agents: &self.agents, keys: &self.keys, key_names: &self.key_names, directory: &self.directory, rules: &self.rules }
    }

    /// Prices and attributes a decoded batch. `cache` is per worker.
    #[must_use]
    pub fn enrich(&self, batch: Batch, cache: &mut EnrichCache) -> EnrichedBatch {
        self.enrich_and_keep(batch, cache).0
    }

    /// As [`Enricher::enrich`]; returns what was read of metadata, too, for [`Enricher::attribute_informed`].
    #[must_use]
    pub fn enrich_and_keep(&self, mut batch: Batch, cache: &mut EnrichCache) -> (EnrichedBatch, ReadMetadata) {
        cache.prepare(&self.identity);
        let (owners, claims) = self.owners(&batch.profiles, &mut batch.strings, &mut cache.owners);
        let mut rating = Rating::new(&self.catalogue, &mut cache.rates);
        let routes: Vec<Route> = batch.profiles.iter().map(|profile| rating.route(profile, &mut batch.strings)).collect();
        let mut pricing = Vec::with_capacity(batch.invocations.len());
        for call in &batch.invocations {
            let extras = call.extras.and_then(|at| batch.extras.get(at as usize));
            // A call of no profile cannot be told apart from any other: it stays unpriced, and no owner is read for it.
            let priced = routes.get(call.profile as usize).map(|&route| rating.price(route, call, extras, &mut batch.strings));
            pricing.push(priced.unwrap_or_default());
        }
        (EnrichedBatch { batch, owners, pricing }, ReadMetadata { claims, template: Some(Arc::clone(&self.template)) })
    }

    /// Returns the owners of calls of profiles of one batch, each in the light of its evidence. `read` is of the same batch.
    pub(crate) fn owners_of<'p>(
        &self,
        calls: impl Iterator<Item = (&'p Profile, &'p CallEvidence)>,
        read: ReadMetadata,
        strings: &mut StringTable,
        cache: &mut EnrichCache,
    ) -> Vec<Owner> {
        cache.prepare(&self.identity);
        // Claims are read with the names of keys alone, which an enricher made from another shares.
        let is_ours = read.template.is_some_and(|template| Arc::ptr_eq(&template, &self.template));
        let claims = if is_ours { read.claims } else { ReadClaims::default() };
        let mut owners = Owners::going_on(self.sources(), &mut cache.owners, strings, claims);
        calls.map(|(profile, evidence)| owners.owner(profile, evidence, None, strings)).collect()
    }

    /// Returns the owners of profiles, one each, and what their metadata claims.
    fn owners(&self, profiles: &[Profile], strings: &mut StringTable, cache: &mut OwnerCache) -> (Vec<Owner>, ReadClaims) {
        let (mut owners, nothing) = (Owners::new(self.sources(), cache, strings), CallEvidence::default());
        let found = profiles.iter().map(|profile| owners.owner(profile, &nothing, None, strings)).collect();
        (found, owners.into_claims())
    }
}

/// Where the rates of a profile stand, and whether its calls failed.
#[derive(Clone, Copy)]
struct Route {
    rated: usize,
    failed: bool,
}

/// Rates used by the batch, with their words as symbols of the batch.
struct Rated {
    number: u32,
    model: Sym,
    scope: Sym,
    /// Address and length of the price version last seen, and its symbol: it changes with event time, so hardly ever within a batch.
    version: ((usize, usize), Sym),
}

/// What the rates of a call depend on.
type RateKey = (Sym, Sym, Sym, Sym, ServiceTier);

/// Prices the calls of one batch.
struct Rating<'a> {
    catalogue: &'a Catalogue,
    rates: &'a mut Memo<ProfileRates>,
    rated: Vec<Rated>,
    rated_at: HashMap<RateKey, usize, FixedState>,
    /// Reused text of the key in `rates`.
    text: String,
}

impl<'a> Rating<'a> {
    fn new(catalogue: &'a Catalogue, rates: &'a mut Memo<ProfileRates>) -> Self {
        Self { catalogue, rates, rated: Vec::new(), rated_at: HashMap::default(), text: String::new() }
    }

    fn route(&mut self, profile: &Profile, strings: &mut StringTable) -> Route {
        let key = (profile.model_id, profile.region, profile.inference_region, profile.operation, profile.service_tier);
        let failed = !profile.error_code.is_empty();
        if let Some(&rated) = self.rated_at.get(&key) {
            return Route { rated, failed };
        }
        let rated = self.rated.len();
        let resolved = self.resolve(profile, strings);
        self.rated.push(resolved);
        self.rated_at.insert(key, rated);
        Route { rated, failed }
    }

    fn resolve(&mut self, profile: &Profile, strings: &mut StringTable) -> Rated {
        let [model, region, inference_region, operation] =
            [profile.model_id, profile.region, profile.inference_region, profile.operation].map(|sym| strings.get(sym));
        let tier = profile.service_tier;
        self.text.clear();
        for part in [tier.as_str(), region, inference_region, operation, model] {
            // With its length before it, no part can be mistaken for the end of another.
            self.text.push_str(&part.len().to_string());
            self.text.push(':');
            self.text.push_str(part);
        }
        let catalogue = self.catalogue;
        let number = self.rates.number(&self.text, |_| catalogue.resolve(model, region, inference_region, tier, operation));
        let rates = self.rates.get(number);
        Rated { number, model: strings.intern(&rates.model), scope: strings.intern(&rates.scope), version: ((0, 0), Sym::EMPTY) }
    }

    fn price(&mut self, route: Route, call: &Invocation, extras: Option<&Extras>, strings: &mut StringTable) -> Pricing {
        let rated = &mut self.rated[route.rated];
        let quote = self.rates.get(rated.number).quote(call.event_time, &call.usage, extras, call.basis, route.failed);
        // Rates stay where they are during a batch, so an equal address is an equal version.
        let address = (quote.price_version.as_ptr().addr(), quote.price_version.len());
        if rated.version.0 != address {
            rated.version = (address, strings.intern(quote.price_version));
        }
        let price_version = rated.version.1;
        Pricing { cost: quote.cost, cost_max: quote.cost_max, status: quote.status, model: rated.model, scope: rated.scope, price_version }
    }
}
