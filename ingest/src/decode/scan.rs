//! Forward scanning of JSON: keys and values are found or skipped, nothing is built.
//!
//! What this program reads it reads strictly; what it only steps over inside a body is asked for its balance alone.

use std::borrow::Cow;
use std::ops::Range;

use super::fault::Fault;
use super::masks::Blocks;
use super::number;
use super::unescape::unescape;

/// A string as it stands between its quotes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Text<'a> {
    /// The bytes between the quotes.
    pub(super) raw: &'a [u8],
    /// Whether there is a backslash among them.
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// Checks the escapes.
    pub(super) fn check(self) -> Result<(), Fault> {
        if self.escaped { self.bytes().map(drop) } else { Ok(()) }
    }

    /// Returns the bytes the string stands for.
    pub(super) fn bytes(self) -> Result<Cow<'a, [u8]>, Fault> {
        if !self.escaped {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut plain = Vec::with_capacity(self.raw.len());
        unescape(self.raw, &mut plain)?;
        Ok(Cow::Owned(plain))
    }
}

/// A place in a JSON text that only moves forward.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    blocks: Blocks<'a>,
    at: usize,
    /// Whether the last string has escapes.
    escaped: bool,
    /// Why the last string could not be read.
    fault: Fault,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { blocks: Blocks::new(bytes), at: 0, escaped: false, fault: Fault::Syntax }
    }

    /// Returns the place reached.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Returns the bytes from `start` to the place reached.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        self.blocks.bytes().get(start..self.at).unwrap_or_default()
    }

    /// Returns the next byte that is not white space and stops before it.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.blocks.bytes().get(self.at)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, wanted: u8) -> Result<(), Fault> {
        // Most logs are written without white space.
        if self.blocks.bytes().get(self.at) == Some(&wanted) {
            self.at += 1;
            return Ok(());
        }
        match self.peek() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::Syntax),
            None => Err(Fault::Truncated),
        }
    }

    /// Steps over `,`, or over `close` and then tells that the container ended.
    #[inline]
    fn ended(&mut self, close: u8) -> Result<bool, Fault> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(Fault::Syntax),
            None => Err(Fault::Truncated),
        }
    }

    #[inline]
    fn is_empty(&mut self, open: u8, close: u8) -> Result<bool, Fault> {
        self.expect(open)?;
        let empty = self.peek() == Some(close);
        self.at += usize::from(empty);
        Ok(empty)
    }

    /// Reads an object: `each` is given every key and must step over its value.
    #[inline]
    pub(super) fn object(&mut self, mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        self.entries(|scanner, key| if key.escaped { each(scanner, &key.bytes()?) } else { each(scanner, key.raw) })
    }

    /// Reads an object, keys as they are spelt.
    #[inline]
    pub(super) fn entries(&mut self, mut each: impl FnMut(&mut Self, Text<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.is_empty(b'{', b'}')? {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            each(self, key)?;
            if self.ended(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an array: `each` must step over every element.
    #[inline]
    pub(super) fn array(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.is_empty(b'[', b']')? {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.ended(b']')? {
                return Ok(());
            }
        }
    }

    /// Returns the places of the elements of an array.
    pub(super) fn elements(&mut self) -> Result<Vec<Range<usize>>, Fault> {
        let mut places = Vec::new();
        self.array(|scanner| {
            scanner.peek();
            let start = scanner.at();
            scanner.skip_value()?;
            places.push(start..scanner.at());
            Ok(())
        })?;
        Ok(places)
    }

    /// Reads a string without raw control characters; its escapes and its UTF-8 are checked when it is used.
    #[inline(always)]
    pub(super) fn string(&mut self) -> Result<Text<'a>, Fault> {
        match self.quoted() {
            Some(raw) => Ok(Text { raw, escaped: self.escaped }),
            None => Err(self.fault),
        }
    }

    /// Returns a string's bytes; `escaped` or `fault` tells the rest. A slice is returned in registers, and the scan of a
    /// record waits for some fifty of them.
    #[inline(never)]
    fn quoted(&mut self) -> Option<&'a [u8]> {
        if let Err(fault) = self.expect(b'"') {
            self.fault = fault;
            return None;
        }
        let start = self.at;
        let Some((end, odd)) = self.blocks.string_end(start) else {
            self.fault = Fault::Truncated;
            return None;
        };
        self.at = end + 1;
        self.escaped = odd;
        let raw = &self.blocks.bytes()[start..end];
        if odd && raw.iter().any(|&byte| byte < 0x20) {
            self.fault = Fault::Text;
            return None;
        }
        Some(raw)
    }

    /// Returns the bytes up to the next comma, bracket, colon, quote or white space.
    pub(super) fn scalar(&mut self) -> &'a [u8] {
        let rest = self.blocks.bytes().get(self.at..).unwrap_or_default();
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'{' | b'[' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Steps over a container, which must open here.
    fn skip_container(&mut self) -> Result<(), Fault> {
        self.at = self.blocks.container_end(self.at).ok_or(Fault::Truncated)?;
        Ok(())
    }

    /// Steps over a value of the envelope: a string or a scalar must be right, a container balanced.
    pub(super) fn skip_value(&mut self) -> Result<(), Fault> {
        match self.peek().ok_or(Fault::Truncated)? {
            b'{' | b'[' => self.skip_container(),
            b'"' => self.string()?.check(),
            _ if number::is_scalar(self.scalar()) => Ok(()),
            _ if self.at >= self.blocks.bytes().len() => Err(Fault::Truncated),
            _ => Err(Fault::Syntax),
        }
    }

    /// Steps over a value inside a body, of which only balance is asked.
    pub(super) fn skip_any(&mut self) -> Result<(), Fault> {
        match self.peek().ok_or(Fault::Truncated)? {
            b'{' | b'[' => self.skip_container(),
            b'"' => {
                self.at = self.blocks.string_end(self.at + 1).ok_or(Fault::Truncated)?.0 + 1;
                Ok(())
            }
            _ if self.scalar().is_empty() => Err(Fault::Syntax),
            _ => Ok(()),
        }
    }
}
