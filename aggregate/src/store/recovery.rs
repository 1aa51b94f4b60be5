//! What to do at start when local state and lake were not closed together: a pure decision.

use super::Base;

/// What the lake says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeHead {
    /// Last committed epoch, 0 for none.
    pub epoch: u64,
    /// Manifest id of that epoch, empty for epoch 0.
    pub uuid: String,
}

/// How to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryDecision {
    /// Local state is good. Segments below `next_segment` are in the lake.
    Resume {
        /// First segment that is still pending.
        next_segment: u64,
    },
    /// Local state does not continue what the lake holds: drop it, take positions and counters from the lake.
    Rebuild,
}

/// Decides how to start.
///
/// A lake commit names the segments it takes before it begins ([`super::Sealing`]), so after a crash the lake's head alone
/// tells whether it happened. A begun commit without segments (bulk reading keeps none) that did not happen leaves
/// counters ahead of the lake: only then, and when the lake was changed by someone else, the state is rebuilt.
#[must_use]
pub fn recover(local: Option<&Base>, lake: &LakeHead) -> RecoveryDecision {
    let Some(base) = local else {
        return RecoveryDecision::Rebuild;
    };
    let at_base = base.lake_epoch == lake.epoch && base.lake_uuid == lake.uuid;
    match &base.sealing {
        None if at_base => RecoveryDecision::Resume { next_segment: 0 },
        Some(sealing) if sealing.epoch == lake.epoch && sealing.uuid == lake.uuid => {
            RecoveryDecision::Resume { next_segment: sealing.next_segment }
        }
        Some(sealing) if at_base && sealing.next_segment > 0 => RecoveryDecision::Resume { next_segment: 0 },
        _ => RecoveryDecision::Rebuild,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Sealing;
    use super::*;

    fn head(epoch: u64, uuid: &str) -> LakeHead {
        LakeHead { epoch, uuid: uuid.to_owned() }
    }

    fn base(epoch: u64, uuid: &str, sealing: Option<(u64, &str, u64)>) -> Base {
        let sealing = sealing.map(|(epoch, uuid, next_segment)| Sealing { epoch, uuid: uuid.to_owned(), next_segment });
        Base { lake_epoch: epoch, lake_uuid: uuid.to_owned(), sealing, ..Base::default() }
    }

    #[test]
    fn every_crash_has_one_answer() {
        let resume = |next_segment| RecoveryDecision::Resume { next_segment };
        // Nothing was under way.
        assert_eq!(recover(Some(&base(4, "d", None)), &head(4, "d")), resume(0));
        // Begun, not committed: its segments are still here.
        assert_eq!(recover(Some(&base(4, "d", Some((5, "e", 9)))), &head(4, "d")), resume(0));
        // Begun and committed: its segments are in the lake.
        assert_eq!(recover(Some(&base(4, "d", Some((5, "e", 9)))), &head(5, "e")), resume(9));
        // Bulk reading, begun and not committed: counters are ahead.
        assert_eq!(recover(Some(&base(4, "d", Some((5, "e", 0)))), &head(4, "d")), RecoveryDecision::Rebuild);
        // Someone else wrote, or local state is of another lake, or is gone.
        assert_eq!(recover(Some(&base(4, "d", Some((5, "e", 9)))), &head(5, "x")), RecoveryDecision::Rebuild);
        assert_eq!(recover(Some(&base(4, "d", None)), &head(6, "f")), RecoveryDecision::Rebuild);
        assert_eq!(recover(Some(&base(4, "d", None)), &head(4, "x")), RecoveryDecision::Rebuild);
        assert_eq!(recover(None, &head(0, "")), RecoveryDecision::Rebuild);
    }
}
