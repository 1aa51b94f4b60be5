//! Measures how fast calls become Parquet: rows, encoding on two threads, and a committed epoch.
//!
//! `cargo run --release --example encode_speed -- [CALLS] [PROFILES]`

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use sluice_aggregate::facts::{call_rows, spend_deltas};
use sluice_aggregate::lake::{EncodedGroup, Lake, LakeError, encode_group};
use sluice_schemas::position::Positions;
use sluice_schemas::time::SECOND;
use sluice_schemas::{
    Batch, EnrichedBatch, Invocation, Micros, Owner, PicoUsd, PriceStatus, Pricing, Profile, RequestId, SystemClock, Usage, tables,
};

/// 2026-10-01T00:00:00Z.
const START: Micros = Micros(1_790_812_800_000_000);
/// Calls of one batch.
const BATCH: u64 = 50_000;
const THREADS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 = arguments.next().map_or(Ok(400_000), |text| text.parse())?;
    let profiles: u32 = arguments.next().map_or(Ok(500), |text| text.parse())?;
    let batches: Vec<EnrichedBatch> = (0..count / BATCH).map(|index| batch(index * BATCH, profiles)).collect();
    let keep = vec![true; BATCH as usize];
    let mut out = std::io::stdout().lock();

    let start = Begun::now();
    let deltas: usize = batches.iter().map(|batch| spend_deltas(batch, &keep).len()).sum();
    writeln!(out, "{}  spend of {count} calls: {deltas} deltas", start.spent())?;

    let start = Begun::now();
    let rows: Vec<_> = batches.iter().flat_map(|batch| call_rows(batch, &keep, "bench", START)).collect();
    writeln!(out, "{}  rows of {count} calls, one thread", start.spent())?;

    let start = Begun::now();
    let groups: Vec<EncodedGroup> = rows.iter().map(|(dt, rows)| encode_group(tables::CALLS, *dt, rows)).collect::<Result<_, _>>()?;
    writeln!(out, "{}  encoded, one thread, {} groups", start.spent(), groups.len())?;
    drop(groups);

    let start = Begun::now();
    let encode = |mine: &[EnrichedBatch]| -> Result<Vec<EncodedGroup>, LakeError> {
        let rows = mine.iter().flat_map(|batch| call_rows(batch, &keep, "bench", START));
        rows.map(|(dt, rows)| encode_group(tables::CALLS, dt, &rows)).collect()
    };
    let groups: Vec<EncodedGroup> = std::thread::scope(|scope| {
        let threads: Vec<_> = batches.chunks(batches.len().div_ceil(THREADS)).map(|mine| scope.spawn(move || encode(mine))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Ok(Vec::new()))).collect::<Result<Vec<_>, _>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    writeln!(out, "{}  rows and encoding, {THREADS} threads", start.spent())?;

    let folder = tempfile::tempdir()?;
    let mut lake = Lake::open_writer(folder.path(), &SystemClock)?;
    let start = Begun::now();
    let mut writer = lake.begin_epoch();
    for group in groups {
        writer.append_encoded(group)?;
    }
    let sealed = writer.seal()?;
    writeln!(out, "{}  appended and synced", start.spent())?;
    let start = Begun::now();
    lake.commit(sealed, Positions::new(), START, START)?;
    writeln!(out, "{}  committed", start.spent())?;
    let bytes: u64 = lake.files(tables::CALLS)?.iter().map(|file| file.bytes).sum();
    writeln!(out, "{:>7} bytes a call", bytes / count)?;
    Ok(())
}

/// When a step began, by the clock on the wall and by the processor's, which a busy machine does not disturb.
struct Begun {
    wall: Instant,
    ticks: u64,
}

impl Begun {
    fn now() -> Self {
        Self { wall: Instant::now(), ticks: ticks() }
    }

    fn spent(&self) -> String {
        format!("{:>7} ms {:>5} ms cpu", self.wall.elapsed().as_millis(), (ticks() - self.ticks) * 10)
    }
}

/// Processor time of this process in hundredths of a second; 0 where the system does not tell.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn batch(first: u64, profiles: u32) -> EnrichedBatch {
    let mut batch = Batch::default();
    let strings = &mut batch.strings;
    let mut owners = Vec::new();
    for profile in 0..profiles {
        let session = strings.intern(&format!("session-{profile:06}-of-an-agent"));
        batch.profiles.push(Profile {
            account_id: strings.intern(&format!("{:012}", profile % 5)),
            region: strings.intern("us-east-1"),
            inference_region: strings.intern(["us-east-1", "us-west-2"][profile as usize % 2]),
            operation: strings.intern("ConverseStream"),
            model_id: strings.intern("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            principal_arn: strings.intern(&format!("arn:aws:sts::111122223333:assumed-role/agents-{}/worker-{profile}", profile % 20)),
            metadata: strings
                .intern(&format!(r#"{{"agent_id":"agent-{}","session_id":"session-{profile:06}","stage":"prod"}}"#, profile % 50)),
            ..Profile::default()
        });
        owners.push(Owner {
            role: strings.intern(&format!("agents-{}", profile % 20)),
            role_session_name: strings.intern(&format!("worker-{profile}")),
            agent_id: strings.intern(&format!("agent-{}", profile % 50)),
            agent_evidence: strings.intern("metadata:agent_id"),
            session_id: session,
            session_evidence: strings.intern("metadata:session_id"),
            team: strings.intern("checkout"),
            tags: vec![(strings.intern("stage"), strings.intern("prod")), (strings.intern("feature"), strings.intern("search"))],
            ..Owner::default()
        });
    }
    let model = strings.intern("claude-sonnet-4-5");
    let (scope, price_version) = (strings.intern("geo:us"), strings.intern("builtin-2026-09-01"));
    let mut pricing = Vec::new();
    let mut random = first.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for number in 0..BATCH {
        let usage = Usage { input: next() % 20_000, output: next() % 2_000, cache_read: next() % 50_000, ..Usage::default() };
        batch.invocations.push(Invocation {
            event_time: START.plus(((first + number) / 20).cast_signed() * SECOND),
            request_id: RequestId::Uuid(u128::from(next()) << 64 | u128::from(next())),
            profile: (next() % u64::from(profiles)) as u32,
            usage,
            basis: Default::default(),
            latency_ms: Some((next() % 30_000) as u32),
            extras: None,
        });
        let cost = PicoUsd(i128::from(usage.input * 3_300_000 + usage.output * 16_500_000 + usage.cache_read * 330_000));
        pricing.push(Pricing { cost, cost_max: cost, status: PriceStatus::Priced, model, scope, price_version });
    }
    EnrichedBatch { batch, owners, pricing }
}
