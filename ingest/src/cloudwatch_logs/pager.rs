//! Asks for one page after another, no faster than the service allows.

use std::time::Duration;

use aws_sdk_cloudwatchlogs::Client;
use tokio::sync::mpsc::Sender;
use tokio::time::{MissedTickBehavior, interval};

use super::boundary::{Boundary, Event};
use crate::aws::{Call, explain};
use crate::s3::persist;
use crate::source::SourceError;

/// Time between two calls: `FilterLogEvents` allows five a second in most regions, for the whole account.
const PACE: Duration = Duration::from_millis(250);
/// Times a listing may be begun again because its token has lapsed without an event in between.
const RESTARTS: u32 = 3;

/// What a page comes to.
#[derive(Debug)]
pub(super) struct Step {
    /// Events to be given.
    pub(super) events: Vec<Event>,
    /// Every event before this millisecond is given with them.
    pub(super) at_ms: u64,
    /// Nothing follows.
    pub(super) is_last: bool,
}

/// A log group and what is wanted of it.
#[derive(Debug)]
pub(super) struct Pager {
    pub(super) client: Client,
    pub(super) region: String,
    /// Name or ARN.
    pub(super) group: String,
    pub(super) boundary: Boundary,
    pub(super) until_ms: u64,
    pub(super) steps: Sender<Result<Step, SourceError>>,
}

impl Pager {
    /// Reads to the end, or until nobody takes the steps.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.pages().await
            && self.steps.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody takes the failure of a log group");
        }
    }

    async fn pages(&mut self) -> Result<(), SourceError> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut token, mut restarts) = (None, 0);
        loop {
            pace.tick().await;
            let page = persist("FilterLogEvents", || self.page(token.clone())).await?;
            let Some((events, next)) = page else {
                restarts += 1;
                if restarts > RESTARTS {
                    return Err(self.lapsing());
                }
                self.boundary.restart();
                token = None;
                continue;
            };
            token = next;
            let is_last = token.is_none();
            if !events.is_empty() {
                restarts = 0;
            }
            let events = self.boundary.take(events, is_last);
            let step = Step { events, at_ms: self.boundary.at_ms, is_last };
            if self.steps.send(Ok(step)).await.is_err() || is_last {
                return Ok(());
            }
        }
    }

    /// Returns a page and the token of the next; `None` when the token has lapsed.
    async fn page(&self, token: Option<String>) -> Result<Option<(Vec<Event>, Option<String>)>, SourceError> {
        let millis = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
        let with_token = token.is_some();
        let call = self.client.filter_log_events().start_time(millis(self.boundary.at_ms)).set_next_token(token);
        // The end is inclusive.
        let call = call.end_time(millis(self.until_ms).saturating_sub(1));
        let call = if self.group.starts_with("arn:") { call.log_group_identifier(&self.group) } else { call.log_group_name(&self.group) };
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let lapsed = error.as_service_error().is_some_and(|error| error.is_invalid_parameter_exception());
                if lapsed && with_token {
                    return Ok(None);
                }
                let arn = format!("arn:aws:logs:{}:*:log-group:{}:*", self.region, self.group);
                let arn = if self.group.starts_with("arn:") { &self.group } else { &arn };
                let call = Call { resource: &self.group, action: "logs:FilterLogEvents", arn, region: &self.region };
                return Err(explain(call, error));
            }
        };
        let event = |event: aws_sdk_cloudwatchlogs::types::FilteredLogEvent| Event {
            time_ms: event.timestamp.and_then(|at| u64::try_from(at).ok()).unwrap_or(0),
            ingested_ms: event.ingestion_time,
            id: event.event_id.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
        };
        let events = answer.events.unwrap_or_default().into_iter().map(event).collect();
        Ok(Some((events, answer.next_token.filter(|token| !token.is_empty()))))
    }

    fn lapsing(&self) -> SourceError {
        SourceError::Service {
            resource: self.group.clone(),
            problem: "CloudWatch Logs refuses its own tokens".to_owned(),
            fix: "start again later: reading goes on where it stopped".to_owned(),
            class: sluice_schemas::ErrorClass::Transient,
            source: None,
        }
    }
}
