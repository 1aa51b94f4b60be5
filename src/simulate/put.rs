//! Appending JSON to bytes by hand: the simulator's inner loop, and the only way to write broken JSON on purpose.

/// Appends pieces of JSON text.
pub(crate) trait Put {
    /// Appends text as it is.
    fn text(&mut self, text: &str) -> &mut Self;
    /// Appends a number.
    fn number(&mut self, number: u64) -> &mut Self;
    /// Appends a string with its quotes.
    fn string(&mut self, text: &str) -> &mut Self;
    /// Appends `,"key":`.
    fn key(&mut self, key: &str) -> &mut Self {
        self.text(",\"").text(key).text("\":")
    }
    /// Appends `,"key":"value"`.
    fn pair(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key).string(value)
    }
    /// Appends `,"key":number`.
    fn count(&mut self, key: &str, number: u64) -> &mut Self {
        self.key(key).number(number)
    }
}

impl Put for Vec<u8> {
    fn text(&mut self, text: &str) -> &mut Self {
        self.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, mut number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.extend_from_slice(&digits[at..]);
        self
    }

    fn string(&mut self, text: &str) -> &mut Self {
        self.push(b'"');
        escape_into(text.as_bytes(), self);
        self.push(b'"');
        self
    }
}

/// Appends the inside of a JSON string.
pub(crate) fn escape_into(text: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for (at, &byte) in text.iter().enumerate() {
        let plain = byte >= 0x20 && byte != b'"' && byte != b'\\';
        if plain {
            continue;
        }
        out.extend_from_slice(&text[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&text[copied..]);
}
