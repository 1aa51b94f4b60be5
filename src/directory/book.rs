//! What is known of things, kept by the coordinator; and what calls name that nobody asked about yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Sender;
use hashbrown::HashSet;
use sluice_enrich::Directory;
use sluice_enrich::enricher::Enricher;
use sluice_ingest::directory::{Place, Wanted};
use sluice_schemas::Batch;
use sluice_schemas::directory::{Entry, EntryKind};

/// Things and places that are remembered as wished for; beyond, calls keep what the log alone tells.
const MOST_WISHES: usize = 200_000;

/// What the asking thread is to find out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wish {
    /// A thing that a call named.
    Thing(Wanted),
    /// A place that a call came from.
    Place(Place),
}

/// The directory as the coordinator has it.
#[derive(Debug, Default)]
pub(crate) struct Book {
    known: BTreeMap<(EntryKind, String), Entry>,
    wishes: Option<Sender<Wish>>,
    /// What was wished for, in the words of calls: role without session, model, place.
    wished: HashSet<String>,
    /// Models became known since calls were last rated.
    pub(crate) rating_due: bool,
    /// When calls are to be rated again for that.
    pub(crate) rate_at: Option<sluice_schemas::Micros>,
}

impl Book {
    /// Takes entries over; returns those that say something new, of each thing the last, and whether it was known before.
    pub(crate) fn learn(&mut self, entries: Vec<Entry>) -> Vec<(Entry, bool)> {
        let mut news: BTreeMap<(EntryKind, String), (Entry, bool)> = BTreeMap::new();
        for entry in entries {
            let key = (entry.kind, key(&entry));
            let last = self.known.get(&key);
            if last.is_some_and(|last| last.seen_at > entry.seen_at || says_the_same(last, &entry)) {
                continue;
            }
            self.rating_due |= last.map_or(&[][..], |last| &last.models) != entry.models;
            let known = last.is_some() && news.get(&key).is_none_or(|(_, known)| *known);
            self.known.insert(key.clone(), entry.clone());
            news.insert(key, (entry, known));
        }
        news.into_values().collect()
    }

    /// Returns what is known, one entry for each thing.
    #[cfg(any(feature = "aws", test))]
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.known.values().cloned().collect()
    }

    /// Returns an enricher that knows what is known here.
    pub(crate) fn equip(&self, enricher: Enricher) -> Enricher {
        if self.known.is_empty() {
            return enricher;
        }
        enricher.with_directory(Arc::new(Directory::new(self.known.values().cloned().collect())))
    }

    /// Sends wishes to an asking thread from here on.
    #[cfg(feature = "aws")]
    pub(crate) fn wish_to(&mut self, wishes: Sender<Wish>) {
        self.wishes = Some(wishes);
    }

    /// Notes what the calls of a batch name. Costs a look-up for each profile; a wish that finds no room is made again.
    pub(crate) fn note(&mut self, batch: &Batch) {
        let Some(wishes) = &self.wishes else { return };
        for profile in &batch.profiles {
            let text = |sym| batch.strings.get(sym);
            let (principal, model) = (text(profile.principal_arn), text(profile.model_id));
            if !self.wished.contains(caller(principal))
                && let Some(wanted) = Wanted::of_principal(principal)
            {
                wish(wishes, &mut self.wished, caller(principal).to_owned(), Wish::Thing(wanted));
            }
            if model.starts_with("arn:")
                && !self.wished.contains(model)
                && let Some(wanted) = Wanted::of_model(model)
            {
                wish(wishes, &mut self.wished, model.to_owned(), Wish::Thing(wanted));
            }
            let place = Place { account: text(profile.account_id).to_owned(), region: text(profile.region).to_owned() };
            let name = format!("{}/{}", place.account, place.region);
            if !self.wished.contains(&name) {
                wish(wishes, &mut self.wished, name, Wish::Place(place));
            }
        }
    }
}

