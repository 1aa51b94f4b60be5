//! Finds where strings and containers end, 64 bytes at a time and without recursion: depth is a number, not a stack.
//!
//! Only quotes, backslashes, control characters and brackets are looked at, and an opening bracket of either kind is closed
//! by a closing one of either kind: this is all that is asked of a body. A backslash takes the meaning of a quote or backslash
//! after it, in a string or not.

use wide::u8x64;

const BLOCK: usize = 64;
const ODD_BITS: u64 = 0xAAAA_AAAA_AAAA_AAAA;
const QUOTE: u8x64 = u8x64::splat(b'"');
const BACKSLASH: u8x64 = u8x64::splat(b'\\');
const LAST_CONTROL: u8x64 = u8x64::splat(0x1f);
/// Folds `[` onto `{` and `]` onto `}`, and no other byte onto either.
const CASE: u8x64 = u8x64::splat(0x20);
const OPEN: u8x64 = u8x64::splat(b'{');
const CLOSE: u8x64 = u8x64::splat(b'}');

/// A text read block by block, forward only; a bit of a mask stands for a byte of the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks<'a> {
    bytes: &'a [u8],
    /// Place of the block in hand.
    start: usize,
    /// Quotes that no backslash escapes.
    quotes: u64,
    /// Backslashes and control characters.
    odd: u64,
    escapes: Escapes,
}

impl<'a> Blocks<'a> {
    /// Starts with the first block.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut blocks = Self { bytes, start: 0, quotes: 0, odd: 0, escapes: Escapes::default() };
        blocks.load();
        blocks
    }

    /// Returns the whole text.
    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Takes up the block at `start`; tells whether there is one.
    #[inline(always)]
    fn load(&mut self) -> bool {
        let Some(block) = block_at(self.bytes, self.start) else {
            return false;
        };
        let backslashes = block.simd_eq(BACKSLASH);
        self.quotes = block.simd_eq(QUOTE).to_bitmask();
        self.odd = (block.min(LAST_CONTROL).simd_eq(block) | backslashes).to_bitmask();
        if self.odd | self.escapes.carry != 0 {
            self.quotes &= !self.escapes.next(backslashes.to_bitmask());
        }
        true
    }

    /// Takes up the next block. Out of line: most strings end in the block in hand, and their path stays short.
    #[inline(never)]
    fn advance(&mut self) -> bool {
        self.start += BLOCK;
        self.load()
    }

    /// Goes on to the block that holds `at`; returns the bits from `at` on.
    #[inline]
    fn reach(&mut self, at: usize) -> Option<u64> {
        while at - self.start >= BLOCK {
            if !self.advance() {
                return None;
            }
        }
        Some(!0 << (at - self.start))
    }

    /// Returns the place of the quote that ends a string whose text starts at `at`, and whether a backslash or a control
    /// character stands in it; `None` if it does not end.
    #[inline]
    pub(super) fn string_end(&mut self, at: usize) -> Option<(usize, bool)> {
        let (mut from, mut odd) = (self.reach(at)?, 0);
        loop {
            let ends = self.quotes & from;
            if ends != 0 {
                let before = from & (ends & ends.wrapping_neg()).wrapping_sub(1);
                return Some((self.start + ends.trailing_zeros() as usize, odd | (self.odd & before) != 0));
            }
            odd |= self.odd & from;
            if !self.advance() {
                return None;
            }
            from = !0;
        }
    }

    /// Returns the place after the container that opens at `at`, or `None` if it does not close.
    pub(super) fn container_end(&mut self, at: usize) -> Option<usize> {
        let (mut from, mut inside, mut depth) = (self.reach(at)?, 0_u64, 0_u32);
        loop {
            let quotes = self.quotes & from;
            if quotes != 0 || inside == 0 {
                let strings = prefix_xor(quotes) ^ inside;
                inside = 0_u64.wrapping_sub(strings >> 63);
                let folded = block_at(self.bytes, self.start)? | CASE;
                let opens = folded.simd_eq(OPEN).to_bitmask() & !strings & from;
                let closes = folded.simd_eq(CLOSE).to_bitmask() & !strings & from;
                if closes.count_ones() < depth {
                    depth = depth + opens.count_ones() - closes.count_ones();
                } else if let Some(end) = walk(opens, closes, &mut depth) {
                    return Some(self.start + end);
                }
            }
            self.start += BLOCK;
            if !self.load() {
                return None;
            }
            from = !0;
        }
    }
}

