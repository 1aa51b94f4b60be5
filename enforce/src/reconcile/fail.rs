//! What becomes of a look or a pull that failed: another try, the next lever of the chain, or the breaker.

use sluice_schemas::time::SECOND;
use sluice_schemas::{ErrorClass, Micros};

use super::event::Happened;
use super::intent::Stage;
use super::note::{Kept, adopt, blank};
use super::step::look_again;
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
            self.writes.refused(now);
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
        adopt(intent, want);
        let before = (intent.stage, intent.trouble.clone());
        intent.tries = intent.tries.saturating_add(1);
        intent.trouble = Some(error.to_string());
        let happened = if transient {
            intent.again_at = Some(now.plus(wait(intent.tries)));
            (intent.tries == TOLD_AFTER).then_some(Happened::Failing)
        } else {
            let gone = matches!(error, LeverError::Gone { .. }) || matches!(&error, LeverError::Call(call) if call.is_gone());
            intent.stage = if gone { Stage::Gone } else { Stage::Refused };
            intent.again_at = Some(look_again(intent.stage, false, now, &self.settings.pacing));
            let new = unplanned || before != (intent.stage, intent.trouble.clone());
            new.then_some(if gone { Happened::Gone } else { Happened::Refused })
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

    /// A call was not made because this process may not act: tells whether for good.
    pub(super) fn withheld(&self, reason: &str) -> Result<StoreError, StoreError> {
        let current = self.store.fence()?;
        if current == self.fence {
            return Ok(StoreError::Unavailable { operation: "check the fence", detail: reason.to_owned() });
        }
        Ok(StoreError::Fenced { own: self.fence, current })
    }
}

pub(super) fn wait(tries: u32) -> i64 {
    FIRST_WAIT.saturating_mul(1 << tries.min(20)).min(LONGEST_WAIT)
}
