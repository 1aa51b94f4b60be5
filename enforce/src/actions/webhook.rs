//! Posts messages to a URL, at least once, with the id of the message as idempotency key.

use std::time::Duration;

use super::http::{Answer, Post};
use super::{ActionError, WebhookUrlError, done};
use crate::notice::{Notice, Receiver};
use crate::store::Receipt;

/// Posts under way at a time.
const LANES: usize = 16;

/// A receiver of messages, one a post.
///
/// The URL may hold a secret, so only its host is ever shown.
pub struct WebhookAction {
    post: Post,
    name: String,
}

impl WebhookAction {
    /// Returns an action that posts to `url` and waits `timeout` for the whole exchange. Redirects are not followed.
    ///
    /// # Errors
    /// Returns [`WebhookUrlError`] for anything but an absolute http or https URL.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, WebhookUrlError> {
        let post = Post::new(url, timeout, LANES)?;
        let name = post.name("webhook", &[]);
        Ok(Self { post, name })
    }
}

impl Receiver for WebhookAction {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        match self.post.send(notice.json()?.as_bytes(), &[("Idempotency-Key", notice.id())])? {
            Answer::Taken(status) => Ok(done(format!("status {status}"))),
            Answer::TooMany(_) => Err(self.post.status(429)),
        }
    }

    fn lanes(&self) -> usize {
        LANES
    }
}
