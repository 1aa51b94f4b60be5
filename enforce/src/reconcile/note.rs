//! What is written of an intent: its row, its line of the audit trail, the news.

use serde_json::Value;
use sluice_schemas::Micros;

use super::breaker::{BREAKER, Tripped, breaker_line};
use super::event::{Event, Happened};
use super::intent::{Intent, Stage};
use super::want::Want;
use super::{Reconciler, Went};
use crate::store::records::RecordKind;
use crate::store::{AuditEntry, SELF, StoreError};

/// Request ids an intent keeps.
const MOST_REQUESTS: usize = 16;

/// An intent and the revision it was read with; 0 for one that is not stored.
pub(super) struct Kept {
    pub(super) intent: Intent,
    pub(super) revision: u64,
}

impl Reconciler {
    pub(super) fn forget(&mut self, kept: &mut Option<Kept>, now: Micros, lifted: Option<&str>) -> Result<Went, StoreError> {
        let Some(known) = kept.take() else { return Ok(Went::Enough) };
        let audit = self.line(&known.intent, lifted.map_or(("forget", "done", ""), |detail| ("lift", "done", detail)), now);
        self.store.remove_record(RecordKind::Intent, &known.intent.id(), known.revision, Some(&audit))?;
        if let Some(detail) = lifted {
            let until = now.plus(self.settings.pacing.spread);
            self.lifted.insert(known.intent.id(), (until, known.intent.image.clone()));
            let gone = Some(known);
            self.tell(&gone, Happened::Lifted, detail, now);
        }
        Ok(Went::Enough)
    }

    /// Writes the intent as it is now.
    pub(super) fn save(&self, kept: &mut Option<Kept>, audit: Option<(&str, &str, &str)>, now: Micros) -> Result<(), StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(()) };
        let body = serde_json::to_value(&known.intent).unwrap_or(Value::Null);
        let audit = audit.map(|words| self.line(&known.intent, words, now));
        known.revision = self.store.put_record(RecordKind::Intent, &known.intent.id(), known.revision, &body, audit.as_ref())?;
        Ok(())
    }

    pub(super) fn line(&self, intent: &Intent, (action, state, detail): (&str, &str, &str), now: Micros) -> AuditEntry {
        AuditEntry {
            at: now,
            fire_id: intent.holds.first().cloned().unwrap_or_default(),
            action: format!("{}:{action}", intent.lever),
            target: intent.subject.to_string(),
            state: state.to_owned(),
            actor: SELF.to_owned(),
            detail: detail.to_owned(),
            inputs: serde_json::json!({ "holds": intent.holds, "image": intent.image }).to_string(),
            requests: intent.requests.clone(),
            ..AuditEntry::default()
        }
    }

    pub(super) fn tell(&mut self, kept: &Option<Kept>, what: Happened, detail: &str, at: Micros) {
        let Some(known) = kept else { return };
        let intent = &known.intent;
        self.events.push(Event {
            at,
            what,
            lever: Some(intent.lever),
            subject: intent.subject.to_string(),
            holds: intent.holds.clone(),
            detail: detail.to_owned(),
            requests: intent.requests.clone(),
        });
    }

    pub(super) fn trip(&mut self, tripped: Tripped, now: Micros) -> Result<(), StoreError> {
        let before = self.store.record(RecordKind::Guard, BREAKER)?;
        let body = serde_json::to_value(Some(&tripped)).unwrap_or(Value::Null);
        let audit = breaker_line("trip", SELF, &tripped.reason, now);
        self.store.put_record(RecordKind::Guard, BREAKER, before.map_or(0, |record| record.revision), &body, Some(&audit))?;
        self.breaker.reset();
        self.tripped = Some(tripped.clone());
        self.events.push(Event {
            at: now,
            what: Happened::Tripped,
            lever: None,
            subject: String::new(),
            holds: Vec::new(),
            detail: format!("{}: nothing is pulled until a person closes the breaker", tripped.reason),
            requests: Vec::new(),
        });
        Ok(())
    }
}

/// An intent of something that failed before it could be planned.
pub(super) fn blank(want: &Want, fence: u64, now: Micros) -> Intent {
    Intent {
        lever: want.lever,
        subject: want.subject.clone(),
        holds: want.holds.clone(),
        reason: want.reason.clone(),
        stage: Stage::Refused,
        touched: false,
        image: Value::Null,
        fence,
        since: now,
        until: want.until,
        pulled_at: None,
        confirmed_at: None,
        absent_since: None,
        ineffective: None,
        tries: 0,
        trouble: None,
        again_at: None,
        requests: Vec::new(),
    }
}

/// Notes who wants it now.
pub(super) fn adopt(intent: &mut Intent, want: &Want) {
    intent.holds.clone_from(&want.holds);
    intent.reason.clone_from(&want.reason);
    intent.until = want.until;
}

pub(super) fn remember(intent: &mut Intent, requests: &[String]) {
    intent.requests.extend(requests.iter().filter(|id| !id.is_empty()).cloned());
    let surplus = intent.requests.len().saturating_sub(MOST_REQUESTS);
    intent.requests.drain(..surplus);
}
