//! A source of which only some accounts and regions are taken.

use std::sync::Arc;
use std::time::Duration;

use sluice_schemas::Micros;

use crate::decode::Accepts;
use crate::source::{Order, Poll, Progress, Source, SourceError};

/// Has each piece of a source decoded under its list.
pub struct Accepting {
    source: Box<dyn Source>,
    accepts: Arc<Accepts>,
}

impl Accepting {
    /// Puts a list before a source.
    #[must_use]
    pub fn new(source: Box<dyn Source>, accepts: Arc<Accepts>) -> Self {
        Self { source, accepts }
    }
}

impl Source for Accepting {
    fn poll(&mut self, wait: Duration, now: Micros) -> Result<Poll, SourceError> {
        let mut poll = self.source.poll(wait, now)?;
        if let Poll::Piece(piece) = &mut poll {
            piece.accepts = Some(Arc::clone(&self.accepts));
        }
        Ok(poll)
    }

    fn progress(&self) -> Progress {
        self.source.progress()
    }

    fn order(&mut self, order: &Order) -> bool {
        self.source.order(order)
    }
}
