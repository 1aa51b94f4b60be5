//! Orders that people left in the shared store: who gave each is looked into first, then it is carried out once and answered there.
//!
//! An order is in the store until it is answered, so a process that dies leaves it to the next one. One that waits, for STS or for the
//! source's thread, keeps no other waiting.

#[cfg(feature = "aws")]
use std::collections::HashMap;
use std::collections::HashSet;

use anyhow::Context;
use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use sluice_enforce::proof::REQUEST;
use sluice_enforce::store::records::RecordKind;
use sluice_enforce::store::{AuditEntry, Command as Stored};
use sluice_ingest::source::Order;
use sluice_schemas::Micros;
use sluice_schemas::time::SECOND;

use super::source::SourceControl;
use super::{Pipeline, answer};
use crate::control::{Answer, Request};

/// Time between two looks whether somebody left an order in the shared store.
const LOOK: i64 = 2 * SECOND;
/// Orders that the source's thread may have in hand.
const AT_SOURCE: usize = 64;

/// An order that the source answered: whose it is, and what came of it.
type FromSource = (Stored, String, Value);

/// Orders in hand.
pub(super) struct Desk {
    /// When the store was last looked at.
    read: Micros,
    /// The source that orders about shards go to; none before the run.
    pub(super) source: Option<SourceControl>,
    /// Orders that another thread has.
    in_hand: HashSet<String>,
    from_source: (Sender<FromSource>, Receiver<FromSource>),
    #[cfg(feature = "aws")]
    prover: Option<crate::enforcement::Prover>,
    /// Orders whose giver cannot be told now: how often that was tried, when it is tried again, why.
    #[cfg(feature = "aws")]
    waits: HashMap<String, (u32, Micros, String)>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            read: Micros(0),
            source: None,
            in_hand: HashSet::new(),
            from_source: bounded(AT_SOURCE),
            #[cfg(feature = "aws")]
            prover: None,
            #[cfg(feature = "aws")]
            waits: HashMap::new(),
        }
    }
}

impl Pipeline {
    /// Carries out the orders that people left in the shared store, each once.
    pub(super) fn follow_commands(&mut self, now: Micros) -> anyhow::Result<()> {
        #[cfg(feature = "aws")]
        self.follow_proven(now)?;
        for (command, actor, value) in self.desk.from_source.1.try_iter().collect::<Vec<_>>() {
            self.answer_command(&command, (&actor, "answered"), &value, now)?;
        }
        if now.0 - self.desk.read.0 < LOOK {
            return Ok(());
        }
        self.desk.read = now;
        for command in self.shared.open_commands()? {
            #[cfg(feature = "aws")]
            let is_elsewhere = self.desk.in_hand.contains(&command.id) || self.is_left_to_prover(&command, now)?;
            // A build without AWS knows no table, so it has no orders from elsewhere.
            #[cfg(not(feature = "aws"))]
            let is_elsewhere = self.desk.in_hand.contains(&command.id);
            if is_elsewhere {
                continue;
            }
            let actor = command.actor.clone();
            self.carry_out_for(command, &actor, now)?;
        }
        Ok(())
    }

    /// Carries an order out in somebody's name.
    fn carry_out_for(&mut self, command: Stored, actor: &str, now: Micros) -> anyhow::Result<()> {
        let value = match self.follow_command(&command, actor) {
            Ok(Some(value)) => value,
            // The source answers.
            Ok(None) => {
                self.desk.in_hand.insert(command.id);
                return Ok(());
            }
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        self.answer_command(&command, (actor, "answered"), &value, now)
    }

    fn follow_command(&mut self, command: &Stored, actor: &str) -> anyhow::Result<Option<Value>> {
        let text = command.arguments.get(REQUEST).context("the command holds no request")?;
        let request: Request = serde_json::from_str(text).context("the command's request cannot be read")?;
        let request =
            request.by(actor).context("only orders about holds, levers, exceptions and shards are taken from the shared store")?;
        let source = || self.desk.source.clone().context("this ledger reads no source now");
        match request {
            Request::Sources => match answer::sources(&source()?.progress()) {
                Answer::Json(shards) => Ok(Some(shards)),
                _ => Ok(None),
            },
            Request::ResumeShard { shard, actor, reason } => {
                let (source, tell) = (source()?, self.desk.from_source.0.clone());
                anyhow::ensure!(self.desk.in_hand.len() < AT_SOURCE, "too many orders wait for the source: give it again later");
                self.note_resumed(&shard, &actor, &reason);
                let command = command.clone();
                source.order(Order::Resume(shard.clone()), move |known| {
                    let value = answer::resumed(&shard, known).unwrap_or_else(|error| json!({ "error": error }));
                    if tell.try_send((command, actor, value)).is_err() {
                        tracing::debug!("the pipeline is gone, the order stays in the store");
                    }
                });
                Ok(None)
            }
            order => self.follow_order(order).map(Some),
        }
    }

    fn answer_command(&mut self, command: &Stored, (actor, state): (&str, &str), value: &Value, now: Micros) -> anyhow::Result<()> {
        let outcome = value.to_string();
        let audit = AuditEntry {
            at: now,
            fire_id: command.id.clone(),
            action: format!("command:{}", command.verb),
            target: command.arguments.get(REQUEST).cloned().unwrap_or_default(),
            state: state.to_owned(),
            actor: actor.to_owned(),
            detail: outcome.clone(),
            ..AuditEntry::default()
        };
        self.shared.answer(&command.id, &outcome, &audit)?;
        self.desk.in_hand.remove(&command.id);
        if let Some(waited) = self.shared.record(RecordKind::Order, &command.id)? {
            self.shared.remove_record(RecordKind::Order, &command.id, waited.revision, None)?;
        }
        Ok(())
    }
}

#[cfg(feature = "aws")]
mod proven {
    use sluice_enforce::proof::{Verdict, pause};

