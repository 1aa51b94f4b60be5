//! Columns of maps from text to text to pages. Maps repeat, and those of calls come as dictionaries: one look-up for each distinct map.

use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, MapArray, StringArray};
use arrow::datatypes::Int32Type;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::{DataPage, Dictionary, Pages, put_levels};

/// Encodes the keys and the values of a column of maps from text to text, or of dictionaries of such; `None` if a part is of another type.
pub(crate) fn map_pages(parts: &[ArrayRef]) -> Option<[Pages; 2]> {
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    let mut maps = Maps::default();
    for part in parts {
        match part.as_dictionary_opt::<Int32Type>() {
            Some(part) => maps.push_dictionary(part)?,
            None => {
                let part = part.as_map_opt()?;
                for row in 0..part.len() {
                    maps.push(&MapRow::of(part, row)?);
                }
            }
        }
    }
    let pages = |definition: &[u32], indexes: &[u32], dictionary: Dictionary| {
        let mut page = Vec::new();
        put_levels(&maps.repetition, 1, &mut page);
        put_levels(definition, 2, &mut page);
        dictionary.write_indexes(indexes, &mut page);
        let data = vec![DataPage { bytes: page, values: maps.repetition.len() as u32 }];
        Pages { dictionary: Some(dictionary.finish()), data, rows: rows as u64, statistics: None }
    };
    Some([pages(&maps.of_names, &maps.names, maps.known_names), pages(&maps.of_texts, &maps.texts, maps.known_texts)])
}

/// Entries of one map.
struct MapRow<'a> {
    names: &'a StringArray,
    texts: &'a StringArray,
    range: Range<usize>,
    is_null: bool,
}

impl<'a> MapRow<'a> {
    fn of(maps: &'a MapArray, row: usize) -> Option<Self> {
        let (names, texts) = (maps.keys().as_string_opt()?, maps.values().as_string_opt()?);
        let range = *maps.value_offsets().get(row)? as usize..*maps.value_offsets().get(row + 1)? as usize;
        Some(Self { names, texts, range, is_null: maps.is_null(row) })
    }
}

impl MapRow<'_> {
    fn entries(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.range.clone().map(|at| (self.names.value(at), self.texts.is_valid(at).then(|| self.texts.value(at))))
    }

    fn hash(&self, hasher: &FixedState) -> u64 {
        let bytes = |array: &'_ StringArray| -> u64 {
            let offsets = array.value_offsets();
            let text = array.value_data().get(offsets[self.range.start] as usize..offsets[self.range.end] as usize);
            hasher.hash_one(text.unwrap_or_default())
        };
        bytes(self.names) ^ bytes(self.texts).rotate_left(1)
    }
}

/// Maps as levels and indexes. Maps repeat, so each distinct one is looked up entry by entry only once.
///
/// Definition levels: 0 null map, 1 empty map, 2 name there, 3 text there. Repetition levels: 0 begins a row, 1 goes on.
#[derive(Default)]
struct Maps {
    repetition: Vec<u32>,
    of_names: Vec<u32>,
    of_texts: Vec<u32>,
    names: Vec<u32>,
    texts: Vec<u32>,
    known_names: Dictionary,
    known_texts: Dictionary,
    /// First place of each distinct map, by its hash.
    distinct: HashTable<(u64, Place)>,
    hasher: FixedState,
}

/// Where a map stands in the levels and indexes.
#[derive(Clone, Copy)]
struct Place {
    levels: usize,
    entries: usize,
    names: usize,
    all_names: usize,
    texts: usize,
    all_texts: usize,
}

impl Maps {
    /// Adds maps by their keys; each is looked at once. `None` if the values are of another type, or a key has none.
    fn push_dictionary(&mut self, part: &DictionaryArray<Int32Type>) -> Option<()> {
        let values = part.values().as_map_opt()?;
        self.make_room(part.keys(), values);
        let mut places: Vec<Option<Place>> = vec![None; values.len()];
        let mut null = None;
        for key in part.keys() {
            let place = match key {
                Some(key) => places.get_mut(key as usize)?,
                None => &mut null,
            };
            match (*place, key) {
                (Some(known), _) => self.repeat(known),
                (None, Some(key)) => *place = Some(self.push(&MapRow::of(values, key as usize)?)),
                (None, None) => *place = Some(self.push_empty(false)),
            }
        }
        Some(())
    }

    /// Asks for the memory of maps once.
    fn make_room(&mut self, keys: &Int32Array, values: &MapArray) {
        let lengths: Vec<usize> = values.offsets().lengths().collect();
        let entries = |key: i32| lengths.get(key as usize).copied().unwrap_or_default();
        let levels = keys.iter().map(|key| key.map_or(1, |key| entries(key).max(1))).sum();
        for of in [&mut self.repetition, &mut self.of_names, &mut self.of_texts, &mut self.names, &mut self.texts] {
            of.reserve(levels);
        }
    }

    fn push_empty(&mut self, valid: bool) -> Place {
        let place = self.begin(1);
        self.repetition.push(0);
        self.of_names.push(u32::from(valid));
        self.of_texts.push(u32::from(valid));
        place
    }

    /// Returns the place that comes next, for a map of so many levels.
    const fn begin(&self, entries: usize) -> Place {
        Place { levels: self.repetition.len(), entries, names: self.names.len(), all_names: 0, texts: self.texts.len(), all_texts: 0 }
    }

    /// Adds a map that is there already.
    fn repeat(&mut self, place: Place) {
        let Place { levels, entries, names, all_names, texts, all_texts } = place;
        self.repetition.extend_from_within(levels..levels + entries);
        self.of_names.extend_from_within(levels..levels + entries);
        self.of_texts.extend_from_within(levels..levels + entries);
        self.names.extend_from_within(names..names + all_names);
        self.texts.extend_from_within(texts..texts + all_texts);
    }

    fn push(&mut self, row: &MapRow<'_>) -> Place {
        if row.is_null || row.range.is_empty() {
            return self.push_empty(!row.is_null);
        }
        let hash = row.hash(&self.hasher);
        let same = |(_, place): &(u64, Place)| self.is_at(row, *place);
        if let Some((_, place)) = self.distinct.find(hash, |known| known.0 == hash && same(known)) {
            let place = *place;
            self.repeat(place);
            return place;
        }
        let mut place = self.begin(row.range.len());
        for (name, text) in row.entries() {
            self.repetition.push(u32::from(self.repetition.len() > place.levels));
            self.of_names.push(2);
            self.names.push(self.known_names.index(name));
            self.of_texts.push(2 + u32::from(text.is_some()));
            self.texts.extend(text.map(|text| self.known_texts.index(text)));
        }
        (place.all_names, place.all_texts) = (row.range.len(), self.texts.len() - place.texts);
        self.distinct.insert_unique(hash, (hash, place), |known| known.0);
        place
    }

    /// Tells whether a map equals the one at a place.
    fn is_at(&self, row: &MapRow<'_>, place: Place) -> bool {
        let mut texts = self.texts.get(place.texts..).unwrap_or_default().iter();
        row.range.len() == place.entries
            && row.entries().enumerate().all(|(at, (name, text))| {
                let known = (self.of_texts[place.levels + at] == 3).then(|| texts.next()).flatten();
                let same_text = match (known, text) {
                    (Some(index), Some(text)) => self.known_texts.at(*index) == text.as_bytes(),
                    (None, None) => true,
                    _ => false,
                };
                same_text && self.known_names.at(self.names[place.names + at]) == name.as_bytes()
            })
    }
}
