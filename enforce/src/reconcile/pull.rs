//! From a look to a stop that stands: plan, pull, verify, and what is noted on the way.

use serde_json::Value;
use sluice_schemas::{ErrorClass, Micros};

use super::event::Happened;
use super::intent::{Intent, Stage, is_one_write, takes_several};
use super::note::{Kept, adopt, remember};
use super::step::look_again;
use super::want::Want;
use super::{Reconciler, Went};
use crate::lever::{LeverError, Sight};
use crate::store::StoreError;

impl Reconciler {
    /// Notes the intent with what stands, before anything is changed.
    pub(super) fn plan(
        &mut self,
        want: &Want,
        kept: &mut Option<Kept>,
        sight: Sight,
        foreign: bool,
        now: Micros,
    ) -> Result<Went, StoreError> {
        let stage = if foreign { Stage::Foreign } else { Stage::Planned };
        // Of several things some may still be away: they are part of what is put back.
        let before = kept.as_ref().map(|kept| &kept.intent).filter(|before| before.touched && takes_several(want.lever));
        let (image, touched) = before.map_or((sight.image.clone(), false), |before| (joined(&before.image, &sight.image), true));
        let intent = Intent {
            lever: want.lever,
            subject: want.subject.clone(),
            holds: want.holds.clone(),
            reason: want.reason.clone(),
            stage,
            touched,
            image,
            fence: self.fence,
            since: now,
            until: want.until,
            pulled_at: None,
            confirmed_at: None,
            absent_since: None,
            ineffective: sight.ineffective.filter(|_| foreign),
            tries: 0,
            trouble: kept.as_ref().and_then(|kept| kept.intent.trouble.clone()).filter(|_| !foreign),
            again_at: foreign.then(|| look_again(stage, false, now, &self.settings.pacing)),
            requests: Vec::new(),
        };
        let revision = kept.as_ref().map_or(0, |kept| kept.revision);
        *kept = Some(Kept { intent, revision });
        self.save(kept, Some(("plan", if foreign { "foreign" } else { "planned" }, "")), now)?;
        if foreign {
            self.tell(kept, Happened::Foreign, "it stood before: it is not ours, and stays when the hold ends", now);
            return Ok(Went::Enough);
        }
        Ok(Went::On)
    }

    pub(super) fn pull(&mut self, want: &Want, kept: &mut Option<Kept>, repair: bool, now: Micros) -> Result<Went, StoreError> {
        if self.writes.take(now).is_err() || !self.may_pull()? {
            return Ok(Went::Enough);
        }
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let was_touched = known.intent.touched;
        adopt(&mut known.intent, want);
        known.intent.stage = Stage::Planned;
        known.intent.touched = true;
        known.intent.fence = self.fence;
        // The word that it was begun has to be durable before it begins.
        self.save(kept, None, now)?;
        let pulled =
            self.lever(want.lever, &want.subject).and_then(|lever| lever.pull(&self.guarded(), &self.order(want, kept.as_ref(), now)));
        let done = match pulled {
            Ok(done) => done,
            Err(error) => {
                let is_refused = error.class() != ErrorClass::Transient && is_one_write(want.lever);
                let is_gone = matches!(error, LeverError::Gone { .. });
                if let Some(known) = kept.as_mut().filter(|_| !was_touched && (is_refused || is_gone)) {
                    // Nothing was changed: what stands there later is somebody else's.
                    known.intent.touched = false;
                }
                return self.failed(want, kept, error, now);
            }
        };
        self.writes.accepted();
        self.breaker.pulled();
        let at = self.clock.now();
        if let Some(known) = kept.as_mut() {
            let intent = &mut known.intent;
            intent.stage = Stage::Pulled;
            (intent.pulled_at, intent.confirmed_at, intent.absent_since) = (Some(at), None, None);
            (intent.tries, intent.trouble, intent.again_at) = (0, None, None);
            remember(intent, &done.requests);
        }
        self.save(kept, Some((if repair { "repair" } else { "pull" }, "done", &done.detail)), at)?;
        self.tell(kept, if repair { Happened::Repaired } else { Happened::Pulled }, &done.detail, at);
        if self.only_interrupts(want.lever) {
            // It interrupts: there is nothing that could be seen to stand.
            return self.stands(want, kept, Sight { stands: true, ..Sight::default() }, at);
        }
        Ok(Went::On)
    }