    use super::{Micros, Pipeline, RecordKind, Stored, json};
    use crate::enforcement::Prover;
    use crate::view::Level;

    /// Who is named where nobody is proven.
    const NOBODY: &str = "unproven";

    impl Pipeline {
        /// Tells whether an order is or was handed to the thread that asks who gave it. Where the store is a file nobody has to be asked.
        pub(super) fn is_left_to_prover(&mut self, command: &Stored, now: Micros) -> anyhow::Result<bool> {
            let config = &self.settings.config;
            let Some(table) = config.shared.table().filter(|_| config.prove_actor) else {
                self.desk.prover = None;
                return Ok(false);
            };
            if self.desk.waits.get(&command.id).is_some_and(|(_, until, _)| now < *until) {
                return Ok(true);
            }
            let prover = match self.desk.prover.take() {
                Some(prover) => prover,
                None => Prover::start(&config.enforce, table, std::sync::Arc::clone(&self.settings.clock))?,
            };
            if self.desk.prover.insert(prover).ask(command.clone()) {
                self.desk.in_hand.insert(command.id.clone());
            }
            Ok(true)
        }

        /// Carries out the orders whose giver is proven, refuses those whose giver is not, and lets the others wait.
        pub(super) fn follow_proven(&mut self, now: Micros) -> anyhow::Result<()> {
            let verdicts = self.desk.prover.as_ref().map(Prover::verdicts).unwrap_or_default();
            for (command, verdict) in verdicts {
                self.desk.in_hand.remove(&command.id);
                match verdict {
                    Verdict::Proven(arn) => {
                        self.desk.waits.remove(&command.id);
                        self.carry_out_for(command, &arn, now)?;
                    }
                    Verdict::Refused(why) => self.refuse(&command, &why, now)?,
                    Verdict::Waits(why) => self.let_wait(&command, why, now),
                }
            }
            Ok(())
        }

        /// Answers an order that nobody is known to have given. It stays in the store with the answer, and in the trail.
        fn refuse(&mut self, command: &Stored, why: &str, now: Micros) -> anyhow::Result<()> {
            let waited = self.desk.waits.remove(&command.id).map(|(_, _, why)| format!("; it waited: {why}"));
            let why = format!("{why}{}", waited.unwrap_or_default());
            tracing::warn!(
                order = command.id.escape_debug().to_string(),
                says_it_is_of = command.actor.escape_debug().to_string(),
                why,
                "an order was refused"
            );
            self.live.event(now, Level::Alarm, format!("order {} refused: {why}; it says it is of {}", command.verb, command.actor));
            let value = json!({ "error": why, "says_it_is_of": command.actor });
            self.answer_command(command, (NOBODY, "refused"), &value, now)
        }

        /// Keeps an order for a later try, and says so where its giver looks.
        fn let_wait(&mut self, command: &Stored, why: String, now: Micros) {
            let (tries, said) = self.desk.waits.remove(&command.id).map_or((0, None), |(tries, _, why)| (tries, Some(why)));
            if said.as_deref() != Some(why.as_str()) {
                tracing::warn!(order = command.id.escape_debug().to_string(), why, "an order waits");
                self.live.event(now, Level::Alarm, format!("order {} waits: {why}", command.verb));
                if let Err(error) = self.say_why(&command.id, &why, now) {
                    tracing::warn!(%error, "why an order waits could not be written beside it");
                }
            }
            self.desk.waits.insert(command.id.clone(), (tries.saturating_add(1), now.plus(pause(tries)), why));
        }

        fn say_why(&self, id: &str, why: &str, now: Micros) -> Result<(), sluice_enforce::StoreError> {
            let before = self.shared.record(RecordKind::Order, id)?.map_or(0, |record| record.revision);
            let body = json!({ "waits": why, "at": now });
            self.shared.put_record(RecordKind::Order, id, before, &body, None).map(drop)
        }
    }
}
