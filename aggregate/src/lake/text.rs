//! Text columns to pages. The Parquet crate looks every value up by its bytes; the dictionaries that facts come with make that one look-up
//! for each distinct text.

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, MapArray, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use hashbrown::HashMap;

use super::chunk::{DataPage, Pages};
use super::hybrid;

/// Values of a page of plain texts.
const PLAIN_PAGE: usize = 16_384;
/// A text of a part that has no index yet.
const UNSEEN: u32 = u32::MAX;
/// Index that stands for null.
const NULL: u32 = u32::MAX - 1;

/// Encodes a column whose parts are all dictionaries; `None` if they are not.
pub(crate) fn dictionary_pages(parts: &[ArrayRef]) -> Option<Pages> {
    let parts: Vec<&DictionaryArray<Int32Type>> = parts.iter().map(|part| part.as_dictionary_opt()).collect::<Option<_>>()?;
    let rows = parts.iter().map(|part| part.len()).sum();
    let mut dictionary = Dictionary::default();
    let mut indexes = Vec::with_capacity(rows);
    let mut levels = Levels::default();
    for part in parts {
        let texts: &StringArray = part.values().as_string_opt()?;
        let mut known = vec![UNSEEN; texts.len()];
        for (row, key) in part.keys().values().iter().enumerate() {
            let Some(place) = known.get_mut(*key as usize) else {
                continue;
            };
            if *place == UNSEEN {
                *place = if texts.is_null(*key as usize) { NULL } else { dictionary.index(texts.value(*key as usize)) };
            }
            let null = *place == NULL || part.keys().is_null(row);
            levels.push(!null);
            if !null {
                indexes.push(*place);
            }
        }
    }
    if levels.count != rows {
        return None;
    }
    let mut page = levels.finish();
    dictionary.write_indexes(&indexes, &mut page);
    Some(Pages { data: vec![DataPage { bytes: page, values: rows as u32 }], dictionary: Some(dictionary.finish()), rows: rows as u64 })
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
    Some(Pages { dictionary: None, data, rows: rows as u64 })
}

/// Encodes the keys and the values of a column of maps from text to text; `None` if a part is of another type.
pub(crate) fn map_pages(parts: &[ArrayRef]) -> Option<[Pages; 2]> {
    let parts: Vec<&MapArray> = parts.iter().map(|part| part.as_map_opt()).collect::<Option<_>>()?;
    let rows: usize = parts.iter().map(|part| part.len()).sum();
    // Definition levels: 0 null map, 1 empty map, 2 key present, 3 value present. Repetition: 0 begins a row, 1 goes on.
    let (mut repetition, mut of_keys, mut of_values) = (Vec::new(), Vec::new(), Vec::new());
    let (mut keys, mut values) = (IndexedTexts::default(), IndexedTexts::default());
    for part in parts {
        let (names, texts): (&StringArray, &StringArray) = (part.keys().as_string_opt()?, part.values().as_string_opt()?);
        for row in 0..part.len() {
            let range = part.value_offsets()[row] as usize..part.value_offsets()[row + 1] as usize;
            if part.is_null(row) || range.is_empty() {
                repetition.push(0);
                let level = u32::from(part.is_valid(row));
                of_keys.push(level);
                of_values.push(level);
                continue;
            }
            for (place, at) in range.enumerate() {
                repetition.push(u32::from(place > 0));
                of_keys.push(2);
                keys.push(names.value(at));
                of_values.push(2 + u32::from(texts.is_valid(at)));
                if texts.is_valid(at) {
                    values.push(texts.value(at));
                }
            }
        }
    }
    let pages = |definition: &[u32], texts: IndexedTexts| {
        let mut page = Vec::new();
        put_levels(&repetition, 1, &mut page);
        put_levels(definition, 2, &mut page);
        texts.dictionary.write_indexes(&texts.indexes, &mut page);
        let data = vec![DataPage { bytes: page, values: repetition.len() as u32 }];
        Pages { dictionary: Some(texts.dictionary.finish()), data, rows: rows as u64 }
    };
    Some([pages(&of_keys, keys), pages(&of_values, values)])
}

/// Tells whether a column type is a map, which has two leaves.
pub(crate) const fn is_map(kind: &DataType) -> bool {
    matches!(kind, DataType::Map(..))
}

/// Distinct texts in the order of their first use.
#[derive(Default)]
struct Dictionary {
    index: HashMap<Vec<u8>, u32, foldhash::fast::FixedState>,
    page: Vec<u8>,
}

impl Dictionary {
    fn index(&mut self, text: &str) -> u32 {
        if let Some(index) = self.index.get(text.as_bytes()) {
            return *index;
        }
        let index = self.index.len() as u32;
        self.index.insert(text.as_bytes().to_vec(), index);
        put_text(text, &mut self.page);
        index
    }

    fn write_indexes(&self, indexes: &[u32], page: &mut Vec<u8>) {
        let width = hybrid::width_for(self.index.len());
        page.push(width);
        hybrid::encode(indexes, width, page);
    }

    fn finish(self) -> (Vec<u8>, u32) {
        (self.page, self.index.len() as u32)
    }
}

/// Texts and their indexes, remembering the last few: neighbours in a map column repeat in a fixed order.
#[derive(Default)]
struct IndexedTexts {
    dictionary: Dictionary,
    indexes: Vec<u32>,
}

impl IndexedTexts {
    fn push(&mut self, text: &str) {
        let index = self.dictionary.index(text);
        self.indexes.push(index);
    }
}

/// Definition levels of an optional column: whether each value is there.
#[derive(Default)]
struct Levels {
    present: Vec<u32>,
    count: usize,
    nulls: usize,
}

impl Levels {
    fn push(&mut self, present: bool) {
        if !present && self.nulls == 0 {
            self.present = vec![1; self.count];
        }
        self.nulls += usize::from(!present);
        self.count += 1;
        if self.nulls > 0 {
            self.present.push(u32::from(present));
        }
    }

    /// Begins a page with them.
    fn finish(&self) -> Vec<u8> {
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
