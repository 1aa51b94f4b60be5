//! What `sluice status` tells: why it is not ready, how far behind it is, when it last committed, its sources and shards.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_schemas::visible::escape;
use sluice_schemas::{Micros, PicoUsd};

use super::board::{Sight, age};
use super::measures::{Commits, Measures};
use super::ready::Reason;
use crate::config::Edition;
use crate::live::Counts;

/// A process at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Version of the program.
    pub(crate) version: String,
    /// Process id.
    pub(crate) pid: u32,
    /// When this was taken.
    pub(crate) at: Micros,
    /// When the process started.
    pub(crate) started: Micros,
    /// `recovering`, `opening`, `running`, `draining` or `stopped`.
    pub(crate) stage: String,
    /// Whether the coordinator turns.
    pub(crate) live: bool,
    /// Whether nothing stands in the way.
    pub(crate) ready: bool,
    /// What does.
    pub(crate) reasons: Vec<Reason>,
    /// Last epoch of the lake.
    pub(crate) lake_epoch: u64,
    /// Lake commits.
    pub(crate) lake: CommitStatus,
    /// How long the oldest row has waited for a lake commit, in milliseconds.
    pub(crate) lake_waiting_ms: u64,
    /// Local commits.
    pub(crate) local: CommitStatus,
    /// Event time up to which everything is expected to have come.
    pub(crate) watermark: Option<Micros>,
    /// How long the oldest unread record of any stream has waited, in milliseconds.
    pub(crate) lag_ms: Option<u64>,
    /// From arrival to counted, since the start.
    pub(crate) apply_latency: Latency,
    /// From arrival to the local commit, since the start.
    pub(crate) commit_latency: Latency,
    /// Records by what became of them, since the start.
    pub(crate) counts: Counts,
    /// Crossings whose actions are under way.
    pub(crate) outbox_open: u64,
    /// Holds that are not released.
    pub(crate) holds: u64,
    /// Resident memory.
    pub(crate) resident_bytes: Option<u64>,
    /// What the last check of completeness found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) coverage: Option<CoverageStatus>,
    /// The configuration in force.
    #[serde(default)]
    pub(crate) config: ConfigStatus,
    /// Files followed.
    pub(crate) files: FilesStatus,
    /// Shards of streams.
    pub(crate) shards: Vec<ShardStatus>,
}

/// Commits of one kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CommitStatus {
    /// Since the start.
    pub(crate) count: u64,
    /// When the last one was done.
    pub(crate) last: Option<Micros>,
    /// How long ago, in milliseconds.
    pub(crate) age_ms: Option<u64>,
    /// How long it took, in microseconds.
    pub(crate) took_us: u64,
}

/// Upper bounds in milliseconds; none before the first record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half of the records took no longer.
    pub(crate) p50_ms: Option<u64>,
    /// 99 of 100 took no longer.
    pub(crate) p99_ms: Option<u64>,
}

/// A check of completeness.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct CoverageStatus {
    /// When it ended.
    pub(crate) checked: Micros,
    /// Models and hours that were compared with what others counted.
    pub(crate) compared: u64,
    /// Calls that others counted and the lake lacks.
    pub(crate) gap_calls: u64,
    /// Their tokens.
    pub(crate) gap_tokens: u64,
    /// What they cost, as far as a price is known.
    pub(crate) gap_usd: PicoUsd,
}

/// The configuration of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ConfigStatus {
    /// Version of all its texts together.
    pub(crate) version: String,
    /// Its texts, each with its version.
    pub(crate) edition: Edition,
    /// Since when it is in force.
    pub(crate) since: Micros,
    /// How long ago it was found to be the newest, in milliseconds; none where nobody looks.
    pub(crate) confirmed_ms: Option<u64>,
    /// Versions that were refused since the start.
    pub(crate) refused: u64,
    /// Why the newest version is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refusal: Option<String>,
    /// Why it cannot be read now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

