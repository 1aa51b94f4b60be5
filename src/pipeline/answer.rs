//! What the coordinator answers between two steps: the picture, budgets, holds, orders, a new configuration.

use std::sync::{Arc, PoisonError};

use anyhow::{Context, bail};
use crossbeam_channel::Sender;
use serde_json::{Value, json};
use sluice_aggregate::query::Listing;
use sluice_enforce::BudgetStatus;
use sluice_enforce::hold::{Cause, Hold, HoldState};
use sluice_ingest::source::{Order, Progress, ShardHealth, ShardState};
use sluice_schemas::breach::Breach;
use sluice_schemas::time::DAY;

use super::{Handle, Pipeline};
use crate::config::Config;
use crate::control::{Answer, Request};
use crate::enforcement::agent_target;
use crate::view::{BudgetRow, BudgetState, HoldRow, Level, Snapshot};

/// Counters a snapshot carries, the fullest first.
const BUDGETS_SHOWN: usize = 100;

impl Pipeline {
    pub(super) fn answer(&mut self, request: Request, reply: &Sender<Answer>) {
        send(reply, self.try_answer(request).unwrap_or_else(|error| Answer::Refused(format!("{error:#}"))));
    }

    /// Hands an order to the source; its thread answers.
    pub(super) fn resume_shard(&mut self, handle: &Handle, shard: String, actor: &str, reason: &str, reply: Sender<Answer>) {
        self.note_resumed(&shard, actor, reason);
        let answered = move |shard: &str, known| send(&reply, resumed(shard, known).map_or_else(Answer::Refused, Answer::Json));
        handle.order(Order::Resume(shard.clone()), move |known| answered(&shard, known));
    }

    /// Notes that somebody lets a stopped shard go on.
    pub(super) fn note_resumed(&mut self, shard: &str, actor: &str, reason: &str) {
        tracing::info!(shard, actor, reason, "a stopped shard is to go on");
        self.live.event(self.settings.clock.now(), Level::Info, format!("{actor} lets {shard} go on"));
    }

    fn try_answer(&mut self, request: Request) -> anyhow::Result<Answer> {
        let now = self.settings.clock.now();
        let answer = match request {
            Request::Snapshot => serde_json::to_value(self.snapshot())?,
            Request::Budgets => serde_json::to_value(self.exposed())?,
            Request::Audit { after, most } => crate::audit::page(self.shared.as_ref(), after, most)?,
            // Read on the thread of the connection, so that this loop waits for no file and no service.
            Request::Reload => bail!("a configuration is handed over when it has been read"),
            Request::Preview { target } => serde_json::to_value(self.scoping.of(&agent_target(&target), now.plus(-DAY)))?,
            Request::Sources | Request::ResumeShard { .. } => bail!("only a running daemon has sources"),
            Request::Rerate { .. } => bail!("a rating takes many steps; the coordinator's loop begins it"),
            // Answered by the server, so that it is told even when this loop does not turn.
            Request::Status => bail!("the status is not the coordinator's to tell"),
            Request::Query { .. } => return Ok(Answer::Tables(Listing::of(&self.lake)?, self.live_rows())),
            order => self.follow_order(order)?,
        };
        self.ledger.advance(now);
        Ok(Answer::Json(answer))
    }

    /// Returns every budget counter.
    pub(crate) fn budget_status(&self) -> Vec<BudgetStatus> {
        self.ledger.status(self.settings.clock.now())
    }

