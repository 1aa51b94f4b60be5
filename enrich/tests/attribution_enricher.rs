//! The enricher on whole batches: every call priced at its own time by the rates of its own kind, in any company.

use std::sync::Arc;

use proptest::prelude::*;
use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, Directory, EnrichCache, Enricher, MetadataKeys};
use sluice_schemas::directory::Entry;
use sluice_schemas::usage::GuardrailUnits;
use sluice_schemas::{
    Batch, CostBasis, EnrichedBatch, Extras, Invocation, Micros, PicoUsd, PriceStatus, Profile, RequestId, ServiceTier, Sym, Usage,
};

const PRICES: &str = r#"
format = "sluice.prices/1"
label = "test"

[[card]]
model = "amazon.nova-lite-v1:0"
version = "old"
effective_from = "1970-01-01T00:00:00Z"
effective_to = "2026-10-01T00:00:00Z"
usd_per_million_tokens = { input = "1", output = "2" }

[[card]]
model = "amazon.nova-lite-v1:0"
version = "new"
effective_from = "2026-10-01T00:00:00Z"
usd_per_million_tokens = { input = "3", output = "4", cache_write_5m = "5", cache_write_1h = "8" }

[[card]]
model = "amazon.nova-lite-v1:0"
version = "flex"
tier = "flex"
usd_per_million_tokens = { input = "0.5", output = "1" }

[[card]]
model = "guardrails"
version = "guard"
usd_per_unit = { guardrail_topic = "0.15" }
"#;
const SEPTEMBER: &str = "2026-09-30T23:59:59Z";
const OCTOBER: &str = "2026-10-01T00:00:00Z";

fn enricher() -> Enricher {
    Enricher::new(Catalogue::from_text(PRICES).expect("valid"), AgentsFile::empty(), MetadataKeys::default())
}

/// A call as a table row tells it.
#[derive(Clone, Debug)]
struct Row {
    model: &'static str,
    at: &'static str,
    tier: ServiceTier,
    error: &'static str,
    usage: Usage,
    topic_units: u64,
    basis: CostBasis,
    metadata: &'static str,
}

const ROW: Row = Row {
    model: "amazon.nova-lite-v1:0",
    at: OCTOBER,
    tier: ServiceTier::Standard,
    error: "",
    usage: Usage { input: 1_000_000, output: 0, cache_read: 0, cache_write_5m: 0, cache_write_1h: 0 },
    topic_units: 0,
    basis: CostBasis::Exact,
    metadata: "",
};

fn batch(rows: &[Row]) -> Batch {
    let mut batch = Batch::default();
    for (at, row) in rows.iter().enumerate() {
        let mut intern = |text: &str| batch.strings.intern(text);
        let profile = Profile {
            account_id: intern("123456789012"),
            region: intern("us-east-1"),
            operation: intern("Converse"),
            model_id: intern(row.model),
            principal_arn: intern("arn:aws:sts::123456789012:assumed-role/Role/session"),
            error_code: intern(row.error),
            metadata: intern(row.metadata),
            service_tier: row.tier,
            ..Profile::default()
        };
        let known = batch.profiles.iter().position(|known| *known == profile);
        let profile = known.unwrap_or_else(|| {
            batch.profiles.push(profile);
            batch.profiles.len() - 1
        });
        let extras = (row.topic_units > 0).then(|| {
            let guardrail = GuardrailUnits { topic: row.topic_units, ..GuardrailUnits::default() };
            batch.extras.push(Extras { guardrail, ..Extras::default() });
            batch.extras.len() as u32 - 1
        });
        batch.invocations.push(Invocation {
            event_time: row.at.parse().expect("a time"),
            request_id: RequestId::Uuid(at as u128),
            profile: profile as u32,
            usage: row.usage,
            basis: row.basis,
            latency_ms: None,
            extras,
        });
    }
    batch
}

/// Cost, upper bound, status, model, scope, version and agent of each call.
type Priced = (PicoUsd, PicoUsd, PriceStatus, String, String, String, String);

