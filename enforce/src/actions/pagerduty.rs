//! Tells PagerDuty: a breach opens an incident, news of its hold add to it, its release ends it.
//!
//! Source: PagerDuty developer documentation, "Events API v2", "Send an alert event".

use std::time::Duration;

use serde_json::{Value, json};

use super::http::{Answer, Post};
use super::pace::{Pacer, TRIES};
use super::{ActionError, WebhookUrlError, done};
use crate::notice::{HoldNews, HoldNotice, Notice, Receiver, Severity};
use crate::store::Receipt;

/// Where events go by default; `https://events.eu.pagerduty.com/v2/enqueue` for accounts in Europe.
pub const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest summary.
const LONGEST_SUMMARY: usize = 1024;
/// Longest other text.
const LONGEST_TEXT: usize = 1024;
/// Events a second that an integration takes over time.
const PER_SECOND: u32 = 2;
const LANES: usize = 2;

/// An integration of a service.
pub struct PagerDuty {
    post: Post,
    pacer: Pacer,
    routing_key: String,
    name: String,
}

impl PagerDuty {
    /// Returns a receiver that sends events to `url` under the integration's routing key, which is never shown.
    ///
    /// # Errors
    /// The URL is none.
    pub fn new(url: &str, routing_key: &str, timeout: Duration) -> Result<Self, WebhookUrlError> {
        let post = Post::new(url, timeout, LANES)?;
        let name = post.name("pagerduty", &[routing_key]);
        Ok(Self { post, pacer: Pacer::new(PER_SECOND), routing_key: routing_key.to_owned(), name })
    }

    fn event(&self, notice: &Notice<'_>) -> Result<Value, ActionError> {
        if notice.resolves() {
            return Ok(json!({ "routing_key": self.routing_key, "event_action": "resolve", "dedup_key": notice.thread() }));
        }
        let severity = match notice.severity() {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        };
        let details: Value = serde_json::from_str(&notice.json()?)?;
        Ok(json!({
            "routing_key": self.routing_key,
            "event_action": "trigger",
            "dedup_key": notice.thread(),
            "client": "sluice",
            "payload": {
                "summary": cut(notice.title(), LONGEST_SUMMARY),
                "source": "sluice",
                "severity": severity,
                "timestamp": notice.at(),
                "component": cut(notice.target().to_owned(), LONGEST_TEXT),
                "group": cut(notice.group().to_owned(), LONGEST_TEXT),
                "class": notice.kind(),
                "custom_details": details,
            },
        }))
    }
}

impl Receiver for PagerDuty {
    fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, notice: &Notice<'_>) -> Result<Receipt, ActionError> {
        if matches!(notice, Notice::Hold(HoldNotice { state: HoldNews::Verified, .. })) {
            return Ok(done("nothing to wake anyone for"));
        }
        let body = serde_json::to_vec(&self.event(notice)?)?;
        for attempt in 0..TRIES {
            self.pacer.wait(1);
            match self.post.send(&body, &[])? {
                Answer::Taken(status) => return Ok(done(format!("status {status}"))),
                Answer::TooMany(asked) => {
                    std::thread::sleep(asked);
                    self.pacer.back_off(attempt, notice.id());
                }
            }
        }
        Err(self.post.status(429))
    }

    fn lanes(&self) -> usize {
        LANES
    }

    /// A release ends the incident that the breach opened, however mild the news.
    fn needs(&self, notice: &Notice<'_>) -> bool {
        notice.resolves()
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