    /// Returns what a person sees now.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let now = self.settings.clock.now();
        let holds = self.shared.holds().unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "holds cannot be read");
            Vec::new()
        });
        let holds: Vec<HoldRow> = holds.iter().filter(|hold| hold.state != HoldState::Released).map(hold_row).collect();
        let status = self.ledger.pressing(now, BUDGETS_SHOWN);
        let windows = |name: &str| self.ledger.budgets().get(name).map(|budget| budget.window.to_string()).unwrap_or_default();
        let budgets = status.iter().map(|status| budget_row(status, windows(&status.budget), &holds)).collect();
        self.live.snapshot(now, &self.counts, budgets, holds)
    }

    /// Returns the breaches of this run, oldest first.
    pub(crate) fn breaches(&self) -> &[Breach] {
        &self.breaches
    }

    /// Puts a configuration into force.
    pub(super) fn answer_reload(&mut self, config: Config, reply: &Sender<Answer>) {
        let done = self.reload(config).map(Answer::Json);
        self.ledger.advance(self.settings.clock.now());
        send(reply, done.unwrap_or_else(|error| Answer::Refused(format!("{error:#}"))));
    }

    fn reload(&mut self, config: Config) -> anyhow::Result<Value> {
        super::check(&config)?;
        let changed = self.settings.config.fixed_changes(&config);
        if !changed.is_empty() {
            bail!("{} can only change with a restart; nothing was reloaded", changed.join(", "));
        }
        // New budgets count from the lake, which counters are ahead of.
        self.catch_up()?;
        let enricher = Arc::new(self.directory.equip(super::seed::enricher(&config)?));
        self.guard_prices(enricher.catalogue())?;
        *self.enricher.write().unwrap_or_else(PoisonError::into_inner) = enricher;
        self.ledger.set_limits(super::seed::limits(&config));
        let needed = self.ledger.reconfigure(Arc::new(config.budgets.clone()));
        let seeded: Vec<String> = needed.iter().map(|need| need.budget.clone()).collect();
        self.watch.reconfigure(&config.runaway);
        self.settings.config = config;
        self.note_versions();
        self.learn_history().context("what is usual could not be learned")?;
        self.seed(needed).context("the new budgets could not be filled")?;
        self.confirm_known()?;
        let waiting: Vec<String> = self.ledger.unconfirmed().map(str::to_owned).collect();
        self.live.event(self.settings.clock.now(), Level::Info, "configuration reloaded".to_owned());
        tracing::info!(event = "reloaded", seeded = seeded.len(), unconfirmed = waiting.len(), "configuration reloaded");
        Ok(json!({ "reloaded": true, "seeded": seeded, "only_notify_until_approved": waiting }))
    }
}

/// Sends an answer to whoever asked.
pub(super) fn send(reply: &Sender<Answer>, answer: Answer) {
    if reply.send(answer).is_err() {
        tracing::debug!("whoever asked went away");
    }
}

/// Returns what came of letting a shard go on, by whether a source has it stopped.
pub(super) fn resumed(shard: &str, known: bool) -> Result<Value, String> {
    let refused = || format!("no source has a stopped shard '{shard}': sluice source list shows the shards");
    known.then(|| json!({ "resumed": shard })).ok_or_else(refused)
}

/// Returns the shards of streams.
pub(super) fn sources(progress: &Progress) -> Answer {
    let shard = |health: &ShardHealth| {
        let (state, detail) = match &health.state {
            ShardState::Reading => ("reading", ""),
            ShardState::Waiting => ("waiting for its parents", ""),
            ShardState::Stopped(reason) => ("stopped", reason.as_str()),
            ShardState::Ended => ("ended", ""),
        };
        json!({
            "shard": health.shard,
            "state": state,
            "detail": detail,
            "behind_ms": health.behind_ms,
            "behind_records": health.behind_records,
            "headroom_ms": health.headroom_ms,
        })
    };
    Answer::Json(progress.shards.iter().map(shard).collect())
}

fn hold_row(hold: &Hold) -> HoldRow {
    let budget = match &hold.cause {
        Cause::Breach { budget, .. } => budget.clone(),
        Cause::Manual { actor, .. } => format!("by {actor}"),
    };
    let state = match (hold.state, hold.mode) {
        (HoldState::PendingApproval, _) => "awaiting approval",
        (HoldState::Released, _) => "released",
        (HoldState::Active, sluice_enforce::Mode::Observe) => "observed only",
        (HoldState::Active, _) if hold.scope.grips.is_empty() => "recorded",
        (HoldState::Active, _) => "held",
    };
    HoldRow {
        target: hold.target.clone(),
        budget,
        lever: hold
            .scope
            .grips
            .iter()
            .filter_map(|grip| grip.chain.first())
            .map(|pull| pull.lever.as_str())
            .next()
            .unwrap_or("none")
            .to_owned(),
        state: state.to_owned(),
        since: hold.created_at,
    }
}

fn budget_row(status: &BudgetStatus, window: String, holds: &[HoldRow]) -> BudgetRow {
    let held = holds.iter().any(|hold| hold.stops() && hold.target == status.target && hold.budget == status.budget);
    let over = status.percent_millis.is_some_and(|percent| percent >= 100_000);
    let state = match (held, over, status.fired.is_empty()) {
        (true, ..) => BudgetState::Held,
        (_, true, _) => BudgetState::Breached,
        (_, _, false) => BudgetState::Warned,
        _ => BudgetState::Ok,
    };
    BudgetRow {
        budget: status.budget.clone(),
        target: status.target.clone(),
        window,
        period: status.period.clone(),
        spent: status.spent,
        limit: status.limit.unwrap_or_default(),
        percent_millis: status.percent_millis.unwrap_or(0),
        projected: status.projected,
        state,
    }
}
