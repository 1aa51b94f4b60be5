//! Proof that an epoch is committed, asked for by everything the world can see (invariant C7).

/// Says that the epoch which made an effect due is durable.
///
/// Minted in one place: by the committer, after the local commit returned. An action takes it by reference, so an effect
/// before the commit does not compile.
#[derive(Debug, PartialEq, Eq)]
pub struct CommitPermit {
    epoch: u64,
}

impl CommitPermit {
    /// States that `epoch` and all before it are committed. For the committer alone.
    #[must_use]
    pub const fn after_commit(epoch: u64) -> Self {
        Self { epoch }
    }

    /// Permits nothing: what an outbox holds before the first commit it hears of.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { epoch: 0 }
    }

    /// Returns the last committed epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Tells whether an effect of `epoch` may be seen.
    #[must_use]
    pub const fn covers(&self, epoch: u64) -> bool {
        epoch <= self.epoch
    }
}
