//! Profiles and owners of stored calls, each distinct one once, and their spend by minute.

use std::hash::BuildHasher;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use sluice_schemas::{AgentStatus, CostBasis, EnrichedBatch, Micros, Owner, Profile, Rank, ServiceTier, SpendDelta, Sym, tables};

use super::{bad, int, map, text};
use crate::query::QueryError;

const TEXTS: usize = tables::CALL_TEXTS.len();

/// Callers seen so far and what they spent.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// Strings, profiles and owners; no calls.
    pub(super) batch: EnrichedBatch,
    /// One for each minute, caller, model and price scope.
    pub(super) deltas: Vec<SpendDelta>,
    /// Bytes of distinct texts read, roughly.
    pub(super) text: usize,
    index: HashTable<u32>,
    /// Hash of each profile with its owner.
    hashes: Vec<u64>,
    delta_of: HashMap<(Micros, u32, Sym, Sym), usize>,
    /// Symbols of the views of the current column.
    known: HashMap<u128, Sym>,
    /// Texts of the current rows as symbols, row by row.
    symbols: Vec<[Sym; TEXTS]>,
    tags: Vec<Vec<(Sym, Sym)>>,
    ranks: Vec<(Rank, Rank)>,
    lower_bound: Vec<bool>,
    hasher: FixedState,
}

impl Callers {
    /// Reads the texts of a batch of rows.
    pub(super) fn read(&mut self, rows: &RecordBatch) -> Result<(), QueryError> {
        let strings = &mut self.batch.batch.strings;
        let before = strings.len();
        self.symbols.clear();
        self.symbols.resize(rows.num_rows(), [Sym::EMPTY; TEXTS]);
        for (at, name) in tables::CALL_TEXTS.into_iter().enumerate() {
            let column = text(rows, name)?;
            // Equal views are equal texts, and most rows of a column are of a few texts.
            self.known.clear();
            for (row, (symbols, &view)) in self.symbols.iter_mut().zip(column.views()).enumerate() {
                if column.is_valid(row) {
                    symbols[at] = *self.known.entry(view).or_insert_with(|| strings.intern(column.value(row)));
                }
            }
        }
        let tags = map(rows, "tags")?;
        let (keys, values) = (tags.keys().as_string_opt::<i32>(), tags.values().as_string_opt::<i32>());
        let (Some(keys), Some(values)) = (keys, values) else {
            return Err(bad("tags", "no texts"));
        };
        self.tags.clear();
        for row in 0..rows.num_rows() {
            let (from, to) = if tags.is_null(row) { (0, 0) } else { (tags.value_offsets()[row], tags.value_offsets()[row + 1]) };
            let pairs = (from as usize..to as usize)
                .map(|at| (strings.intern(keys.value(at)), strings.intern(if values.is_null(at) { "" } else { values.value(at) })));
            self.tags.push(pairs.collect());
        }
        let (agent, session) = (int(rows, "agent_rank")?, int(rows, "session_rank")?);
        self.ranks.clear();
        for row in 0..rows.num_rows() {
            let rank = |column: &datafusion::arrow::array::Int32Array| {
                if column.is_null(row) { Some(Rank::Inferred) } else { rank(column.value(row)) }
            };
            let unknown = || bad("agent_rank or session_rank", "an unknown rank");
            self.ranks.push((rank(agent).ok_or_else(unknown)?, rank(session).ok_or_else(unknown)?));
        }
        let basis = text(rows, "cost_basis")?;
        self.lower_bound.clear();
        self.lower_bound.extend(basis.iter().map(|basis| basis == Some(CostBasis::LowerBound.as_str())));
        self.text += (strings.len() - before) * 32;
        Ok(())
    }

    /// Returns profile number, model and price scope of a row that was read, and whether the call failed.
    pub(super) fn caller(&mut self, row: usize) -> Result<(u32, Sym, Sym, bool), QueryError> {
        let symbols = self.symbols[row];
        let [account_id, region, inference_region, operation, model_id, model, scope, tier, error_code, principal_arn, ..] = symbols;
        let [.., role, role_session_name, agent_id, agent_evidence, status, session_id, session_evidence, team, metadata] = symbols;
        let tags = &self.tags[row];
        let (agent_rank, session_rank) = self.ranks[row];
        let lower_bound = self.lower_bound[row];
        let hash = self.hasher.hash_one((symbols, tags, agent_rank, session_rank, lower_bound));
        let strings = &self.batch.batch.strings;
        let unknown = |column: &str, symbol: Sym| bad(column, strings.get(symbol));
        let service_tier = match strings.get(tier) {
            "" => ServiceTier::Standard,
            word => ServiceTier::parse(word).ok_or_else(|| unknown("service_tier", tier))?,
        };
        let agent_status = agent_status(strings.get(status)).ok_or_else(|| unknown("agent_status", status))?;
        let profile = Profile {
            account_id,
            region,
            inference_region,
            operation,
            model_id,
            principal_arn,
            error_code,
            metadata,
            service_tier,
            lower_bound,
        };
        let same = |&at: &u32| {
            let (other, owner) = (self.batch.batch.profiles[at as usize], &self.batch.owners[at as usize]);
            other == profile
                && [owner.role, owner.role_session_name, owner.agent_id, owner.agent_evidence, owner.session_id]
                    == [role, role_session_name, agent_id, agent_evidence, session_id]
                && [owner.session_evidence, owner.team] == [session_evidence, team]
                && (owner.agent_status, owner.agent_rank, owner.session_rank) == (agent_status, agent_rank, session_rank)
                && owner.tags == *tags
        };
        let failed = !error_code.is_empty();
        if let Some(&at) = self.index.find(hash, same) {
            return Ok((at, model, scope, failed));
        }
        let at = self.batch.owners.len() as u32;
        let tags = tags.clone();
        let owner = Owner {
            role,
            role_session_name,
            agent_id,
            agent_evidence,
            agent_rank,
            agent_status,
            session_id,
            session_evidence,
            session_rank,
            team,
            tags,
        };
        self.batch.batch.profiles.push(profile);
        self.batch.owners.push(owner);
        self.hashes.push(hash);
        let hashes = &self.hashes;
        self.index.insert_unique(hash, at, |&other| hashes[other as usize]);
        Ok((at, model, scope, failed))
    }

    /// Adds the spend of a call.
    pub(super) fn add(&mut self, delta: SpendDelta) {
        let next = self.deltas.len();
        let at = *self.delta_of.entry((delta.minute, delta.profile, delta.model, delta.scope)).or_insert(next);
        match self.deltas.get_mut(at) {
            Some(known) => {
                known.sums.add(&delta.sums);
                known.last_event = known.last_event.max(delta.last_event);
            }
            None => self.deltas.push(delta),
        }
    }
}

const fn rank(stored: i32) -> Option<Rank> {
    Some(match stored {
        0 => Rank::Inferred,
        1 => Rank::Claimed,
        2 => Rank::Chosen,
        3 => Rank::Pinned,
        4 => Rank::Aws,
        _ => return None,
    })
}

fn agent_status(word: &str) -> Option<AgentStatus> {
    let known = [AgentStatus::Unattributed, AgentStatus::Unverified, AgentStatus::Verified, AgentStatus::Spoofed];
    if word.is_empty() { Some(AgentStatus::default()) } else { known.into_iter().find(|status| status.as_str() == word) }
}
