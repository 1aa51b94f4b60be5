//! Text columns to pages. The Parquet crate looks every value up by its bytes; the dictionaries that facts come with make that one look-up
//! for each distinct text.

use std::hash::BuildHasher;
use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, MapArray, StringArray};
use arrow::datatypes::Int32Type;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::chunk::{DataPage, Pages};
use super::hybrid;

/// Values of a page of plain texts.
const PLAIN_PAGE: usize = 16_384;
/// Index of a text that no row has.
const UNUSED: u32 = u32::MAX;
/// Index that stands for null.
const NULL: u32 = u32::MAX - 1;

/// Encodes a column whose parts are all dictionaries; `None` if they are not.
pub(crate) fn dictionary_pages(parts: &[ArrayRef]) -> Option<Pages> {
    let parts: Vec<&DictionaryArray<Int32Type>> = parts.iter().map(|part| part.as_dictionary_opt()).collect::<Option<_>>()?;
    let rows = parts.iter().map(|part| part.len()).sum();
    let mut dictionary = Dictionary::default();
    let mut indexes: Vec<u32> = Vec::with_capacity(rows);
    let mut levels = Levels::default();
    for part in parts {
        let texts: &StringArray = part.values().as_string_opt()?;
        let places = dictionary.places(texts, part.keys())?;
        if part.keys().null_count() == 0 && !places.contains(&NULL) {
            indexes.extend(part.keys().values().iter().map(|key| places[*key as usize]));
            levels.present(part.len());
            continue;
        }
        for key in part.keys() {
            let place = key.map_or(NULL, |key| places[key as usize]);
            levels.push(place != NULL);
            indexes.extend((place != NULL).then_some(place));
        }
    }
    let mut page = levels.finish();
    dictionary.write_indexes(&indexes, &mut page);
    Some(Pages {
        data: vec![DataPage { bytes: page, values: rows as u32 }],
        dictionary: Some(dictionary.finish()),
        rows: rows as u64,
        statistics: None,
    })
}

/// Encodes a column of texts that hardly repeat; `None` if a part is of another type.
pub(crate) fn plain_pages(parts: &[ArrayRef]) -> Option<Pages> {
    let parts: Vec<&StringArray> = parts.iter().map(|part| part.as_string_opt()).collect::<Option<_>>()?;
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    let mut data = Vec::with_capacity(rows.div_ceil(PLAIN_PAGE));
    for part in parts {
        for start in (0..part.len()).step_by(PLAIN_PAGE) {
            let slice = part.slice(start, PLAIN_PAGE.min(part.len() - start));
            let mut levels = Levels::default();
            let bytes = slice.value_offsets().last().zip(slice.value_offsets().first()).map_or(0, |(last, first)| last - first);
            let mut values = Vec::with_capacity(bytes as usize + 4 * slice.len());
            for text in &slice {
                levels.push(text.is_some());
                if let Some(text) = text {
                    put_text(text, &mut values);
                }
            }
            let mut page = levels.finish();
            page.extend_from_slice(&values);
            data.push(DataPage { bytes: page, values: slice.len() as u32 });
        }
    }
    Some(Pages { dictionary: None, data, rows: rows as u64, statistics: None })
}

