//! Posts crossings to a URL, at least once, with the fire id as idempotency key.

use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;

use super::{Action, ActionError, check_permit, done};
use crate::budget::ActionKind;
use crate::fire::Crossing;
use crate::permit::CommitPermit;
use crate::store::Receipt;

/// Why a URL is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{shown}' is not an http or https URL with a host")]
pub struct WebhookUrlError {
    /// The URL up to its host: paths of webhooks are secrets.
    pub shown: String,
}

/// A receiver of breaches.
///
/// The URL may hold a secret, so only its host is ever shown.
pub struct WebhookAction {
    url: String,
    host: String,
    name: String,
    agent: Agent,
}

impl WebhookAction {
    /// Returns an action that posts to `url` and waits `timeout` for the whole exchange. Redirects are not followed.
    ///
    /// # Errors
    /// Returns [`WebhookUrlError`] for anything but an absolute http or https URL.
    pub fn new(url: &str, timeout: Duration) -> Result<Self, WebhookUrlError> {
        let uri: Option<Uri> = url.parse().ok();
        let schemed = uri.as_ref().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(authority) = schemed.and_then(|uri| uri.authority()).filter(|authority| !authority.host().is_empty()) else {
            let shown = url.split_once("://").map_or("", |(scheme, _)| scheme).to_owned();
            return Err(WebhookUrlError { shown });
        };
        // Without user info, which may be a secret too.
        let host = authority.port().map_or_else(|| authority.host().to_owned(), |port| format!("{}:{port}", authority.host()));
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        // Two hooks of one host are told apart by a digest of the URL.
        let name = format!("webhook:{host}:{}", &crate::budget::digest(&[url])[..8]);
        Ok(Self { url: url.to_owned(), host, name, agent: Agent::new_with_config(config) })
    }
}

impl Action for WebhookAction {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> ActionKind {
        ActionKind::Notify
    }

    fn apply(&self, permit: &CommitPermit, fire: &Crossing) -> Result<Receipt, ActionError> {
        check_permit(permit, fire)?;
        let body = serde_json::to_vec(&fire.breach)?;
        let request = self.agent.post(&self.url).header("Content-Type", "application/json");
        let sent = request.header("Idempotency-Key", &fire.breach.fire_id).send(body.as_slice());
        let response = sent.map_err(|error| ActionError::Unreachable { host: self.host.clone(), detail: plain(&error) })?;
        match response.status().as_u16() {
            status @ 200..300 => Ok(done(format!("status {status}"))),
            status => Err(ActionError::Status { host: self.host.clone(), status }),
        }
    }
}

/// Says what failed without the URL.
fn plain(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(timeout) => format!("timeout: {timeout}"),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound => "host not found".to_owned(),
        ureq::Error::ConnectionFailed => "connection failed".to_owned(),
        ureq::Error::Tls(reason) => format!("tls: {reason}"),
        ureq::Error::BadUri(_) => "bad uri".to_owned(),
        other => format!("{other:?}").chars().take_while(|char| char.is_ascii_alphanumeric()).collect(),
    }
}
