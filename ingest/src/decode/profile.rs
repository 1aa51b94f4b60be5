//! Finds the profile of a call among those of the batch, or adds it.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use sluice_schemas::{Batch, Profile, ServiceTier, Sym};

use super::envelope::{Envelope, TEXTS};
use super::fault::{Fault, Field};
use super::scan::Text;
use super::unescape::unescape;

/// Longest string field of the envelope, in bytes.
const MAX_TEXT: usize = 4096;

/// Index of the distinct profiles of the batch in hand.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    index: HashTable<u32>,
    /// How many profiles the index knows, and the last of them: another batch differs in one or the other.
    known: usize,
    last: Option<Profile>,
    hasher: FixedState,
    /// Symbols that the fields had last; of whatever batch, so the text decides.
    recent: [Sym; TEXTS],
    /// Scratch for strings with escapes.
    plain: Vec<u8>,
}

impl Profiles {
    /// Takes up the profiles of `out`, if it is not the batch of the last call.
    pub(super) fn adopt(&mut self, out: &Batch) {
        if self.known == out.profiles.len() && self.last == out.profiles.last().copied() {
            return;
        }
        self.index.clear();
        for at in 0..out.profiles.len() as u32 {
            self.insert(at, out);
        }
    }

    /// Returns the index of the record's profile; `tier` tells the service tier of an operation.
    pub(super) fn find(&mut self, envelope: &Envelope<'_>, tier: impl FnOnce(&str) -> ServiceTier, out: &mut Batch) -> Result<u32, Fault> {
        let mut profile = Profile {
            account_id: self.required(envelope, Field::AccountId, out)?,
            region: self.required(envelope, Field::Region, out)?,
            inference_region: self.optional(envelope, Field::InferenceRegion, out)?,
            operation: self.optional(envelope, Field::Operation, out)?,
            model_id: self.required(envelope, Field::ModelId, out)?,
            principal_arn: self.optional(envelope, Field::Arn, out)?,
            error_code: self.optional(envelope, Field::ErrorCode, out)?,
            metadata: out.strings.intern_utf8(envelope.metadata).map_err(|_| Fault::NotUtf8)?,
            service_tier: ServiceTier::default(),
            lower_bound: false,
        };
        profile.service_tier = tier(out.strings.get(profile.operation));
        let hash = self.hasher.hash_one(profile);
        if let Some(&at) = self.index.find(hash, |&at| out.profiles.get(at as usize) == Some(&profile)) {
            return Ok(at);
        }
        let at = out.profiles.len() as u32;
        out.profiles.push(profile);
        self.insert(at, out);
        Ok(at)
    }

    /// Returns the bytes of a field; the scratch memory holds them where it has escapes.
    pub(super) fn plain<'s>(&'s mut self, text: Text<'s>, field: Field) -> Result<&'s [u8], Fault> {
        let bytes = if text.escaped {
            self.plain.clear();
            unescape(text.raw, &mut self.plain).map_err(|fault| fault.at(field))?;
            &self.plain
        } else {
            text.raw
        };
        if bytes.len() > MAX_TEXT {
            return Err(Fault::OutOfRange(field));
        }
        Ok(bytes)
    }

    fn optional(&mut self, envelope: &Envelope<'_>, field: Field, out: &mut Batch) -> Result<Sym, Fault> {
        let text = envelope.text(field);
        // Most calls repeat the account, region, operation and so on of the call before.
        let recent = self.recent[field as usize];
        // A symbol of an earlier batch may lie beyond this one's table, where it reads as empty until a text takes its place.
        let known = (recent.0 as usize) < out.strings.len();
        if known && !text.escaped && out.strings.get(recent).as_bytes() == text.raw {
            return Ok(recent);
        }
        let sym = out.strings.intern_utf8(self.plain(text, field)?).map_err(|_| Fault::NotUtf8)?;
        self.recent[field as usize] = sym;
        Ok(sym)
    }

    fn required(&mut self, envelope: &Envelope<'_>, field: Field, out: &mut Batch) -> Result<Sym, Fault> {
        match self.optional(envelope, field, out)? {
            Sym::EMPTY => Err(Fault::Missing(field)),
            sym => Ok(sym),
        }
    }

    fn insert(&mut self, at: u32, out: &Batch) {
        let hash = |at: &u32| self.hasher.hash_one(out.profiles.get(*at as usize).copied().unwrap_or_default());
        self.index.insert_unique(hash(&at), at, hash);
        self.known = out.profiles.len();
        self.last = out.profiles.last().copied();
    }
}
