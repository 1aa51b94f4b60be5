//! What the other end of a running pipeline can do without waiting for the coordinator.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crossbeam_channel::TrySendError;
use sluice_ingest::source::{Order, Progress};

use super::coordinate::{Command, Handle};
use super::source::SourceControl;

impl SourceControl {
    /// Returns how far the source is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has an order carried out by the source; `answered` learns whether it concerns one.
    pub(super) fn order(&self, order: Order, answered: impl FnOnce(bool) + Send + 'static) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push_back((order, Box::new(answered)));
    }
}

impl Handle {
    /// Returns how far the source is.
    pub(crate) fn progress(&self) -> Progress {
        self.source.progress()
    }

    /// Has an order carried out by the source; `answered` learns whether it concerns one.
    pub(crate) fn order(&self, order: Order, answered: impl FnOnce(bool) + Send + 'static) {
        self.source.order(order, answered);
    }

    /// Asks for a stop; `false` when the pipeline has ended already.
    pub(crate) fn stop(&self) -> bool {
        self.source.stop.store(true, Ordering::Relaxed);
        // A full queue is no obstacle: the end of the source ends the run.
        !matches!(self.commands.try_send(Command::Stop), Err(TrySendError::Disconnected(_)))
    }
}