/// Files followed; bytes as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FilesStatus {
    pub(crate) known: u64,
    pub(crate) read: u64,
    pub(crate) bytes_known: u64,
    pub(crate) bytes_read: u64,
}

/// A shard of a stream.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShardStatus {
    /// Its name.
    pub(crate) shard: String,
    /// `reading`, `waiting`, `stopped` or `ended`.
    pub(crate) state: String,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<String>,
    /// How long its next record has waited, in milliseconds.
    pub(crate) behind_ms: Option<u64>,
    /// Records behind its end.
    pub(crate) behind_records: Option<u64>,
    /// Milliseconds until the stream drops its next record.
    pub(crate) headroom_ms: Option<u64>,
    /// What it was applied to: a sequence number, or an offset.
    pub(crate) position: String,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Status {
    /// Returns what is known at a moment.
    pub(crate) fn of(sight: &Sight) -> Self {
        let nothing = Measures::default();
        let m = sight.measures.as_deref().unwrap_or(&nothing);
        let reasons = sight.reasons();
        let commits = |commits: &Commits| CommitStatus {
            count: commits.durations.count(),
            last: commits.last,
            age_ms: commits.last.map(|at| millis(age(sight.now, at))),
            took_us: commits.last_micros,
        };
        let latency = |histogram: &super::histogram::Histogram| Latency {
            p50_ms: histogram.quantile(500).map(millis),
            p99_ms: histogram.quantile(990).map(millis),
        };
        let shards = m.source.shards.iter().map(|shard| ShardStatus {
            shard: shard.shard.clone(),
            state: shard.state.to_owned(),
            stopped: shard.stopped.clone(),
            behind_ms: shard.behind_ms,
            behind_records: shard.behind_records,
            headroom_ms: shard.headroom_ms,
            position: if shard.sequence.is_empty() { shard.offset.to_string() } else { shard.sequence.clone() },
        });
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            at: sight.now,
            started: sight.started,
            stage: sight.stage.as_str().to_owned(),
            live: sight.live(),
            ready: reasons.is_empty(),
            reasons,
            lake_epoch: m.lake_epoch,
            lake: commits(&m.lake),
            lake_waiting_ms: m.waiting_since.map_or(0, |since| millis(age(sight.now, since))),
            local: commits(&m.local),
            watermark: m.watermark,
            lag_ms: m.source.behind_ms(),
            apply_latency: latency(&m.applied),
            commit_latency: latency(&m.committed),
            counts: m.counts,
            outbox_open: m.outbox_open,
            holds: sight.outside.holds.iter().map(|hold| hold.count).sum(),
            resident_bytes: sight.outside.process.resident_bytes,
            coverage: sight.coverage.map(|found| CoverageStatus {
                checked: found.at,
                compared: found.totals.compared,
                gap_calls: found.totals.calls,
                gap_tokens: found.totals.tokens.total(),
                gap_usd: found.totals.usd,
            }),
            config: ConfigStatus::of(sight),
            files: FilesStatus {
                known: m.source.files_total,
                read: m.source.files_done,
                bytes_known: m.source.bytes_total,
                bytes_read: m.source.bytes_done,
            },
            shards: shards.collect(),
        }
    }
}

impl ConfigStatus {
    fn of(sight: &Sight) -> Self {
        let config = &sight.config;
        Self {
            version: config.edition.id(),
            edition: config.edition.clone(),
            since: config.since,
            confirmed_ms: config.confirmed.map(|at| millis(age(sight.now, at))),
            refused: config.refused,
            refusal: config.refusal.as_ref().map(|(_, reason)| reason.clone()),
            trouble: config.trouble.clone(),
        }
    }

    /// Returns its lines for people.
    fn lines(&self, now: Micros) -> String {
        let mut text = String::new();
        for (number, document) in self.edition.documents.iter().enumerate() {
            let label = if number == 0 { "configuration" } else { "" };
            let since = if number == 0 { format!(", in force for {}", since(millis(age(now, self.since)))) } else { String::new() };
            text += &format!("{label:<13} {}{since}\n", escape(&document.to_string()));
        }
        if let Some(reason) = &self.refusal {
            text += &format!("  ! a newer configuration is refused, and this one stays: {}\n", escape(reason));
        }
        if let Some(trouble) = &self.trouble {
            text += &format!("  ! the configuration cannot be read now, and this one stays: {}\n", escape(trouble));
        }
        text
    }
}