fn priced(enriched: &EnrichedBatch) -> Vec<Priced> {
    let text = |sym: Sym| enriched.batch.strings.get(sym).to_owned();
    let show = |call: sluice_schemas::Call<'_>| {
        let price = call.pricing;
        (
            price.cost,
            price.cost_max,
            price.status,
            text(price.model),
            text(price.scope),
            text(price.price_version),
            text(call.owner.agent_id),
        )
    };
    enriched.calls().map(show).collect()
}

#[test]
fn each_call_by_its_own_card() {
    let rows = [
        Row { at: SEPTEMBER, ..ROW },
        ROW,
        Row { at: SEPTEMBER, ..ROW },
        Row { tier: ServiceTier::Flex, ..ROW },
        Row { model: "us.amazon.nova-lite-v1:0", ..ROW },
        Row { model: "made.up-v9:0", ..ROW },
        Row { error: "ThrottlingException", usage: Usage::default(), ..ROW },
        Row { error: "ModelStreamErrorException", ..ROW },
        Row { usage: Usage { cache_write_5m: 1_000_000, ..Usage::default() }, basis: CostBasis::Envelope, ..ROW },
        Row { usage: Usage::default(), topic_units: 2, ..ROW },
    ];
    let enriched = enricher().enrich(batch(&rows), &mut EnrichCache::default());
    let shown: Vec<_> = priced(&enriched)
        .into_iter()
        .map(|(cost, max, status, model, scope, version, _)| {
            format!("{} {} {status:?} {model} {scope} {version}", cost.display(2), max.display(2))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "$1.00 $1.00 Priced amazon.nova-lite-v1:0 in_region old",
            "$3.00 $3.00 Priced amazon.nova-lite-v1:0 in_region new",
            "$1.00 $1.00 Priced amazon.nova-lite-v1:0 in_region old",
            "$0.50 $0.50 Priced amazon.nova-lite-v1:0 in_region flex",
            "$3.00 $3.00 Priced amazon.nova-lite-v1:0 geo:us new",
            "$0.00 $0.00 Unpriced made.up-v9:0  ",
            "$0.00 $0.00 NoCharge amazon.nova-lite-v1:0 in_region ",
            "$3.00 $3.00 Priced amazon.nova-lite-v1:0 in_region new",
            "$5.00 $8.00 Priced amazon.nova-lite-v1:0 in_region new",
            "$0.30 $0.30 Priced amazon.nova-lite-v1:0 in_region new",
        ]
    );
}

#[test]
fn a_batch_without_calls_or_with_strangers_is_no_trouble() {
    let enricher = enricher();
    let empty = enricher.enrich(Batch::default(), &mut EnrichCache::default());
    assert!(empty.owners.is_empty() && empty.pricing.is_empty());
    let mut strange = batch(&[ROW]);
    strange.invocations[0].profile = 7;
    strange.profiles[0].principal_arn = Sym(900);
    strange.profiles[0].metadata = Sym(901);
    let enriched = enricher.enrich(strange, &mut EnrichCache::default());
    assert_eq!((enriched.owners.len(), enriched.pricing.len(), enriched.calls().count()), (1, 1, 0));
    assert_eq!((enriched.pricing[0].status, enriched.pricing[0].cost), (PriceStatus::Unpriced, PicoUsd::ZERO));
}

#[test]
fn workers_share_one_enricher() {
    fn shared<T: Send + Sync>(_: &T) {}
    fn owned<T: Send>(_: &T) {}
    shared(&enricher());
    owned(&EnrichCache::default());
}

#[test]
fn old_prices_do_not_outlive_a_new_catalogue() {
    let mut cache = EnrichCache::default();
    let dearer = PRICES.replace("input = \"3\"", "input = \"6\"");
    let newer = Enricher::new(Catalogue::from_text(&dearer).expect("valid"), AgentsFile::empty(), MetadataKeys::default());
    let costs = [&enricher(), &newer].map(|enricher| enricher.enrich(batch(&[ROW]), &mut cache).pricing[0].cost);
    assert_eq!(costs, [PicoUsd::from_dollars(3), PicoUsd::from_dollars(6)]);
}

