//! The pipeline: one coordinator that owns every state, workers that own none, one thread for the source, one for effects.
//!
//! ```text
//! source ─pieces→ workers (decode, enrich) ─→ coordinator (order, dedup) ─→ workers (fold, encode)
//!        ─→ coordinator (ledger, rollups, epoch) ─commit→ lake · effects
//! ```
//!
//! Owns: order, dedup, epochs, what happens after a crash. A piece needs a credit to enter, so channels of that many places
//! never block and memory is bounded. Invariants C1, C3, C4 and C7 are checked here.

mod acting;
mod ahead;
mod answer;
mod apply;
mod arrival;
mod commit;
mod coordinate;
mod counters;
mod desk;
mod effects;
mod evidence_queue;
mod exposure;
mod forget;
mod handle;
mod join;
mod learn;
mod measure;
mod open;
mod orders;
mod price_guard;
mod receivers;
mod recent;
mod records;
mod refused;
mod rerate;
mod runaway;
mod seed;
mod settle;
mod source;
mod trail_meter;
mod upkeep;
mod waiting;
mod windows;
mod worker;

// Tests that take the steps between the channels one by one; they stand with the other tests of the whole.
#[cfg(test)]
#[path = "../../tests/golden/mod.rs"]
mod golden;
#[cfg(test)]
#[expect(clippy::print_stdout, reason = "a failing seed is told to whoever runs it")]
#[path = "../../tests/simulation/mod.rs"]
mod simulation;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use sluice_aggregate::dedup::Dedup;
use sluice_aggregate::lake::{EpochWriter, Lake};
use sluice_aggregate::store::{Base, LocalStore, segment};
use sluice_aggregate::windows::Rollups;
use sluice_enforce::guard::Scoping;
use sluice_enforce::runaway::Watch;
use sluice_enforce::{Ledger, SharedStore};
use sluice_enrich::enricher::Enricher;
use sluice_ingest::committed::Committed;
use sluice_schemas::position::Positions;
use sluice_schemas::{Clock, Micros, ShardId};

pub(crate) use coordinate::{Command, Exit, Handle};
pub(crate) use counters::Progressed;
pub(crate) use exposure::{Exposed, stated_delays};
pub(crate) use forget::ForgetOrder;
pub(crate) use rerate::Order as RateOrder;
pub(crate) use runaway::for_each_stretch;
pub(crate) use seed::{catalogue, limits};

use crate::config::Config;
use crate::live::{Counts, Live};
use crate::operate::Meter;
use crate::sources::bodies::Bodies;

/// Name under which spend deltas wait in local segments; they become rows of the spend tables at the next lake commit.
pub(crate) const DELTAS: &str = "_deltas";
/// How long after the newest event a record still counts as on time: CloudWatch delivers within three minutes as a rule.
pub(crate) const ALLOWED_LATENESS: i64 = 5 * sluice_schemas::time::MINUTE;
/// Memory of dedup hours that could be loaded again.
const DEDUP_BYTES: usize = 96 << 20;
/// Shortest time between two local commits.
const LOCAL_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of rows that wait for the lake commit of a daemon before it is made early: a backlog, or large records that are refused.
const LIVE_BYTES: usize = 48 << 20;
/// Bytes of spend by minute and session that wait for a lake commit of a daemon.
const ROLLUP_BYTES: usize = 96 << 20;
/// The same where it need not be committed to become rows, which takes three times as much for a moment: a day of many sessions is summed
/// up in parts.
const ROLLUP_PART_BYTES: usize = 40 << 20;
/// Rows of an epoch that goes straight to the lake.
const BULK_ROWS: u64 = 1_500_000;

/// How records reach the lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Sub-second local commits, lake commits at the configured interval.
    Live,
    /// One pass over what is there: rows go straight to lake files, large epochs.
    Bulk,
}

/// What a pipeline is started with.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) mode: Mode,
    /// Carry out what breaches ask for. Without it they are recorded and nothing else.
    pub(crate) act: bool,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where health and metrics are read.
    pub(crate) board: Arc<crate::operate::Board>,
}

