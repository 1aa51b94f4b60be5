//! Control of a running daemon over a unix socket: one JSON request a line, one JSON answer a line, the verbs of the command line.
//!
//! Owns: the words, the server's thread, the client. Does not own: what a verb does; the coordinator answers between two steps,
//! and only a query runs beside it, on the files and rows it was handed.

mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sluice_aggregate::query::Listing;

pub(crate) use client::{Client, connect, connect_waiting};
pub(crate) use server::Server;

use crate::lakeview::LiveRows;

/// What can be asked of a daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub(crate) enum Request {
    /// What `top` shows.
    Snapshot,
    /// Whether it is ready, and how far it is.
    Status,
    /// Every budget counter.
    Budgets,
    /// Lines of the audit trail, and where its chain stands.
    Audit {
        /// The line to begin behind.
        after: u64,
        /// Most lines.
        most: usize,
    },
    /// Every hold.
    Holds,
    /// Lift a hold.
    Release {
        /// Its id.
        id: String,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Hold an agent by hand.
    Pause {
        /// The agent.
        agent: String,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
        /// For how long, in microseconds; its own end if that comes first.
        #[serde(default)]
        lasts: Option<i64>,
    },
    /// Undo a pause.
    Resume {
        /// The agent.
        agent: String,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Approve a hold, or confirm a new or changed budget.
    Approve {
        /// Id of the hold or name of the budget.
        id: String,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
        /// For how long, in microseconds; its own end if that comes first.
        #[serde(default)]
        lasts: Option<i64>,
    },
    /// What a hold on a target would pull, and who shares that.
    Preview {
        /// The target, or an agent.
        target: String,
    },
    /// What levers do on whom.
    Levers,
    /// Throw the kill switch, or take it back.
    SetStopped {
        /// Whether nothing is pulled any more.
        stopped: bool,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Let levers be pulled again after the breaker has tripped.
    CloseBreaker {
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Exceptions that are not over.
    Overrides,
    /// Grant an exception.
    Override {
        /// Name of the budget.
        budget: String,
        /// Target; none for all.
        target: Option<String>,
        /// Extra budget in dollars; none for no holds at all.
        extra: Option<String>,
        /// For how long, in microseconds.
        lasts: i64,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// End an exception.
    RevokeOverride {
        /// Its id.
        id: String,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Release every hold.
    ReleaseAll {
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Every shard of a stream and how it is doing.
    Sources,
    /// Go on behind the gap at which a shard stopped.
    ResumeShard {
        /// The shard.
        shard: String,
        /// Who orders it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Read the configuration again.
    Reload,
    /// Rate calls in the lake again.
    Rerate {
        /// Also calls that have a price.
        all: bool,
        /// Say what would change, change nothing.
        dry_run: bool,
    },
    /// One SELECT over lake and uncommitted rows.
    Query {
        /// The statement.
        sql: String,
        /// `table`, `json` or `csv`.
        format: String,
    },
}

/// The coordinator's answer.
pub(crate) enum Answer {
    /// Done; what there is to tell.
    Json(serde_json::Value),
    /// Tables to run a query on.
    Tables(Listing, LiveRows),
    /// Refused, with the reason.
    Refused(String),
}

/// An answer on the wire.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Ok(serde_json::Value),
    Error(String),
}

/// Returns where a process listens that is not the ledger yet: beside the socket of the one that is.
fn waiting(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".waiting");
    PathBuf::from(name)
}

/// Longest path a unix socket may have.
const SOCKET_PATH_MAX: usize = 107;

/// Checks that a path can be a socket's.
fn check_path(path: &Path) -> anyhow::Result<()> {
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_MAX {
        anyhow::bail!(
            "socket path {} is {length} bytes long, the system allows {SOCKET_PATH_MAX}: set control.socket to a shorter one",
            path.display()
        );
    }
    Ok(())
}
