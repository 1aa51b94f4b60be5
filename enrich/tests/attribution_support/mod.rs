//! Batches in, owners as text out: what the attribution tests share.

use sluice_enrich::prices::Catalogue;
use sluice_enrich::{AgentsFile, EnrichCache, Enricher, MetadataKeys};
use sluice_schemas::{Batch, EnrichedBatch, Invocation, Micros, Owner, Profile, RequestId, StringTable, Usage};

/// What tells one call's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) arn: String,
    pub(crate) model: String,
    pub(crate) metadata: String,
}

/// An owner as one comparable text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    pub(crate) agent: String,
    pub(crate) session: String,
    pub(crate) role: String,
    pub(crate) team: String,
    pub(crate) tags: String,
}

pub(crate) fn enricher(agents: &str) -> Enricher {
    enricher_with(agents, MetadataKeys::default())
}

pub(crate) fn enricher_with(agents: &str, keys: MetadataKeys) -> Enricher {
    Enricher::new(Catalogue::default(), AgentsFile::parse(agents).expect("valid agents file"), keys)
}

/// One call for each caller, all of the same time and usage.
pub(crate) fn batch(callers: &[Caller]) -> Batch {
    let mut batch = Batch::default();
    for caller in callers {
        let profile = Profile {
            account_id: batch.strings.intern("123456789012"),
            region: batch.strings.intern("us-east-1"),
            operation: batch.strings.intern("Converse"),
            model_id: batch.strings.intern(&caller.model),
            principal_arn: batch.strings.intern(&caller.arn),
            metadata: batch.strings.intern(&caller.metadata),
            ..Profile::default()
        };
        let at = batch.profiles.iter().position(|known| *known == profile).unwrap_or_else(|| {
            batch.profiles.push(profile);
            batch.profiles.len() - 1
        });
        batch.invocations.push(Invocation {
            event_time: Micros(1_790_000_000_000_000),
            request_id: RequestId::Uuid(batch.invocations.len() as u128),
            profile: at as u32,
            usage: Usage { input: 100, output: 10, ..Usage::default() },
            basis: sluice_schemas::CostBasis::Exact,
            latency_ms: None,
            extras: None,
        });
    }
    batch
}

pub(crate) fn show(owner: &Owner, strings: &StringTable) -> Shown {
    let text = |sym| strings.get(sym).to_owned();
    let named = |name, evidence, rank: sluice_schemas::Rank| match (text(name), text(evidence)) {
        (name, evidence) if name.is_empty() && evidence.is_empty() => String::new(),
        (name, evidence) => format!("{name} {evidence} {}", rank as u8),
    };
    let role = text(owner.role);
    let session_name = text(owner.role_session_name);
    Shown {
        agent: format!("{} {}", named(owner.agent_id, owner.agent_evidence, owner.agent_rank), owner.agent_status.as_str()),
        session: named(owner.session_id, owner.session_evidence, owner.session_rank),
        role: if role.is_empty() && session_name.is_empty() { String::new() } else { format!("{role}/{session_name}") },
        team: text(owner.team),
        tags: owner.tags.iter().map(|&(key, value)| format!("{}={}", text(key), text(value))).collect::<Vec<_>>().join(","),
    }
}

/// Owners of the calls of a batch, in source order.
pub(crate) fn owners(enriched: &EnrichedBatch) -> Vec<Shown> {
    enriched.calls().map(|call| show(call.owner, &enriched.batch.strings)).collect()
}

pub(crate) fn attribute(enricher: &Enricher, callers: &[Caller]) -> Vec<Shown> {
    owners(&enricher.enrich(batch(callers), &mut EnrichCache::default()))
}
