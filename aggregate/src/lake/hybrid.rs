//! Parquet's hybrid of run lengths and bit packing, for dictionary indexes and levels.
//!
//! Source of the form: the Apache Parquet project's "Encodings", RLE/Bit-Packing Hybrid.

/// Values of a bit-packed group.
const GROUP: usize = 8;
/// Shortest run that is written as one, unless it ends the values: it costs a few bytes, and a reader a branch.
const SHORTEST_RUN: usize = 24;

/// Appends `values`, each below `2^width`, to `out`.
pub(crate) fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let (mut packed, mut at) = (0, 0);
    // Packed values come in whole groups, so a run is looked for only where a group begins.
    while let Some(group) = values.get(at..at + GROUP) {
        let run = if group.iter().all(|value| *value == group[0]) { run_length(&values[at..]) } else { 0 };
        if run >= SHORTEST_RUN || (run > 0 && at + run == values.len()) {
            pack(&values[packed..at], width, out);
            repeat(values[at], run, width, out);
            at += run;
            packed = at;
        } else {
            at += GROUP;
        }
    }
    pack(&values[packed..], width, out);
}

/// Appends `count` times the same value.
pub(crate) fn repeat(value: u32, count: usize, width: u8, out: &mut Vec<u8>) {
    if count > 0 {
        varint((count as u64) << 1, out);
        let bytes = usize::from(width).div_ceil(8);
        out.extend_from_slice(&value.to_le_bytes()[..bytes]);
    }
}

/// Returns the bits that indexes below `count` need; at least one, since not every reader takes none.
pub(crate) const fn width_for(count: usize) -> u8 {
    let last = (count.saturating_sub(1)) as u64;
    let bits = 64 - last.leading_zeros();
    if bits == 0 { 1 } else { bits as u8 }
}

fn run_length(values: &[u32]) -> usize {
    let first = values[0];
    values.iter().position(|value| *value != first).unwrap_or(values.len())
}

fn pack(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * usize::from(width);
    out.reserve(groups * usize::from(width) + size_of::<u64>());
    let (mut bits, mut held) = (0_u64, 0_u32);
    for value in values {
        bits |= u64::from(*value) << held;
        held += u32::from(width);
        if held >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            held -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
    out.resize(end, 0);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes by the text of the specification, for comparison.
    fn decode(bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let (mut at, mut values) = (0, Vec::new());
        while values.len() < count {
            let (mut header, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[at];
                at += 1;
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if header & 1 == 0 {
                let length = usize::from(width).div_ceil(8);
                let mut word = [0; 4];
                word[..length].copy_from_slice(&bytes[at..at + length]);
                at += length;
                values.extend(std::iter::repeat_n(u32::from_le_bytes(word), (header >> 1) as usize));
            } else {
                let length = (header >> 1) as usize * usize::from(width);
                let bit = |index: usize| u32::from(bytes[at + index / 8] >> (index % 8) & 1);
                for value in 0..(header >> 1) as usize * GROUP {
                    values.push((0..usize::from(width)).map(|place| bit(value * usize::from(width) + place) << place).sum());
                }
                at += length;
            }
        }
        assert_eq!(at, bytes.len());
        values.truncate(count);
        values
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(runs in prop::collection::vec((any::<u32>(), 1_usize..30), 0..60), width in 1_u8..=32) {
            let mask = u32::MAX >> (32 - width);
            let values: Vec<u32> = runs.iter().flat_map(|(value, length)| std::iter::repeat_n(value & mask, *length)).collect();
            let mut bytes = Vec::new();
            encode(&values, width, &mut bytes);
            prop_assert_eq!(decode(&bytes, width, values.len()), values);
        }
    }

    #[test]
    fn widths() {
        assert_eq!([0, 1, 2, 3, 4, 5, 256, 257].map(width_for), [1, 1, 1, 2, 2, 3, 8, 9]);
    }
}
