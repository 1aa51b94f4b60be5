//! The audit trail as a person asks for it: a walk over the shared store, its copy in the lake, what differs, and a pack to hand out.
//!
//! Owns: reading both and putting the answers together. Does not own: what makes a chain hold (`sluice_enforce::audit`).

mod agents;
mod copy;
mod pack;
mod policy;
mod readme;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sluice_aggregate::lake::{Lake, LakeError};
use sluice_enforce::SharedStore;
use sluice_enforce::audit::{AuditEntry, AuditFault, ChainReport, Comparison, Head, Verifier};

use crate::config::{Config, SharedPlace};
use crate::control::{self, Client, Request};
use crate::lakeview;

pub(crate) use pack::{Span, export};

/// Lines read at once.
const PAGE: usize = 1_000;

/// Some lines of the trail.
#[derive(Serialize, Deserialize)]
struct Page {
    /// Where the chain stood before the lines were read: with no line left, it is the end of what was read.
    head: Option<Head>,
    lines: Vec<(u64, AuditEntry)>,
}

/// Where the trail is read.
enum Trail {
    /// A daemon has the store.
    Daemon(Client),
    /// Nobody has it.
    Store(std::sync::Arc<dyn SharedStore>),
    /// There is no store; looking at it must not make one.
    Nowhere,
}

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// The trail of the shared store.
    pub(crate) chain: ChainReport,
    /// The lake's copy; absent without a lake.
    pub(crate) lake: Option<LakeCopy>,
}

/// What was found of the lake's copy.
#[derive(Debug, Serialize)]
pub(crate) struct LakeCopy {
    /// Rows of `actions`.
    pub(crate) rows: u64,
    /// Lines that are not in the lake yet.
    pub(crate) waiting: u64,
    /// What differs.
    pub(crate) faults: Vec<AuditFault>,
}

impl Verdict {
    /// Returns everything that is wrong, by line.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &AuditFault> {
        self.chain.faults.iter().chain(self.lake.iter().flat_map(|lake| &lake.faults))
    }
}

fn read_page(store: &dyn SharedStore, after: u64, most: usize) -> anyhow::Result<Page> {
    let head = store.audit_head()?;
    Ok(Page { head, lines: store.audit_trail(after, most.min(PAGE))? })
}

/// Answers a [`Request::Audit`].
pub(crate) fn page(store: &dyn SharedStore, after: u64, most: usize) -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::to_value(read_page(store, after, most)?)?)
}

impl Trail {
    fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(match (control::connect(&config.socket)?, &config.shared) {
            (Some(client), _) => Self::Daemon(client),
            (None, SharedPlace::File(path)) if !path.exists() => Self::Nowhere,
            (None, place) => Self::Store(place.open()?),
        })
    }

    fn page(&mut self, after: u64) -> anyhow::Result<Page> {
        match self {
            Self::Daemon(client) => {
                serde_json::from_value(client.ask(&Request::Audit { after, most: PAGE })?).context("lines of the audit trail")
            }
            Self::Store(store) => read_page(store.as_ref(), after, PAGE),
            Self::Nowhere => Ok(Page { head: None, lines: Vec::new() }),
        }
    }
}

/// Hands every line of the trail over in order, and returns where its chain stands.
pub(crate) fn walk(config: &Config, mut each: impl FnMut(u64, &AuditEntry) -> anyhow::Result<()>) -> anyhow::Result<Option<Head>> {
    let mut trail = Trail::open(config)?;
    let mut after = 0;
    loop {
        let page = trail.page(after)?;
        let Some((last, _)) = page.lines.last() else { return Ok(page.head) };
        after = *last;
        for (number, entry) in &page.lines {
            each(*number, entry)?;
        }
    }
}

/// Opens the lake for reading; `None` if there is none.
fn lake(config: &Config) -> anyhow::Result<Option<Lake>> {
    match Lake::open_reader(&config.lake) {
        Ok(lake) => Ok(Some(lake)),
        Err(LakeError::NotALake { .. }) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open lake {}", config.lake.display())),
    }
}

/// Walks the trail and compares it with its copy in the lake.
///
/// The lake is read first: lines that are written meanwhile are then only missing there, at the end, where they may be.
pub(crate) fn verify(config: &Config) -> anyhow::Result<Verdict> {
    let mut comparison = None;
    if let Some(lake) = lake(config)? {
        let mut copy = Comparison::default();
        for (number, entry) in copy::read(&lakeview::engine(&lake, Vec::new())?)? {
            copy.of_lake(number, entry);
        }
        comparison = Some(copy);
    }
    let mut verifier = Verifier::default();
    let head = walk(config, |number, entry| {
        verifier.take(number, entry);
        if let Some(comparison) = &mut comparison {
            comparison.of_store(number, entry);
        }
        Ok(())
    })?;
    let lake = comparison.map(|comparison| {
        let (rows, waiting) = comparison.counts();
        LakeCopy { rows, waiting, faults: comparison.finish() }
    });
    Ok(Verdict { chain: verifier.finish(head.as_ref()), lake })
}
