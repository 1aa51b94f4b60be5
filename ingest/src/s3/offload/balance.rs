//! Tells where a JSON value that comes in parts ends: by its brackets alone.

/// Reads forward through the parts of an object or an array.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Balance {
    depth: u64,
    in_text: bool,
    escaped: bool,
    opened: bool,
}

impl Balance {
    /// Reads on; tells whether the value has ended. One that is no container ends with its bytes only.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        bytes.iter().any(|&byte| self.step(byte))
    }

    const fn step(&mut self, byte: u8) -> bool {
        if self.in_text {
            self.in_text = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => (self.depth, self.opened) = (self.depth + 1, true),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.opened && self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Balance;

    #[test]
    fn brackets_in_texts_do_not_count() {
        let value = br#"  {"a\\\"}": ["]", {"b": "\\"}], "c": "{"}"#;
        for cut in 0..value.len() {
            let mut balance = Balance::default();
            assert!(!balance.feed(&value[..cut]), "{cut}");
            assert!(balance.feed(&value[cut..]), "{cut}");
        }
        assert!(!Balance::default().feed(b"12 \"text\" null"));
    }
}