/// Encodes the keys and the values of a column of maps from text to text; `None` if a part is of another type.
pub(crate) fn map_pages(parts: &[ArrayRef]) -> Option<[Pages; 2]> {
    let parts: Vec<&MapArray> = parts.iter().map(|part| part.as_map_opt()).collect::<Option<_>>()?;
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    let mut maps = Maps::default();
    for part in parts {
        let (names, texts) = (part.keys().as_string_opt()?, part.values().as_string_opt()?);
        for (row, range) in part.value_offsets().windows(2).enumerate() {
            if range[0] == range[1] || part.is_null(row) {
                maps.push_empty(part.is_valid(row));
            } else {
                maps.push(&MapRow { names, texts, range: range[0] as usize..range[1] as usize });
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
    texts: usize,
    all_texts: usize,
}

impl Maps {
    fn push_empty(&mut self, valid: bool) {
        self.repetition.push(0);
        self.of_names.push(u32::from(valid));
        self.of_texts.push(u32::from(valid));
    }

    fn push(&mut self, row: &MapRow<'_>) {
        let hash = row.hash(&self.hasher);
        let same = |(_, place): &(u64, Place)| self.is_at(row, *place);
        if let Some((_, place)) = self.distinct.find(hash, |known| known.0 == hash && same(known)) {
            let Place { levels, entries, names, texts, all_texts } = *place;
            self.repetition.extend_from_within(levels..levels + entries);
            self.of_names.extend_from_within(levels..levels + entries);
            self.of_texts.extend_from_within(levels..levels + entries);
            self.names.extend_from_within(names..names + entries);
            self.texts.extend_from_within(texts..texts + all_texts);
            return;
        }
        let (levels, names, texts) = (self.repetition.len(), self.names.len(), self.texts.len());
        for (name, text) in row.entries() {
            self.repetition.push(u32::from(self.repetition.len() > levels));
            self.of_names.push(2);
            self.names.push(self.known_names.index(name));
            self.of_texts.push(2 + u32::from(text.is_some()));
            self.texts.extend(text.map(|text| self.known_texts.index(text)));
        }
        let place = Place { levels, entries: row.range.len(), names, texts, all_texts: self.texts.len() - texts };
        self.distinct.insert_unique(hash, (hash, place), |known| known.0);
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

/// Distinct texts in the order of their first use.
#[derive(Default)]
struct Dictionary {
    index: HashTable<u32>,
    hasher: FixedState,
    /// Each text with its length before it, as the dictionary page has them.
    page: Vec<u8>,
    /// Where each text ends in the page.
    ends: Vec<usize>,
}

impl Dictionary {
    fn index(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text.as_bytes());
        let (page, ends, hasher) = (&self.page, &self.ends, &self.hasher);
        if let Some(found) = self.index.find(hash, |at| text_at(page, ends, *at) == text.as_bytes()) {
            return *found;
        }
        let index = ends.len() as u32;
        put_text(text, &mut self.page);
        self.ends.push(self.page.len());
        let (page, ends) = (&self.page, &self.ends);
        self.index.insert_unique(hash, index, |at| hasher.hash_one(text_at(page, ends, *at)));
        index
    }

    fn at(&self, index: u32) -> &[u8] {
        text_at(&self.page, &self.ends, index)
    }

    /// Gives an index to each text of a part that one of its keys refers to; `None` if a key refers to no text.
    fn places(&mut self, texts: &StringArray, keys: &Int32Array) -> Option<Vec<u32>> {
        let mut places = vec![UNUSED; texts.len()];
        for key in keys.values() {
            *places.get_mut(*key as usize)? = NULL;
        }
        for (key, place) in places.iter_mut().enumerate().filter(|(_, place)| **place != UNUSED) {
            if texts.is_valid(key) {
                *place = self.index(texts.value(key));
            }
        }
        Some(places)
    }

    fn write_indexes(&self, indexes: &[u32], page: &mut Vec<u8>) {
        let width = hybrid::width_for(self.ends.len());
        page.push(width);
        hybrid::encode(indexes, width, page);
    }

    fn finish(self) -> (Vec<u8>, u32) {
        (self.page, self.ends.len() as u32)
    }
}

fn text_at<'a>(page: &'a [u8], ends: &[usize], at: u32) -> &'a [u8] {
    let start = at.checked_sub(1).map_or(0, |before| ends[before as usize]) + 4;
    &page[start..ends[at as usize]]
}

/// Definition levels of an optional column: whether each value is there.
#[derive(Default)]
pub(crate) struct Levels {
    present: Vec<u32>,
    count: usize,
    nulls: usize,
}

impl Levels {
    pub(crate) fn push(&mut self, present: bool) {
        if !present && self.nulls == 0 {
            self.present = vec![1; self.count];
        }
        self.nulls += usize::from(!present);
        self.count += 1;
        if self.nulls > 0 {
            self.present.push(u32::from(present));
        }
    }

    /// Adds values that are all there.
    pub(crate) fn present(&mut self, count: usize) {
        self.count += count;
        if self.nulls > 0 {
            self.present.resize(self.count, 1);
        }
    }

    /// Begins a page with them.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut page = Vec::new();
        if self.nulls == 0 {
            let mut levels = Vec::new();
            hybrid::repeat(1, self.count, 1, &mut levels);
            page.extend_from_slice(&(levels.len() as u32).to_le_bytes());
            page.extend_from_slice(&levels);
        } else {
            put_levels(&self.present, 1, &mut page);
        }
        page
    }
}

fn put_levels(levels: &[u32], width: u8, page: &mut Vec<u8>) {
    let start = page.len();
    page.extend_from_slice(&[0; 4]);
    hybrid::encode(levels, width, page);
    let length = (page.len() - start - 4) as u32;
    page[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_text(text: &str, page: &mut Vec<u8>) {
    page.extend_from_slice(&(text.len() as u32).to_le_bytes());
    page.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests;
