//! The way back: lift, look until nothing of it is left, forget.

use sluice_schemas::{ErrorClass, Micros};

use super::event::Happened;
use super::fail::{TOLD_AFTER, wait};
use super::intent::{Intent, Stage};
use super::note::{Kept, remember};
use super::step::look_again;
use super::{Reconciler, Went};
use crate::aws::CallError;
use crate::lever::{LeverError, Order, Undo};
use crate::store::StoreError;

impl Reconciler {
    /// Puts back what stood before, and looks whether it is away.
    pub(super) fn lift(&mut self, kept: &mut Option<Kept>, now: Micros) -> Result<Went, StoreError> {
        if self.writes.take(now).is_err() {
            return Ok(Went::Enough);
        }
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        if known.intent.stage != Stage::Lifting {
            known.intent.stage = Stage::Lifting;
            // Of a pull that was begun and not noted it is only known that it was before this.
            known.intent.pulled_at = known.intent.pulled_at.or(Some(now));
            (known.intent.tries, known.intent.again_at) = (0, None);
            known.intent.fence = self.fence;
            self.save(kept, Some(("lift", "begun", "")), now)?;
        }
        let Some(intent) = kept.as_ref().map(|kept| kept.intent.clone()) else { return Ok(Went::Enough) };
        let lifted = self.lift_and_look(&intent, now);
        match lifted {
            Ok((requests, detail, true)) => {
                self.writes.accepted();
                if let Some(known) = kept.as_mut() {
                    remember(&mut known.intent, &requests);
                }
                self.forget(kept, self.clock.now(), Some(&detail))
            }
            Ok((requests, _, false)) => {
                self.writes.accepted();
                let again = look_again(Stage::Lifting, false, now, &self.settings.pacing);
                if let Some(known) = kept.as_mut() {
                    remember(&mut known.intent, &requests);
                    known.intent.tries = known.intent.tries.saturating_add(1);
                    known.intent.again_at = Some(again);
                }
                self.save(kept, None, now)?;
                Ok(Went::Enough)
            }
            Err(LeverError::Gone { .. }) => self.forget(kept, now, Some("the subject is gone")),
            Err(error) => self.lift_failed(kept, &error, now),
        }
    }

    pub(super) fn lift_and_look(&self, intent: &Intent, now: Micros) -> Result<(Vec<String>, String, bool), LeverError> {
        let lever = self.lever(intent.lever, &intent.subject)?;
        let order =
            Order { subject: &intent.subject, holds: &intent.holds, reason: &intent.reason, since: intent.since, until: intent.until, now };
        let done = lever.lift(&self.guarded(), &order, &intent.image)?;
        // A lift that found nothing to take away may have looked at what stood before the pull.
        let pull_spreads = intent.pulled_at.is_some_and(|at| (0..self.settings.pacing.spread).contains(&now.0.saturating_sub(at.0)));
        if done.requests.is_empty() && pull_spreads && lever.about().undo != Undo::Nothing {
            return Ok((done.requests, done.detail, false));
        }
        let away = lever.about().undo == Undo::Nothing
            || match lever.look(&self.guarded(), &order) {
                Ok(sight) => !sight.stands,
                // What is in the way there now is not ours, and ours was lifted.
                Err(LeverError::Unfit { .. }) => true,
                Err(error) => return Err(error),
            };
        Ok((done.requests, done.detail, away))
    }

    pub(super) fn lift_failed(&mut self, kept: &mut Option<Kept>, error: &LeverError, now: Micros) -> Result<Went, StoreError> {
        if let LeverError::Call(CallError::Withheld { reason, .. }) = error {
            return Err(self.withheld(reason)?);
        }
        if matches!(error, LeverError::Call(call) if call.is_throttling()) {
            self.refused(now);
        }
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let intent = &mut known.intent;
        intent.tries = intent.tries.saturating_add(1);
        intent.trouble = Some(error.to_string());
        intent.again_at = Some(now.plus(wait(intent.tries)));
        // Someone stays locked out who should not be: told at once if no other try will help, and again and again.
        let told = if error.class() == ErrorClass::Transient { intent.tries == TOLD_AFTER } else { intent.tries.is_power_of_two() };
        let detail = format!("cannot be lifted: {error}");
        self.save(kept, told.then_some(("lift", "failing", detail.as_str())), now)?;
        if told {
            self.tell(kept, Happened::Failing, &detail, now);
        }
        Ok(Went::Enough)
    }
}
