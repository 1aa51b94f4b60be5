//! Levers: the thread that pulls them, who calls through what, and what becomes known of it.

use std::sync::{Arc, PoisonError};

use anyhow::Context;
use sluice_enforce::StoreError;
use sluice_enforce::hold::Hold;
use sluice_enforce::notice::{BreakerNotice, HoldNews, HoldNotice, News, Receiver};
use sluice_enforce::reconcile::breaker::Change;
use sluice_enforce::reconcile::event::{Event, Happened, Turn};
use sluice_schemas::time::{DAY, HOUR};
use sluice_schemas::{ErrorClass, Micros, SpendView};

use super::{Mode, Pipeline};
use crate::enforcement::Actuator;
use crate::view::Level;

impl Pipeline {
    /// Tells whether levers are pulled by this process.
    fn pulls(&self) -> bool {
        self.settings.act && self.settings.mode == Mode::Live && !self.settings.config.enforce.levers.is_empty()
    }

    /// Starts the thread that acts, where levers are configured.
    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unnecessary_wraps, reason = "a build with the AWS clients may fail here")]
    pub(super) fn start_actuator(&mut self) -> anyhow::Result<Option<Actuator>> {
        // A configuration with levers was refused.
        debug_assert!(!self.pulls());
        Ok(None)
    }

    /// Starts the thread that acts, where levers are configured.
    #[cfg(feature = "aws")]
    pub(super) fn start_actuator(&mut self) -> anyhow::Result<Option<Actuator>> {
        if !self.pulls() {
            return Ok(None);
        }
        let config = &self.settings.config;
        let opened = crate::enforcement::open(config, Arc::clone(&self.shared), Arc::clone(&self.settings.clock), self.fence)?;
        self.scoping.policy = config.enforce.scope_policy();
        self.scoping.protected = opened.protected;
        self.fill_usage()?;
        let actuator = Actuator::start(opened.reconciler)?;
        self.nudge = Some(actuator.nudger());
        tracing::info!(event = "levers", levers = self.settings.config.enforce.levers.len(), "holds pull levers");
        Ok(Some(actuator))
    }

    /// Fills the index of who calls through what from the lake and pending rows.
    #[cfg(feature = "aws")]
    fn fill_usage(&mut self) -> anyhow::Result<()> {
        let from = self.settings.clock.now().plus(-sluice_enforce::guard::usage::DAYS * DAY).max(Micros(0));
        let engine = crate::lakeview::engine(&self.lake, self.live_rows())?;
        let mut usage = self.scoping.usage.write().unwrap_or_else(PoisonError::into_inner);
        sluice_aggregate::seed::for_each_spend(&engine, from, None, &mut |view| usage.add(view, 1))
            .context("who called through what in the last 30 days")
    }

    /// Counts who called through what; `sign` is -1 for what is taken back.
    pub(super) fn note_usage(&self, view: SpendView<'_>, sign: i64) {
        if self.nudge.is_some() {
            self.scoping.usage.write().unwrap_or_else(PoisonError::into_inner).add(view, sign);
        }
    }

    /// Forgets old usage, from time to time.
    pub(super) fn forget_usage(&mut self, now: Micros) {
        if self.nudge.is_some() && now.0 - self.usage_swept.0 > HOUR {
            self.usage_swept = now;
            self.scoping.usage.write().unwrap_or_else(PoisonError::into_inner).forget(now);
        }
    }

    /// Lets the levers follow the holds at once.
    pub(super) fn nudge(&self) {
        if let Some(nudge) = &self.nudge {
            nudge();
        }
    }

    /// Takes over what the thread that acts did.
    pub(super) fn note_acted(&mut self, acted: Result<Turn, StoreError>) -> anyhow::Result<()> {
        let turn = match acted {
            Ok(turn) => turn,
            Err(error) if error.class() == ErrorClass::Transient => return Ok(()),
            Err(error) => return Err(error).context("levers can be pulled no more"),
        };
        if turn.events.is_empty() && turn.breaker.is_empty() {
            return Ok(());
        }
        let holds = self.shared.holds()?;
        for change in turn.breaker {
            self.tell_breaker(change, &holds);
        }
        for event in &turn.events {
            self.tell_acted(event);
            for hold in holds.iter().filter(|hold| event.holds.contains(&hold.id)) {
                self.tell_hold(hold_notice(hold, event));
            }
        }
        Ok(())
    }

    /// Tells everyone who is told that the breaker tripped or was closed; once, whichever process found it.
    fn tell_breaker(&self, change: Change, holds: &[Hold]) {
        let notice = match change {
            Change::Tripped { tripped, held_back } => {
                let targets = holds.iter().filter(|hold| held_back.contains(&hold.id)).map(|hold| hold.target.clone());
                let close = format!("sluice lever close-breaker{}", super::waiting::place(&self.settings.config.origin));
                BreakerNotice::tripped(&tripped, targets.collect(), close)
            }
            Change::Closed(closed) => BreakerNotice::closed(&closed),
        };
        let (state, until) = (notice.state, notice.at.plus(2 * DAY));
        if let Some(teller) = &self.teller
            && !teller.tell_once(News::Breaker(notice), until)
        {
            tracing::warn!(state = state.as_str(), "too much news waits to be told: that of the breaker is left out");
        }
    }

    /// Tells everyone who is told of a change of a hold.
    pub(super) fn tell_hold(&self, notice: HoldNotice) {
        if let Some(teller) = &self.teller {
            teller.tell(notice);
        }
    }

    /// Returns everyone who is told, as the configuration names them.
    #[cfg(feature = "aws")]
    pub(super) fn receivers(&self) -> anyhow::Result<Vec<Arc<dyn Receiver>>> {
        let config = &self.settings.config;
        let calls = config.notify.iter().any(|notify| notify.to.calls_aws());
        let aws = calls.then(|| crate::enforcement::connect(&config.enforce, Arc::clone(&self.settings.clock))).transpose()?;
        super::receivers::receivers(config, aws.as_ref())
    }

    /// Returns everyone who is told, as the configuration names them.
    #[cfg(not(feature = "aws"))]
    pub(super) fn receivers(&self) -> anyhow::Result<Vec<Arc<dyn Receiver>>> {
        super::receivers::receivers(&self.settings.config, None)
    }

    fn tell_acted(&mut self, event: &Event) {
        let level = match event.what {
            Happened::Pulled | Happened::Verified | Happened::Lifted | Happened::Foreign => Level::Info,
            _ => Level::Alarm,
        };
        let lever = event.lever.map_or("levers", |lever| lever.as_str());
        tracing::info!(
            event = "lever",
            lever,
            what = event.what.as_str(),
            subject = %event.subject.escape_debug(),
            holds = event.holds.join(","),
            detail = %event.detail.escape_debug(),
            requests = event.requests.join(","),
            "lever"
        );
        let detail = if event.detail.is_empty() { String::new() } else { format!(": {}", event.detail) };
        self.live.event(event.at, level, format!("{lever} {} {}{detail}", event.what.as_str(), event.subject));
    }
}

/// Returns the news of a hold that an event of its levers is.
fn hold_notice(hold: &Hold, event: &Event) -> HoldNotice {
    let news = match event.what {
        Happened::Pulled => HoldNews::Put,
        Happened::Verified => HoldNews::Verified,
        Happened::Ineffective => HoldNews::Ineffective,
        Happened::TakenOff | Happened::Repaired => HoldNews::ManualDetach,
        Happened::Foreign | Happened::Refused | Happened::Gone => HoldNews::Degraded,
        Happened::Lifted => HoldNews::Released,
        Happened::Failing | Happened::Tripped => HoldNews::Failing,
    };
    let occasion = format!("{} {} {}", event.subject, event.what.as_str(), event.at);
    let notice = HoldNotice::new(hold, news, &occasion, event.at);
    let reason = if event.detail.is_empty() { hold.reason() } else { event.detail.clone() };
    HoldNotice { lever: event.lever, subject: Some(event.subject.clone()).filter(|text| !text.is_empty()), reason, ..notice }
}
