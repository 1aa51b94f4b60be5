//! Reads a large object by stretches, the next one fetched while the last one is read.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::fetch::{Address, Failed, Objects};
use super::identity::Claim;

/// Bytes of one stretch: two of them are held.
const STRETCH: u64 = 8 << 20;

/// One version of an object.
#[derive(Debug)]
pub(super) struct Remote {
    /// How it is fetched.
    pub(super) objects: Objects,
    /// Where it is.
    pub(super) address: Address,
    /// Which version.
    pub(super) version: Claim,
    /// Its size.
    pub(super) size: u64,
}

/// An object version as a stream of bytes; blocks while it waits for S3.
pub(super) struct Ranged {
    remote: Arc<Remote>,
    handle: Handle,
    /// Start of the stretch that comes next.
    next: u64,
    stretch: Vec<u8>,
    at: usize,
    ahead: Option<JoinHandle<Result<Vec<u8>, Failed>>>,
}

/// Why reading a large object stopped, inside the [`io::Error`] it gives.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Stopped(pub(super) Failed);

impl Ranged {
    /// Reads from `start` on.
    pub(super) fn new(remote: Arc<Remote>, handle: Handle, start: u64) -> Self {
        Self { remote, handle, next: start, stretch: Vec::new(), at: 0, ahead: None }
    }

    fn start(&mut self) -> Option<JoinHandle<Result<Vec<u8>, Failed>>> {
        let (start, end) = (self.next, self.remote.size.min(self.next.saturating_add(STRETCH)));
        if start >= end {
            return None;
        }
        self.next = end;
        let remote = Arc::clone(&self.remote);
        Some(self.handle.spawn(async move { remote.objects.stretch(&remote.address, &remote.version, start, end).await }))
    }
}

impl BufRead for Ranged {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.stretch.len() {
            let ahead = self.ahead.take().or_else(|| self.start());
            (self.stretch, self.at) = (Vec::new(), 0);
            if let Some(ahead) = ahead {
                self.ahead = self.start();
                let fetched = self.handle.block_on(ahead).map_err(io::Error::other)?;
                self.stretch = fetched.map_err(|failed| io::Error::other(Stopped(failed)))?;
            }
        }
        Ok(&self.stretch[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for Ranged {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let given = there.len().min(buffer.len());
        buffer[..given].copy_from_slice(&there[..given]);
        self.consume(given);
        Ok(given)
    }
}

impl Drop for Ranged {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}
