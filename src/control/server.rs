//! The daemon's side of the socket: one thread that accepts, one for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context;
use crossbeam_channel::{Sender, bounded};
use sluice_aggregate::query::{MEMORY_LIMIT, QueryEngine};

use super::{Answer, Reply, Request, check_path, waiting};
use crate::config::Reloader;
use crate::lakeview;
use crate::operate::{Board, Status};
use crate::pipeline::Command;

/// Longest request.
const REQUEST_BYTES: u64 = 1 << 20;
/// Connections served at once.
const CONNECTIONS_MAX: usize = 32;

/// The listening socket; removed on drop.
pub(crate) struct Server {
    path: PathBuf,
    /// Its inode: a process that was overtaken must not remove its successor's.
    inode: u64,
}

impl Server {
    /// Listens at `path`; only the user of this process may connect.
    pub(crate) fn start(path: &Path, reloader: Arc<Reloader>, commands: Sender<Command>, board: Arc<Board>) -> anyhow::Result<Self> {
        // The lake's lock is ours, so a socket found here belongs to nobody that lives.
        Self::listen(path, Daemon { board, ledger: Some(Ledger { commands, reloader }) })
    }

    /// Listens beside the socket at `path` while this process is not the ledger yet, and tells its status; nothing where another process
    /// of this machine waits there already. A process that cannot be asked waits all the same.
    pub(crate) fn wait(path: &Path, board: Arc<Board>) -> Option<Self> {
        let path = waiting(path);
        if UnixStream::connect(&path).is_ok() {
            return None;
        }
        match Self::listen(&path, Daemon { board, ledger: None }) {
            Ok(server) => Some(server),
            Err(error) => {
                tracing::warn!(event = "status_not_told", problem = format!("{error:#}"), "while it waits, nobody can ask for its status");
                None
            }
        }
    }

    fn listen(path: &Path, daemon: Daemon) -> anyhow::Result<Self> {
        check_path(path)?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("remove {}", path.display())),
        }
        let listener = UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).context("permissions of the socket")?;
        let inode = std::fs::metadata(path).context("the socket")?.ino();
        thread::Builder::new().name("control".to_owned()).spawn(move || accept(&listener, &daemon))?;
        Ok(Self { path: path.to_owned(), inode })
    }
}

/// What connections speak to.
#[derive(Clone)]
struct Daemon {
    board: Arc<Board>,
    /// None while another process is the ledger, or this one recovers.
    ledger: Option<Ledger>,
}

/// What a ledger answers with beside its status.
#[derive(Clone)]
struct Ledger {
    commands: Sender<Command>,
    reloader: Arc<Reloader>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| found.ino() != self.inode) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "socket was already gone");
        }
    }
}

fn accept(listener: &UnixListener, daemon: &Daemon) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (daemon, count) = (daemon.clone(), Arc::clone(&open));
        let spawned = thread::Builder::new().name("control-connection".to_owned()).spawn(move || {
            if let Err(error) = serve(stream, &daemon) {
                tracing::debug!(%error, "control connection ended");
            }
            count.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot serve a control connection");
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(stream: UnixStream, daemon: &Daemon) -> anyhow::Result<()> {
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if Read::by_ref(&mut input).take(REQUEST_BYTES).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match answer(&line, daemon) {
            Ok(value) => Reply::Ok(value),
            Err(error) => Reply::Error(format!("{error:#}")),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        out.write_all(&text)?;
    }
}

fn answer(line: &str, daemon: &Daemon) -> anyhow::Result<serde_json::Value> {
    let request: Request = serde_json::from_str(line).context("the daemon does not know this request; are both of one version?")?;
    if matches!(request, Request::Status) {
        return Ok(serde_json::to_value(Status::of(&daemon.board.sight()))?);
    }
    let ledger = daemon.ledger.as_ref().context("this process is not the ledger yet; it tells its status alone")?;
    let query = match &request {
        Request::Query { sql, format } => Some((sql.clone(), format.clone())),
        Request::Reload => return ledger.reloader.reload(),
        _ => None,
    };
    let (reply, answer) = bounded(1);
    ledger.commands.send(Command::Ask(request, reply)).context("the daemon is stopping")?;
    match (answer.recv().context("the daemon is stopping")?, query) {
        (Answer::Json(value), _) => Ok(value),
        (Answer::Refused(reason), _) => anyhow::bail!("{reason}"),
        (Answer::Tables(tables, live), Some((sql, format))) => {
            let engine = QueryEngine::of_listing(tables, live, MEMORY_LIMIT)?;
            let rows = engine.sql(&sql)?;
            Ok(serde_json::Value::String(lakeview::format(&rows, &format)))
        }
        (Answer::Tables(..), None) => anyhow::bail!("tables without a query"),
    }
}