fn wish(wishes: &Sender<Wish>, wished: &mut HashSet<String>, name: String, wish: Wish) {
    if wished.len() < MOST_WISHES && wishes.try_send(wish).is_ok() {
        wished.insert(name);
    }
}

/// The principal without its session.
fn caller(principal: &str) -> &str {
    if principal.contains(":assumed-role/") { principal.rsplit_once('/').map_or(principal, |(role, _)| role) } else { principal }
}

/// What tells a thing: its ARN, of a role or user without path, as calls name it.
fn key(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::Role | EntryKind::User => Wanted::of_principal(&entry.arn).map_or_else(|| entry.arn.clone(), |wanted| wanted.arn()),
        _ => entry.arn.clone(),
    }
}

/// Tells whether two entries differ in nothing but when they were seen.
fn says_the_same(one: &Entry, other: &Entry) -> bool {
    *one == Entry { seen_at: one.seen_at, ..other.clone() }
}

#[cfg(test)]
mod tests {
    use sluice_schemas::{Micros, Profile};

    use super::*;

    fn entry(kind: EntryKind, arn: &str, at: i64) -> Entry {
        Entry { kind, arn: arn.to_owned(), seen_at: Micros(at), ..Entry::default() }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut book = Book::default();
        let role = entry(EntryKind::Role, "arn:aws:iam::111122223333:role/path/r", 1);
        assert_eq!(book.learn(vec![role.clone()]), [(role.clone(), false)]);
        assert!(!book.rating_due);
        assert_eq!(book.learn(vec![Entry { seen_at: Micros(2), ..role.clone() }]), [], "said again");
        let moved = entry(EntryKind::Role, "arn:aws:iam::111122223333:role/other/r", 3);
        assert_eq!(book.learn(vec![moved.clone()]), [(moved.clone(), true)]);
        assert_eq!(book.entries(), [moved], "a role is told by its name");
        assert_eq!(book.learn(vec![role]), [], "older than what is known");
    }

    #[test]
    fn new_models_make_calls_be_rated_again() {
        let mut book = Book::default();
        let profile = entry(EntryKind::InferenceProfile, "arn:p", 1);
        book.learn(vec![profile.clone()]);
        assert!(!book.rating_due, "it tells no model");
        book.learn(vec![Entry { models: vec!["m".to_owned()], seen_at: Micros(2), ..profile.clone() }]);
        assert!(std::mem::take(&mut book.rating_due));
        book.learn(vec![Entry { models: vec!["m".to_owned()], deleted: true, seen_at: Micros(3), ..profile }]);
        assert!(!book.rating_due);
    }

    #[test]
    fn each_thing_is_wished_for_once() {
        let mut batch = Batch::default();
        let mut profile = |principal: &str, model: &str| {
            let mut intern = |text: &str| batch.strings.intern(text);
            let profile = Profile {
                account_id: intern("111122223333"),
                region: intern("us-east-1"),
                principal_arn: intern(principal),
                model_id: intern(model),
                ..Profile::default()
            };
            batch.profiles.push(profile);
        };
        let hidden = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a";
        profile("arn:aws:sts::111122223333:assumed-role/r/one", "amazon.nova-lite-v1:0");
        profile("arn:aws:sts::111122223333:assumed-role/r/two", hidden);
        profile("", "amazon.nova-lite-v1:0");
        let mut book = Book::default();
        book.note(&batch);
        let (sender, wishes) = crossbeam_channel::bounded(2);
        book.wishes = Some(sender);
        book.note(&batch);
        assert_eq!(wishes.try_iter().count(), 2, "there is room for two");
        book.note(&batch);
        let last: Vec<Wish> = wishes.try_iter().collect();
        assert_eq!(last, [Wish::Thing(Wanted::of_model(hidden).unwrap())]);
        book.note(&batch);
        assert!(wishes.is_empty());
    }
}