#[test]
fn the_directory_tells_the_model_of_a_profile_unless_it_is_configured() {
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1";
    let models = |id: &str| vec![format!("arn:aws:bedrock:us-east-1::foundation-model/{id}")];
    let entry = |id: &str| Entry { arn: arn.to_owned(), models: models(id), ..Entry::default() };
    let costs = |enricher: &Enricher| enricher.enrich(batch(&[Row { model: arn, ..ROW }]), &mut EnrichCache::default()).pricing[0];
    assert_eq!(costs(&enricher()).status, PriceStatus::Unpriced);
    let knowing = enricher().with_directory(Arc::new(Directory::new(vec![entry("amazon.nova-lite-v1:0")])));
    assert_eq!((costs(&knowing).status, costs(&knowing).cost), (PriceStatus::Priced, PicoUsd::from_dollars(3)));
    // A newer directory takes the place of the old one.
    let changed = knowing.with_directory(Arc::new(Directory::new(vec![entry("made.up-v9:0")])));
    assert_eq!(costs(&changed).status, PriceStatus::Unpriced);
    let catalogue = Catalogue::from_text(PRICES).expect("valid").with_aliases([(arn.to_owned(), "amazon.nova-lite-v1:0".to_owned())]);
    let configured = Enricher::new(catalogue, AgentsFile::empty(), MetadataKeys::default());
    let configured = configured.with_directory(Arc::new(Directory::new(vec![entry("made.up-v9:0")])));
    assert_eq!(costs(&configured).cost, PicoUsd::from_dollars(3));
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let model =
        prop::sample::select(vec!["amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0", "global.amazon.nova-lite-v1:0", "made.up-v9:0"]);
    let tier = prop::sample::select(vec![ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Reserved]);
    let error = prop::sample::select(vec!["", "", "ThrottlingException"]);
    let metadata = prop::sample::select(vec!["", r#"{"agent":"a"}"#, r#"{"agent":"b","team":"t"}"#]);
    let at = prop::sample::select(vec![SEPTEMBER, OCTOBER]);
    let usage = (0_u64..5_000, 0_u64..5_000, 0_u64..2, 0_u64..500).prop_map(|(input, output, cache_read, cache_write_5m)| Usage {
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h: 0,
    });
    let row = (model, tier, error, metadata, at, usage, 0_u64..2).prop_map(|(model, tier, error, metadata, at, usage, topic_units)| Row {
        model,
        at,
        tier,
        error,
        usage,
        topic_units,
        metadata,
        ..ROW
    });
    prop::collection::vec(row, 1..40)
}

proptest! {
    #[test]
    fn a_call_costs_the_same_in_any_company(rows in rows(), cut in any::<prop::sample::Index>()) {
        let enricher = enricher();
        let mut cache = EnrichCache::default();
        let whole = priced(&enricher.enrich(batch(&rows), &mut cache));
        let (left, right) = rows.split_at(cut.index(rows.len()));
        let halves = [left, right].map(|half| priced(&enricher.enrich(batch(half), &mut cache))).concat();
        prop_assert_eq!(&halves, &whole);
        let alone: Vec<_> = rows.iter().flat_map(|row| priced(&enricher.enrich(batch(std::slice::from_ref(row)), &mut EnrichCache::default()))).collect();
        prop_assert_eq!(&alone, &whole);
    }

    #[test]
    fn a_call_costs_what_its_rates_quote(rows in rows()) {
        let catalogue = Catalogue::from_text(PRICES).expect("valid");
        for (row, shown) in rows.iter().zip(priced(&enricher().enrich(batch(&rows), &mut EnrichCache::default()))) {
            let rates = catalogue.resolve(row.model, "us-east-1", "", row.tier, "Converse");
            let guardrail = GuardrailUnits { topic: row.topic_units, ..GuardrailUnits::default() };
            let extras = (row.topic_units > 0).then(|| Extras { guardrail, ..Extras::default() });
            let at: Micros = row.at.parse().expect("a time");
            let quote = rates.quote(at, &row.usage, extras.as_ref(), row.basis, !row.error.is_empty());
            prop_assert_eq!((shown.0, shown.1, shown.2), (quote.cost, quote.cost_max, quote.status));
            prop_assert_eq!((&*shown.3, &*shown.4, &*shown.5), (&*rates.model, &*rates.scope, quote.price_version));
        }
    }
}
