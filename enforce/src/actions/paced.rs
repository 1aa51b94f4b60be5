//! Calls of AWS that go at a pace, and again where the service asks for patience.

use std::sync::Arc;

use sluice_schemas::ErrorClass;

use super::ActionError;
use super::pace::{Pacer, TRIES};
use crate::aws::{Aws, Call, CallError, Reply};

/// What makes calls, and how fast.
pub(super) struct Paced {
    aws: Arc<dyn Aws>,
    pacer: Pacer,
    /// Name of the receiver, for errors.
    receiver: String,
}

impl Paced {
    /// Calls on behalf of `receiver`, `per_second` messages a second at most.
    pub(super) fn new(aws: Arc<dyn Aws>, receiver: &str, per_second: u32) -> Self {
        Self { aws, pacer: Pacer::new(per_second), receiver: receiver.to_owned() }
    }

    /// Makes a call that carries `count` messages; `key` names them.
    pub(super) fn send(&self, call: &Call, count: usize, key: &str) -> Result<Reply, CallError> {
        let mut attempt = 0;
        loop {
            self.pacer.wait(count);
            match self.aws.call(call) {
                Ok(reply) => {
                    self.pacer.went_well();
                    return Ok(reply);
                }
                Err(error) if attempt + 1 < TRIES && asks_for_patience(&error) => {
                    self.pacer.back_off(attempt, key);
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns the error of one message of a call that failed.
    pub(super) fn failed(&self, source: CallError) -> ActionError {
        ActionError::Call { receiver: self.receiver.clone(), source }
    }

    /// Returns the error of a message that was refused while others of its call were taken.
    pub(super) fn refused(&self, code: &str, detail: &str, again: bool) -> ActionError {
        ActionError::Refused { receiver: self.receiver.clone(), code: code.to_owned(), detail: detail.to_owned(), again }
    }

    /// Returns the error of a message that is too large.
    pub(super) fn too_large(&self, bytes: usize, most: usize) -> ActionError {
        ActionError::TooLarge { receiver: self.receiver.clone(), bytes, most }
    }

    /// Returns the error of a message that the answer does not name.
    pub(super) fn no_result(&self) -> ActionError {
        ActionError::NoResult { receiver: self.receiver.clone() }
    }
}

/// An answer that says "later", and not silence: whoever is silent would make every other message wait as long.
fn asks_for_patience(error: &CallError) -> bool {
    matches!(error, CallError::Refused { .. }) && error.class() == ErrorClass::Transient
}
