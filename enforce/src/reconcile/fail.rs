//! What becomes of a look or a pull that failed: another try, the next lever of the chain, or the breaker.

use serde_json::Value;
use sluice_schemas::time::SECOND;
use sluice_schemas::{ErrorClass, Micros};

use super::event::Happened;
use super::intent::{Intent, Stage};
use super::note::{Kept, adopt, blank};
use super::step::{Pacing, look_again};
use super::want::Want;
use super::{Reconciler, Went};
use crate::aws::CallError;
use crate::lever::LeverError;
use crate::store::StoreError;

const FIRST_WAIT: i64 = SECOND;
const LONGEST_WAIT: i64 = 300 * SECOND;
/// Failed tries after which people are told.
pub(super) const TOLD_AFTER: u32 = 5;

impl Reconciler {
    /// Notes why a look or a pull failed, and when to try again.
    pub(super) fn failed(&mut self, want: &Want, kept: &mut Option<Kept>, error: LeverError, now: Micros) -> Result<Went, StoreError> {
        if let LeverError::Call(CallError::Withheld { reason, .. }) = &error {
            return Err(self.withheld(reason)?);
        }
        let throttled = matches!(&error, LeverError::Call(call) if call.is_throttling());
        if throttled {
            self.refused(now);
        }
        let transient = error.class() == ErrorClass::Transient;
        if transient && kept.is_none() {
            // Nothing was begun: the next turn looks again.
            tracing::warn!(lever = %want.lever, subject = %want.subject, %error, "a lever could not look");
            return Ok(Went::Enough);
        }
        let unplanned = kept.is_none();
        let known = kept.get_or_insert_with(|| Kept { intent: blank(want, self.fence, now), revision: 0 });
        let intent = &mut known.intent;
        let same_holds = intent.holds == want.holds;
        adopt(intent, want);
        let before = (intent.stage, intent.trouble.clone());
        let gone = matches!(error, LeverError::Gone { .. }) || matches!(&error, LeverError::Call(call) if call.is_gone());
        if gone && may_be_late(intent, now, &self.settings.pacing) {
            intent.absent_since = intent.absent_since.or(Some(now));
            intent.again_at = Some(look_again(intent.stage, true, now, &self.settings.pacing));
            self.save(kept, None, now)?;
            return Ok(Went::Enough);
        }
        intent.tries = intent.tries.saturating_add(1);
        intent.trouble = Some(error.to_string());
        let happened = if transient {
            intent.again_at = Some(now.plus(wait(intent.tries)));
            (intent.tries == TOLD_AFTER).then_some(Happened::Failing)
        } else {
            intent.stage = if gone { Stage::Gone } else { Stage::Refused };
            if gone {
                // What was put went with it, and whoever comes back under the name had nothing taken away.
                (intent.touched, intent.image, intent.absent_since) = (false, Value::Null, None);
            }
            let again = look_again(intent.stage, false, now, &self.settings.pacing);
            intent.again_at = Some(again);
            // A try that began anew and failed alike is no news.
            let is_alike = (before.0 == intent.stage || before.0 == Stage::Planned) && before.1 == intent.trouble;
            let is_known = !unplanned && same_holds && is_alike;
            if is_known && before.0 == intent.stage {
                // Nothing new is not worth a write.
                self.looks.insert(intent.id(), again);
                return Ok(Went::Enough);
            }
            (!is_known).then_some(if gone { Happened::Gone } else { Happened::Refused })
        };
        let detail = error.to_string();
        let audit = happened.map(|what| ("pull", what.as_str(), detail.as_str()));
        self.save(kept, audit, now)?;
        if let Some(what) = happened {
            self.tell(kept, what, &detail, now);
        }
        if happened == Some(Happened::Refused)
            && !error.falls_back()
            && let Some(tripped) = self.breaker.failed(now, &self.settings.breaker)
        {
            self.trip(tripped, now)?;
        }
        Ok(Went::Enough)
    }

    /// Notes why a look failed. A stop that was pulled and may not be looked at any more is no stop that cannot be pulled: it stays as it
    /// is noted, and people are told once.
    pub(super) fn unseen(&mut self, want: &Want, kept: &mut Option<Kept>, error: LeverError, now: Micros) -> Result<Went, StoreError> {
        let is_denied = matches!(&error, LeverError::Call(call) if call.is_denied());
        let Some(known) = kept.as_mut().filter(|kept| is_denied && matches!(kept.intent.stage, Stage::Pulled | Stage::Stands)) else {
            return self.failed(want, kept, error, now);
        };
        let intent = &mut known.intent;
        adopt(intent, want);
        intent.tries = intent.tries.saturating_add(1);
        let detail = format!("cannot be looked at: {error}");
        let is_news = intent.trouble.as_ref() != Some(&detail);
        intent.trouble = Some(detail.clone());
        let again = now.plus(wait(intent.tries).max(self.settings.pacing.resync));
        intent.again_at = Some(again);
        self.looks.insert(intent.id(), again);
        if is_news {
            self.save(kept, Some(("look", Happened::Failing.as_str(), &detail)), now)?;
            self.tell(kept, Happened::Failing, &detail, now);
        }
        Ok(Went::Enough)
    }

    /// AWS asks for fewer calls; it does not say of which kind.
    pub(super) fn refused(&mut self, now: Micros) {
        self.writes.refused(now);
        self.reads.refused(now);
    }

    /// A call was not made because this process may not act: tells whether for good.
    pub(super) fn withheld(&self, reason: &str) -> Result<StoreError, StoreError> {
        let current = self.store.fence()?;
        if current == self.fence {
            return Ok(StoreError::Unavailable { operation: "check the fence", detail: reason.to_owned() });
        }
        Ok(StoreError::Fenced { own: self.fence, current })
    }
}

/// Tells whether a subject that is not seen may be there nevertheless: something was put on it, and one look may lag behind.
fn may_be_late(intent: &Intent, now: Micros, pacing: &Pacing) -> bool {
    let seen_for = intent.absent_since.map_or(0, |since| now.0.saturating_sub(since.0));
    intent.touched && (0..pacing.spread).contains(&seen_for)
}

pub(super) fn wait(tries: u32) -> i64 {
    FIRST_WAIT.saturating_mul(1 << tries.min(20)).min(LONGEST_WAIT)
}
