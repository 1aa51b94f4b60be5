//! JSON posts to a URL that may hold a secret: only its host is ever shown.

use std::time::Duration;

use ureq::Agent;
use ureq::http::Uri;

use super::ActionError;

/// Longest pause that a receiver may ask for within one telling; a longer one is the outbox's.
const LONGEST_ASKED: Duration = Duration::from_secs(2);

/// Why a URL is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{shown}' is not an http or https URL with a host")]
pub struct WebhookUrlError {
    /// The URL up to its host: paths of webhooks are secrets.
    pub shown: String,
}

/// A URL and the client that posts to it.
pub(super) struct Post {
    url: String,
    host: String,
    agent: Agent,
}

/// How a post was answered.
pub(super) enum Answer {
    /// With success.
    Taken(u16),
    /// Too many; after a pause it may be tried again.
    TooMany(Duration),
}

impl Post {
    /// Prepares posts to `url` that wait `timeout` for the whole exchange. Redirects are not followed.
    pub(super) fn new(url: &str, timeout: Duration, lanes: usize) -> Result<Self, WebhookUrlError> {
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
            .max_idle_connections_per_host(lanes)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { url: url.to_owned(), host, agent: Agent::new_with_config(config) })
    }

    /// Returns a name with the host and a digest of `secrets`, which tells two receivers of one host apart.
    pub(super) fn name(&self, kind: &str, secrets: &[&str]) -> String {
        let parts: Vec<&str> = std::iter::once(self.url.as_str()).chain(secrets.iter().copied()).collect();
        format!("{kind}:{}:{}", self.host, &crate::budget::digest(&parts)[..8])
    }

    /// Posts `body` once.
    pub(super) fn send(&self, body: &[u8], headers: &[(&str, &str)]) -> Result<Answer, ActionError> {
        let request = self.agent.post(&self.url).header("Content-Type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send(body).map_err(|error| ActionError::Unreachable { host: self.host.clone(), detail: plain(&error) })?;
        match response.status().as_u16() {
            status @ 200..300 => Ok(Answer::Taken(status)),
            429 => {
                let asked = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
                match asked.map(Duration::from_secs) {
                    Some(asked) if asked <= LONGEST_ASKED => Ok(Answer::TooMany(asked)),
                    _ => Err(self.status(429)),
                }
            }
            status => Err(self.status(status)),
        }
    }

    /// Returns the error of a status.
    pub(super) fn status(&self, status: u16) -> ActionError {
        ActionError::Status { host: self.host.clone(), status }
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
