//! Which shards may be read: a child only after all its parents were read and committed to their end (invariant C5).
//!
//! Source: Kinesis Data Streams, "Resharding a stream": a parent is closed, and expires with its last record; records of one
//! key go on in the child, so the order of a key holds only if the parent is read first.

use std::collections::{BTreeMap, BTreeSet};

use super::call::Listed;

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No position: it appeared after the first start.
    New,
    /// It was there at the first start, which noted where to begin, and nothing of it was read.
    Pinned,
    /// It is being read, or stopped within.
    Begun,
    /// It was read to its end, and the end is committed.
    Ended,
}

/// The shards of a stream, by name, with their parents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    parents: BTreeMap<String, Vec<String>>,
    /// Children that the end of their parent told of and no list has named yet: lists may lag.
    told: BTreeSet<String>,
}

impl Tree {
    /// Replaces what is known by a fresh list.
    pub(crate) fn replace(&mut self, shards: &[Listed]) {
        let told: Vec<Listed> = self.told.iter().map(|id| Listed { id: id.clone(), parents: self.parents(id).to_vec() }).collect();
        self.told.clear();
        self.parents = shards.iter().map(|shard| (shard.id.clone(), shard.parents.clone())).collect();
        told.iter().for_each(|shard| self.add(shard));
    }

    /// Forgets every shard: those of a stream created anew are others.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a shard that the end of its parent told of.
    pub(crate) fn add(&mut self, shard: &Listed) {
        if !self.lists(&shard.id) {
            self.parents.insert(shard.id.clone(), shard.parents.clone());
            self.told.insert(shard.id.clone());
        }
    }

    /// Returns whether the last list names the shard.
    pub(crate) fn lists(&self, shard: &str) -> bool {
        self.parents.contains_key(shard)
    }

    /// Returns the parents of a shard.
    pub(crate) fn parents(&self, shard: &str) -> &[String] {
        self.parents.get(shard).map_or(&[], Vec::as_slice)
    }

    /// Returns whether a shard that is listed came from this one.
    pub(crate) fn has_children(&self, shard: &str) -> bool {
        self.parents.values().flatten().any(|parent| parent == shard)
    }

    /// Returns the shards to have in view: those listed, and parents that vanished before anything was known of them although
    /// their children are new: what they held was never read.
    pub(crate) fn in_view(&self, standing: impl Fn(&str) -> Standing) -> BTreeSet<String> {
        let mut view: BTreeSet<String> = self.parents.keys().cloned().collect();
        for (child, parents) in &self.parents {
            if standing(child) == Standing::New {
                view.extend(parents.iter().filter(|parent| standing(parent) == Standing::New).cloned());
            }
        }
        view
    }

    /// Decides whether a shard may be read. A parent that is neither listed nor known is of no concern to a shard that was
    /// there at the first start: it was gone before.
    pub(crate) fn may_begin(&self, shard: &str, standing: impl Fn(&str) -> Standing) -> bool {
        let first_start = standing(shard) == Standing::Pinned;
        self.parents(shard).iter().all(|parent| match standing(parent) {
            Standing::Ended => true,
            Standing::New => first_start && !self.lists(parent),
            Standing::Pinned | Standing::Begun => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(id: &str, parents: &[&str]) -> Listed {
        Listed { id: id.to_owned(), parents: parents.iter().map(|&parent| parent.to_owned()).collect() }
    }

    #[test]
    fn a_merged_shard_waits_for_both() {
        let mut tree = Tree::default();
        tree.replace(&[listed("a", &[]), listed("b", &[]), listed("c", &["a", "b"])]);
        let mut standings = BTreeMap::from([("a", Standing::Begun), ("b", Standing::Begun)]);
        let may = |standings: &BTreeMap<&str, Standing>, shard: &str| {
            tree.may_begin(shard, |shard| standings.get(shard).copied().unwrap_or(Standing::New))
        };
        assert!(may(&standings, "a"));
        assert!(!may(&standings, "c"));
        standings.insert("a", Standing::Ended);
        assert!(!may(&standings, "c"));
        standings.insert("b", Standing::Ended);
        assert!(may(&standings, "c"));
    }

    #[test]
    fn a_parent_that_is_gone_counts_if_it_was_ours_to_read() {
        let mut tree = Tree::default();
        tree.replace(&[listed("c", &["gone"])]);
        assert!(tree.may_begin("c", |shard| if shard == "c" { Standing::Pinned } else { Standing::New }), "gone before we came");
        assert!(!tree.may_begin("c", |_| Standing::New), "came and went while we were away");
        assert!(tree.in_view(|_| Standing::New).contains("gone"));
        let pinned = |shard: &str| if shard == "c" { Standing::Pinned } else { Standing::New };
        assert!(!tree.in_view(pinned).contains("gone"));
        assert!(!tree.may_begin("c", |shard| if shard == "c" { Standing::Pinned } else { Standing::Begun }), "we had begun it");
    }
}
