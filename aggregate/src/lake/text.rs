//! Text columns to pages. The Parquet crate looks every value up by its bytes; the dictionaries that facts come with make that one look-up
//! for each distinct text.

mod maps;

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::chunk::{DataPage, Pages};
use super::hybrid;
pub(crate) use maps::map_pages;

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
    let mut levels = Levels::of(rows);
    for part in parts {
        let texts: &StringArray = part.values().as_string_opt()?;
        let places = dictionary.places(texts, part.keys())?;
        let one = if part.keys().null_count() == 0 { only(&places) } else { None };
        match one {
            Some(NULL) => levels.absent(part.len()),
            Some(place) => {
                indexes.resize(indexes.len() + part.len(), place);
                levels.present(part.len());
            }
            None if part.keys().null_count() == 0 && !places.contains(&NULL) => {
                indexes.extend(part.keys().values().iter().map(|key| places[*key as usize]));
                levels.present(part.len());
            }
            None => {
                for key in part.keys() {
                    let place = key.map_or(NULL, |key| places[key as usize]);
                    levels.push(place != NULL);
                    indexes.extend((place != NULL).then_some(place));
                }
            }
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
            let mut levels = Levels::of(slice.len());
            if slice.null_count() == 0 {
                levels.present(slice.len());
            } else {
                slice.iter().for_each(|text| levels.push(text.is_some()));
            }
            let mut page = levels.finish();
            let bytes = slice.value_offsets().last().zip(slice.value_offsets().first()).map_or(0, |(last, first)| last - first);
            page.reserve_exact(bytes as usize + 4 * slice.len());
            slice.iter().flatten().for_each(|text| put_text(text, &mut page));
            data.push(DataPage { bytes: page, values: slice.len() as u32 });
        }
    }
    Some(Pages { dictionary: None, data, rows: rows as u64, statistics: None })
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

/// Returns the one index that all texts have which are used, if it is one.
fn only(places: &[u32]) -> Option<u32> {
    let mut used = places.iter().filter(|place| **place != UNUSED);
    let first = *used.next()?;
    used.all(|place| *place == first).then_some(first)
}

/// Definition levels of an optional column: whether each value is there.
pub(crate) struct Levels {
    rows: usize,
    present: Vec<u32>,
    count: usize,
    nulls: usize,
}

impl Levels {
    /// Those of so many rows, none of which was added yet.
    pub(crate) const fn of(rows: usize) -> Self {
        Self { rows, present: Vec::new(), count: 0, nulls: 0 }
    }

    /// Tells of each value from now on, since not all are there.
    fn tell(&mut self) {
        self.present.reserve_exact(self.rows);
        self.present.resize(self.count, 1);
    }

    pub(crate) fn push(&mut self, present: bool) {
        if !present && self.nulls == 0 {
            self.tell();
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

    /// Adds values of which none is there.
    fn absent(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if self.nulls == 0 {
            self.tell();
        }
        self.nulls += count;
        self.count += count;
        self.present.resize(self.count, 0);
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

/// Characters of a UUID, the form of nearly every id.
const UUID: usize = 36;

fn put_text(text: &str, page: &mut Vec<u8>) {
    page.extend_from_slice(&(text.len() as u32).to_le_bytes());
    match <&[u8; UUID]>::try_from(text.as_bytes()) {
        // A copy whose length is known takes no call.
        Ok(uuid) => page.extend_from_slice(uuid),
        Err(_) => page.extend_from_slice(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