/// Follows the brackets of one block; returns the place after the one that closes the outermost container.
fn walk(opens: u64, closes: u64, depth: &mut u32) -> Option<usize> {
    let mut brackets = opens | closes;
    while brackets != 0 {
        let bit = brackets.trailing_zeros();
        if opens >> bit & 1 == 1 {
            *depth += 1;
        } else {
            *depth -= 1;
            if *depth == 0 {
                return Some(bit as usize + 1);
            }
        }
        brackets &= brackets - 1;
    }
    None
}

/// The 64 bytes at `at`, filled up with spaces past the end; `None` when there is none left.
fn block_at(bytes: &[u8], at: usize) -> Option<u8x64> {
    let rest = bytes.get(at..)?;
    if let Some(block) = rest.first_chunk::<BLOCK>() {
        return Some(u8x64::new(*block));
    }
    if rest.is_empty() {
        return None;
    }
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    Some(u8x64::new(block))
}

/// Each bit becomes the parity of the bits up to and including it: ones from an opening quote to before its closing one.
const fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ bits << 32
}

/// Tells which bytes are escaped: those after an odd run of backslashes, also across blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Escapes {
    /// One when the first byte of the next block is escaped.
    carry: u64,
}

impl Escapes {
    /// Returns the escaped bytes of the next block, given its backslashes.
    fn next(&mut self, backslashes: u64) -> u64 {
        if backslashes == 0 {
            return std::mem::take(&mut self.carry);
        }
        // Subtracting the run starts from the runs shifted by one turns every second byte of each run over, whatever its
        // length; the constant makes the turning independent of where the run starts.
        let starts = backslashes & !self.carry;
        let turned = ((starts << 1) | ODD_BITS).wrapping_sub(starts) ^ ODD_BITS;
        let escaped = turned ^ (backslashes | self.carry);
        self.carry = (turned & backslashes) >> 63;
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same rules, a byte at a time.
    fn plain_container_end(bytes: &[u8], at: usize) -> Option<usize> {
        let (mut depth, mut inside, mut escaped) = (0_u32, false, false);
        for (place, byte) in bytes.iter().enumerate().skip(at) {
            if std::mem::take(&mut escaped) && matches!(byte, b'"' | b'\\') {
                continue;
            }
            match byte {
                b'\\' => escaped = true,
                b'"' => inside = !inside,
                b'{' | b'[' if !inside => depth += 1,
                b'}' | b']' if !inside => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(place + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn agrees_with_the_plain_reading(text in r#"[\[{][\[\]{}"\\a ]{0,300}"#) {
            for at in [0, 64, 65, 100] {
                if text.as_bytes().get(at).is_some_and(|byte| matches!(byte, b'[' | b'{')) && !text[..at].contains('\\') {
                    prop_assert_eq!(Blocks::new(text.as_bytes()).container_end(at), plain_container_end(text.as_bytes(), at));
                }
            }
        }

        #[test]
        fn string_ends_agree(text in r#"[\\"a]{0,200}"#) {
            let mut escaped = false;
            let plain = text.bytes().position(|byte| {
                let end = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                end
            });
            let odd = plain.map(|end| (end, text[..end].contains('\\')));
            prop_assert_eq!(Blocks::new(text.as_bytes()).string_end(0), odd);
        }
    }

    #[test]
    fn depth_is_free() {
        let deep = [vec![b'['; 3_000_000], vec![b']'; 3_000_000]].concat();
        assert_eq!(Blocks::new(&deep).container_end(0), Some(deep.len()));
        assert_eq!(Blocks::new(&deep[..deep.len() - 1]).container_end(0), None);
    }
}
