//! What AWS says about the things that call, indexed for attribution: inference profiles, principals, runtimes, agents, registry records.
//!
//! Of several entries of one thing the newest holds; a deleted thing keeps its last words, for calls of the past keep their names.
//! Roles and users are found by account and name without path and without regard to case, as identity ARNs tell them.

use std::cmp::Ordering;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use sluice_schemas::directory::{Entry, EntryKind};

use crate::attribution::{Principal, resource};
use crate::prices::model_behind;

type Index<V> = HashMap<String, V, FixedState>;

/// An immutable index of directory entries.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    entries: Vec<Entry>,
    /// Profiles, runtimes, agents and registry records by ARN.
    by_arn: Index<u32>,
    /// Roles and users by `scope/name`.
    by_principal: Index<u32>,
    /// Runtimes, agents and registry records by `scope/name` of the role that they run as.
    by_role: Index<Vec<u32>>,
    /// Registry records by name.
    records: Index<u32>,
}

impl Directory {
    /// Indexes entries, in any order.
    #[must_use]
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut things: HashMap<(EntryKind, String), Vec<Entry>, FixedState> = HashMap::default();
        for entry in entries {
            let key = match entry.kind {
                EntryKind::Role | EntryKind::User => principal_key(&entry.arn).unwrap_or_default(),
                _ => entry.arn.clone(),
            };
            if !key.is_empty() {
                things.entry((entry.kind, key)).or_default().push(entry);
            }
        }
        let mut known: Vec<_> = things.into_iter().map(|((kind, key), entries)| (kind, key, last_words(entries))).collect();
        known.sort_unstable_by(|(kind, key, _), (other_kind, other_key, _)| (kind, key).cmp(&(other_kind, other_key)));
        let mut directory = Self::default();
        for (_, key, entry) in known {
            directory.add(key, entry);
        }
        directory
    }

    fn add(&mut self, key: String, entry: Entry) {
        let at = self.entries.len() as u32;
        if matches!(entry.kind, EntryKind::Role | EntryKind::User) {
            self.by_principal.insert(key, at);
        } else {
            self.by_arn.insert(key, at);
            if let Some(role) = principal_key(&entry.role_arn) {
                self.by_role.entry(role).or_default().push(at);
            }
        }
        if entry.kind == EntryKind::RegistryRecord {
            let older = self.records.get(&entry.name).and_then(|&other| self.entries.get(other as usize));
            if older.is_none_or(|older| (older.deleted, entry.seen_at) >= (entry.deleted, older.seen_at)) {
                self.records.insert(entry.name.clone(), at);
            }
        }
        self.entries.push(entry);
    }

    /// Tells whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Iterates over what is known, one entry for each thing.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Returns the application inference profile with this ARN.
    #[must_use]
    pub fn profile(&self, arn: &str) -> Option<&Entry> {
        self.thing(arn).filter(|entry| entry.kind == EntryKind::InferenceProfile)
    }

    /// Returns the role or user behind an identity ARN.
    #[must_use]
    pub fn principal(&self, identity_arn: &str) -> Option<&Entry> {
        self.numbered(*self.by_principal.get(&principal_key(identity_arn)?)?)
    }

    /// Returns the runtimes, agents and registry records that run as the role of an identity ARN: those that still exist, or all if
    /// none does.
    #[must_use]
    pub fn running_as(&self, identity_arn: &str) -> Vec<&Entry> {
        let key = principal_key(identity_arn).unwrap_or_default();
        self.numbers_running_as(&key).into_iter().filter_map(|at| self.numbered(at)).collect()
    }

    /// Returns the runtime or agent with this ARN; that of an endpoint, version or alias names the thing itself.
    #[must_use]
    pub fn runtime_or_agent(&self, arn: &str) -> Option<&Entry> {
        let found = self.thing(arn).or_else(|| self.thing(resource::without_qualifier(arn))).or_else(|| self.thing(&resource::thing(arn)));
        found.filter(|entry| matches!(entry.kind, EntryKind::Runtime | EntryKind::Agent))
    }

    /// Returns the registry record of this name; of several the one that still exists, then the newest.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<&Entry> {
        self.records.get(name).and_then(|&at| self.numbered(at))
    }

    /// Tells whether the Agent Registry is known.
    pub(crate) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    fn thing(&self, arn: &str) -> Option<&Entry> {
        self.by_arn.get(arn).and_then(|&at| self.numbered(at))
    }

    pub(crate) fn numbered(&self, at: u32) -> Option<&Entry> {
        self.entries.get(at as usize)
    }

    /// Returns the number of the entry of a principal and of what runs as it.
    pub(crate) fn of_principal(&self, principal: &Principal<'_>) -> (Option<u32>, Vec<u32>) {
        if self.entries.is_empty() {
            return (None, Vec::new());
        }
        let key = key(principal);
        (self.by_principal.get(&key).copied(), self.numbers_running_as(&key))
    }

    fn numbers_running_as(&self, key: &str) -> Vec<u32> {
        let all = self.by_role.get(key).map_or(&[][..], Vec::as_slice);
        let live: Vec<_> = all.iter().copied().filter(|&at| self.numbered(at).is_some_and(|entry| !entry.deleted)).collect();
        if live.is_empty() { all.to_vec() } else { live }
    }

    /// Returns the model behind each application inference profile that tells one, as an id that prices are found by.
    pub(crate) fn models(&self) -> impl Iterator<Item = (String, String)> {
        let profiles = self.entries.iter().filter(|entry| entry.kind == EntryKind::InferenceProfile);
        profiles.filter_map(|entry| Some((entry.arn.clone(), model_behind(&entry.models)?)))
    }
}

fn key(principal: &Principal<'_>) -> String {
    format!("{}/{}", principal.scope(), principal.name.to_ascii_lowercase())
}