    pub(super) fn stands(&mut self, want: &Want, kept: &mut Option<Kept>, sight: Sight, now: Micros) -> Result<Went, StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let intent = &mut known.intent;
        let was = (intent.stage, intent.ineffective.clone());
        adopt(intent, want);
        intent.stage = Stage::Stands;
        intent.confirmed_at = intent.confirmed_at.or(Some(now));
        (intent.absent_since, intent.tries, intent.trouble) = (None, 0, None);
        intent.ineffective = sight.ineffective;
        intent.again_at = Some(look_again(Stage::Stands, false, now, &self.settings.pacing));
        let ineffective = intent.ineffective.clone();
        let state = if ineffective.is_some() { "ineffective" } else { "done" };
        self.save(kept, Some(("verify", state, ineffective.as_deref().unwrap_or_default())), now)?;
        match ineffective {
            Some(why) if was.1.as_deref() != Some(&why) => self.tell(kept, Happened::Ineffective, &why, now),
            None if was.0 != Stage::Stands || was.1.is_some() => self.tell(kept, Happened::Verified, "", now),
            _ => {}
        }
        Ok(Went::Enough)
    }

    /// What somebody else put stops the calls no longer, or does again.
    pub(super) fn foreign_changed(&mut self, want: &Want, kept: &mut Option<Kept>, sight: Sight, now: Micros) -> Result<Went, StoreError> {
        let why = sight.ineffective.clone();
        let went = self.note(want, kept, false, now, |intent| intent.ineffective = sight.ineffective)?;
        if let Some(why) = why {
            self.tell(kept, Happened::Ineffective, &why, now);
        }
        Ok(went)
    }

    pub(super) fn taken_off(&mut self, want: &Want, kept: &mut Option<Kept>, now: Micros) -> Result<Went, StoreError> {
        let detail = "a person took it off; it stays off until the hold ends";
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        adopt(&mut known.intent, want);
        known.intent.stage = Stage::TakenOff;
        known.intent.again_at = Some(look_again(Stage::TakenOff, false, now, &self.settings.pacing));
        self.save(kept, Some(("taken_off", "done", detail)), now)?;
        self.tell(kept, Happened::TakenOff, detail, now);
        if let Some(tripped) = self.breaker.taken_off(now, &self.settings.breaker) {
            self.trip(tripped, now)?;
        }
        Ok(Went::Enough)
    }

    /// Notes nothing new but who wants it and when to look again; the store hears of it only if that matters after a crash.
    pub(super) fn keep(&mut self, want: &Want, kept: &mut Option<Kept>, now: Micros) -> Result<Went, StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        let unsure = known.intent.absent_since.is_some();
        let stage = known.intent.stage;
        let news = stage != Stage::TakenOff && (known.intent.holds != want.holds || known.intent.until != want.until);
        if stage != Stage::TakenOff {
            adopt(&mut known.intent, want);
        }
        let again = look_again(stage, unsure, now, &self.settings.pacing);
        known.intent.again_at = Some(again);
        self.looks.insert(known.intent.id(), again);
        if news {
            self.save(kept, Some(("want", "noted", "")), now)?;
        }
        Ok(Went::Enough)
    }

    pub(super) fn note(
        &mut self,
        want: &Want,
        kept: &mut Option<Kept>,
        unsure: bool,
        now: Micros,
        change: impl FnOnce(&mut Intent),
    ) -> Result<Went, StoreError> {
        let Some(known) = kept.as_mut() else { return Ok(Went::Enough) };
        adopt(&mut known.intent, want);
        change(&mut known.intent);
        known.intent.again_at = Some(look_again(known.intent.stage, unsure, now, &self.settings.pacing));
        self.save(kept, None, now)?;
        Ok(Went::Enough)
    }
}

/// Joins what was taken away before and what stands now.
pub(super) fn joined(before: &Value, now: &Value) -> Value {
    let mut joined = now.clone();
    for (key, known) in before.as_object().into_iter().flatten() {
        let (Some(known), Some(list)) = (known.as_array(), joined[key].as_array_mut()) else { continue };
        for one in known {
            if !list.contains(one) {
                list.push(one.clone());
            }
        }
    }
    joined
}