/// Returns a status for people.
pub(crate) fn render(status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let up = since(millis(age(status.at, status.started)));
    let mut text = format!("sluice {} · {ready} · {} · up {up} · pid {}\n", status.version, status.stage, status.pid);
    if !status.live {
        text += "the coordinator does not turn\n";
    }
    for reason in &status.reasons {
        text += &format!("  ! {} {}\n      {}\n", escape(&reason.resource), escape(&reason.problem), escape(&reason.fix));
    }
    let commit = |commit: &CommitStatus| match commit.age_ms {
        Some(ago) => format!("{} ago in {} ms, {} since the start", since(ago), commit.took_us.div_ceil(1_000), commit.count),
        None => "none since the start".to_owned(),
    };
    let waits = if status.lake_waiting_ms > 0 { format!("; rows wait for {}", since(status.lake_waiting_ms)) } else { String::new() };
    text += &format!("lake commit   {}, epoch {}{waits}\n", commit(&status.lake), status.lake_epoch);
    text += &format!("local commit  {}\n", commit(&status.local));
    let bound = |latency: &Latency| match (latency.p50_ms, latency.p99_ms) {
        (Some(half), Some(most)) => format!("half within {half} ms, 99 % within {most} ms"),
        _ => "nothing yet".to_owned(),
    };
    text += &format!("to spend      {}\n", bound(&status.apply_latency));
    text += &format!("to commit     {}\n", bound(&status.commit_latency));
    if let Some(watermark) = status.watermark {
        text += &format!("watermark     {watermark}, {} behind the clock\n", since(millis(age(status.at, watermark))));
    }
    let counts = &status.counts;
    text += &format!(
        "records       {}: {} calls ({}), {} duplicates, {} rejected, {} trail, {} control\n",
        counts.records,
        counts.facts.saturating_sub(counts.replaced),
        counts.cost.display(6),
        counts.duplicates,
        counts.rejected,
        counts.trail,
        counts.control
    );
    text += &status.config.lines(status.at);
    text += &format!("enforcement   {} holds, {} crossings under way\n", status.holds, status.outbox_open);
    if let Some(found) = &status.coverage {
        text += &coverage_line(found, status.at);
    }
    let files = &status.files;
    if files.known > 0 {
        text += &format!("files         {} of {} read, {} of {} bytes\n", files.read, files.known, files.bytes_read, files.bytes_known);
    }
    if let Some(lag) = status.lag_ms {
        text += &format!("stream lag    {}\n", since(lag));
    }
    for shard in &status.shards {
        text += &shard_line(shard);
    }
    text
}

fn coverage_line(found: &CoverageStatus, now: Micros) -> String {
    let told = match found {
        CoverageStatus { compared: 0, .. } => "nothing to compare with".to_owned(),
        CoverageStatus { gap_calls: 0, gap_tokens: 0, .. } => "complete".to_owned(),
        gap => format!("GAP of {} calls, {} tokens, about {}: sluice coverage", gap.gap_calls, gap.gap_tokens, gap.gap_usd.display(4)),
    };
    format!("coverage      {told}, checked {} ago\n", since(millis(age(now, found.checked))))
}

fn shard_line(shard: &ShardStatus) -> String {
    let told = |value: Option<u64>, form: fn(u64) -> String| value.map_or_else(|| "?".to_owned(), form);
    format!(
        "shard         {} {}: behind {} ({} records), {} until the stream drops it, at {}\n",
        escape(&shard.shard),
        shard.state,
        told(shard.behind_ms, since),
        told(shard.behind_records, |records| records.to_string()),
        told(shard.headroom_ms, since),
        escape(&shard.position)
    )
}

fn since(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}
