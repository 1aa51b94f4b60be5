//! The command line's side of the socket.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, bail};

use super::{Reply, Request, check_path, waiting};

/// A connection to a daemon.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

/// Connects to the daemon of a socket; `None` when none is running.
pub(crate) fn connect(path: &Path) -> anyhow::Result<Option<Client>> {
    if check_path(path).is_err() {
        return Ok(None);
    }
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(Client { stream: BufReader::new(stream) })),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("connect to the daemon at {}", path.display())),
    }
}

/// Connects to a process that waits to be the daemon of a socket; `None` when none does. It answers [`Request::Status`] alone.
pub(crate) fn connect_waiting(path: &Path) -> anyhow::Result<Option<Client>> {
    connect(&waiting(path))
}

impl Client {
    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, request: &Request) -> anyhow::Result<serde_json::Value> {
        let mut line = serde_json::to_vec(request).context("request")?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).context("the daemon went away")?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer).context("the daemon went away")?;
        if answer.is_empty() {
            bail!("the daemon closed the connection without an answer");
        }
        match serde_json::from_str(&answer).context("answer of the daemon")? {
            Reply::Ok(value) => Ok(value),
            Reply::Error(reason) => bail!("{reason}"),
        }
    }
}
