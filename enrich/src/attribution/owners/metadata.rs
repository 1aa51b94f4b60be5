//! What metadata of a batch claims, kept between two looks at its calls: objects are read once, whatever becomes known of callers later.

use sluice_schemas::{StringTable, Sym};

use super::super::claims::Claims;
use super::super::findings::Sources;
use super::{OwnerCache, Owners, UNSEEN};

/// What the metadata objects of a batch claim.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadClaims {
    claims: Vec<Claims>,
    /// Position in `claims` by symbol of the metadata.
    at: Vec<u32>,
    /// Tags of all objects read.
    tags: Vec<(Sym, Sym)>,
}

impl<'a> Owners<'a> {
    /// Prepares for the strings of one batch, some of whose metadata was read before.
    pub(crate) fn going_on(sources: Sources<'a>, cache: &'a mut OwnerCache, strings: &mut StringTable, read: ReadClaims) -> Self {
        let mut owners = Self::of_one(sources, cache, strings);
        owners.caller_at = vec![UNSEEN; strings.len()];
        (owners.claims, owners.claims_at, owners.reader.tags) = (read.claims, read.at, read.tags);
        owners.claims_at.resize(strings.len(), UNSEEN);
        owners
    }

    /// Returns what metadata was read.
    pub(crate) fn into_claims(self) -> ReadClaims {
        ReadClaims { claims: self.claims, at: self.claims_at, tags: self.reader.tags }
    }
}