/// Every state there is.
pub(crate) struct Pipeline {
    pub(crate) settings: Settings,
    pub(crate) enricher: Arc<RwLock<Arc<Enricher>>>,
    pub(crate) lake: Lake,
    pub(crate) local: LocalStore,
    pub(crate) shared: Arc<dyn SharedStore>,
    pub(crate) base: Base,
    pub(crate) positions: Positions,
    /// Positions of batches that passed dedup and are not applied yet.
    reading: Positions,
    /// Shards read since the last local commit.
    moved: HashSet<ShardId>,
    /// Shards read since the last lake commit.
    unsettled: HashSet<ShardId>,
    /// Fetches bodies that the log only points to.
    pub(crate) bodies: Option<Arc<dyn Bodies>>,
    /// Tells sources what is durable.
    pub(crate) committed: Arc<Committed>,
    pub(crate) dedup: Dedup,
    /// Events of callers, and the calls they speak of.
    join: join::Join,
    /// Calls that came lately (live mode).
    recent: recent::Recent,
    /// Calls that counters have under another owner than the lake.
    ahead: ahead::Ahead,
    /// What AWS said about callers.
    pub(crate) directory: crate::directory::Book,
    /// Refused records that have their row.
    refused: refused::Refused,
    /// Batches that passed dedup and are part of every state.
    applied: u64,
    /// Keys of pending rows by event hour, for hours that are loaded before those rows are in the lake.
    pending_keys: HashMap<i64, Vec<u128>>,
    pub(crate) ledger: Ledger,
    /// Rules of runaway detection and what they know.
    watch: Watch,
    pub(crate) rollups: Rollups,
    pub(crate) windows: windows::Windows,
    /// Rows since the last local commit (live mode).
    segment: Vec<segment::Rows>,
    /// Bytes of the rows of both.
    waiting_bytes: usize,
    /// Rows in local state and not in the lake (live mode).
    pub(crate) pending: Vec<segment::Rows>,
    /// The epoch under way (bulk mode).
    epoch: Option<EpochWriter>,
    /// Fence of this process in the shared store.
    fence: u64,
    /// Lines of the audit trail that are rows of `actions` already.
    audit_seen: u64,
    /// How far spend can go past a threshold.
    exposure: exposure::Exposure,
    /// Policy and prices in force.
    versions: sluice_enforce::audit::Versions,
    /// Fire ids handed to the effects thread and not back yet.
    in_hand: HashMap<String, Micros>,
    pub(crate) live: Live,
    pub(crate) counts: Counts,
    /// What happened since the start, for health and metrics.
    pub(crate) meter: Meter,
    pub(crate) newest_event: Option<Micros>,
    /// Fire ids whose row is in the lake or on its way there.
    recorded: HashSet<String>,
    /// Merging and deleting.
    upkeep: upkeep::Upkeep,
    /// Who called through what, and who is never stopped.
    scoping: Scoping,
    /// Lets the levers follow the holds at once; absent where none are pulled.
    nudge: Option<Arc<dyn Fn() + Send + Sync>>,
    /// The lake's document of the prices in force; absent where nothing is acted on.
    prices: Option<String>,
    /// Until when holds wait for a person because prices rose by much, and what rose.
    price_doubt: Option<(Micros, String)>,
    /// Tells people of changes of holds.
    teller: Option<crate::enforcement::Teller>,
    /// What people were asked about holds.
    asked: waiting::Asked,
    /// When old usage was last forgotten.
    usage_swept: Micros,
    /// Orders of the shared store in hand.
    desk: desk::Desk,
    /// Calls that are being rated again.
    rating: Option<rerate::Rating>,
    /// Breaches since the start, for the closing words.
    breaches: Vec<sluice_schemas::breach::Breach>,
}

/// Checks what only planning and reading can tell: prices, windows, actions.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    use anyhow::Context;
    seed::catalogue(config)?;
    let schema = sluice_schemas::tables::schema(sluice_schemas::tables::CALLS).context("schema of calls")?;
    for (name, sql) in &config.windows {
        sluice_aggregate::windows::WindowPlan::plan(name, sql, Arc::clone(&schema)).with_context(|| format!("window '{name}'"))?;
    }
    Ok(())
}

impl Pipeline {
    /// Returns the fence this process took.
    pub(crate) const fn fence(&self) -> u64 {
        self.fence
    }

    /// Merges the small files of all dates and deletes what nobody needs; nothing is being written any more.
    pub(crate) fn compact_all(&mut self) -> anyhow::Result<()> {
        // What is known of calls and events makes room.
        self.dedup = Dedup::new(DEDUP_BYTES);
        self.join.rest();
        let now = self.settings.clock.now();
        for table in self.lake.tables() {
            self.let_go(&table, now)?;
            self.lake.compact(&table, i32::MAX, now)?;
        }
        self.lake.vacuum(now)?;
        self.note_head()
    }
}