fn principal_key(arn: &str) -> Option<String> {
    Principal::parse(arn).map(|principal| key(&principal))
}

/// Returns the newest entry; of a deleted thing what was last said of it while it existed, marked as deleted.
fn last_words(mut entries: Vec<Entry>) -> Entry {
    entries.sort_by(by_age);
    let deleted = entries.last().is_some_and(|entry| entry.deleted);
    let living = entries.iter().rposition(|entry| !entry.deleted);
    let mut entry = entries.swap_remove(living.unwrap_or(entries.len().saturating_sub(1)));
    entry.deleted = deleted;
    entry
}

/// Older first. Entries of one moment are ordered by what they say, so that the order they came in does not matter.
fn by_age(a: &Entry, b: &Entry) -> Ordering {
    let words = |entry: &Entry| (entry.seen_at, entry.deleted);
    let rest = |entry: &Entry| format!("{entry:?}");
    words(a).cmp(&words(b)).then_with(|| rest(a).cmp(&rest(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sluice_schemas::Micros;

    fn entry(kind: EntryKind, arn: &str, name: &str, seen_at: i64) -> Entry {
        Entry { kind, arn: arn.to_owned(), name: name.to_owned(), seen_at: Micros(seen_at), ..Entry::default() }
    }

    #[test]
    fn the_newest_holds_and_the_deleted_keep_their_last_words() {
        let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/a1";
        let named = |name: &str, seen_at, deleted| Entry { deleted, ..entry(EntryKind::InferenceProfile, arn, name, seen_at) };
        let directory = Directory::new(vec![named("new", 2, false), named("old", 1, false)]);
        assert_eq!(directory.profile(arn).map(|entry| entry.name.as_str()), Some("new"));
        let directory = Directory::new(vec![named("", 3, true), named("new", 2, false), named("old", 1, false)]);
        assert_eq!(directory.profile(arn).map(|entry| (entry.name.as_str(), entry.deleted)), Some(("new", true)));
        let directory = Directory::new(vec![named("gone", 3, true)]);
        assert_eq!(directory.profile(arn).map(|entry| entry.deleted), Some(true));
        assert_eq!(directory.entries().len(), 1);
    }

    #[test]
    fn principals_are_found_without_path_and_case() {
        let directory = Directory::new(vec![
            entry(EntryKind::Role, "arn:aws:iam::1:role/service/Checkout", "Checkout", 1),
            entry(EntryKind::User, "arn:aws:iam::1:user/BedrockAPIKey-x1", "BedrockAPIKey-x1", 1),
        ]);
        let kind = |arn: &str| directory.principal(arn).map(|entry| entry.kind);
        assert_eq!(kind("arn:aws:sts::1:assumed-role/checkout/run-7"), Some(EntryKind::Role));
        assert_eq!(kind("arn:aws:iam::1:user/bedrockapikey-X1"), Some(EntryKind::User));
        assert_eq!(kind("arn:aws:sts::2:assumed-role/Checkout/run-7"), None);
        assert_eq!(kind(""), None);
    }

    #[test]
    fn what_runs_as_a_role_is_what_still_exists() {
        let role = "arn:aws:iam::1:role/R";
        let runs = |arn: &str, deleted| Entry { role_arn: role.to_owned(), deleted, ..entry(EntryKind::Runtime, arn, arn, 1) };
        let names = |entries: Vec<Entry>| {
            let directory = Directory::new(entries);
            directory.running_as("arn:aws:sts::1:assumed-role/r/s").iter().map(|entry| entry.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![runs("a", true), runs("b", false)]), ["b"]);
        assert_eq!(names(vec![runs("a", true), runs("b", true)]), ["a", "b"]);
    }

    #[test]
    fn endpoints_and_aliases_lead_to_the_thing() {
        let runtime = "arn:aws:bedrock-agentcore:us-east-1:1:runtime/helper-AbCdEfGh12";
        let agent = "arn:aws:bedrock:us-east-1:1:agent/AGENT12345";
        let directory = Directory::new(vec![entry(EntryKind::Runtime, runtime, "helper", 1), entry(EntryKind::Agent, agent, "desk", 1)]);
        let name = |arn: &str| directory.runtime_or_agent(arn).map(|entry| entry.name.as_str());
        assert_eq!(name(&format!("{runtime}/runtime-endpoint/DEFAULT")), Some("helper"));
        assert_eq!(name(agent), Some("desk"));
        assert_eq!(name("arn:aws:bedrock:us-east-1:1:agent-alias/AGENT12345/ALIAS"), Some("desk"));
        assert_eq!(name("arn:aws:bedrock:us-east-1:1:agent/OTHER"), None);
    }

    proptest! {
        #[test]
        fn the_order_of_entries_does_not_matter(
            entries in prop::collection::vec((0_usize..6, "[ab]", "[xyz]{0,2}", 0_i64..3, any::<bool>()), 0..8).prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle()))
        ) {
            let make = |all: &[(usize, String, String, i64, bool)]| {
                let entries = all.iter().map(|(kind, id, name, seen_at, deleted)| {
                    let arn = format!("arn:aws:iam::1:role/{id}");
                    Entry { deleted: *deleted, role_arn: arn.clone(), ..entry(EntryKind::ALL[*kind], &arn, name, *seen_at) }
                });
                Directory::new(entries.collect())
            };
            let (one, other) = (make(&entries.0), make(&entries.1));
            prop_assert_eq!(one.entries().collect::<Vec<_>>(), other.entries().collect::<Vec<_>>());
            prop_assert_eq!(one.record("x"), other.record("x"));
            prop_assert_eq!(one.running_as("arn:aws:iam::1:role/a"), other.running_as("arn:aws:iam::1:role/a"));
        }
    }
}
