//! Names in AWS price lists, cut into words: `Nova2.0Lite`, `nova-2-lite` and `Nova 2.0 Lite` are the same words.

/// Cuts at punctuation, at the start of a capital and between letters and digits; lower case, `2.0` becomes `2`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    let mut chars = name.chars().peekable();
    while let Some(char) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        let decimal = char == '.' && before.is_ascii_digit() && next.is_ascii_digit();
        if char.is_ascii_alphanumeric() || decimal {
            let number = |char: char| char.is_ascii_digit() || char == '.';
            let capital =
                char.is_ascii_uppercase() && (before.is_ascii_lowercase() || next.is_ascii_lowercase() && before.is_ascii_uppercase());
            let starts = !(before.is_ascii_alphanumeric() || before == '.') || number(before) != number(char) || capital;
            match words.last_mut().filter(|_| !starts) {
                Some(word) => word.push(char.to_ascii_lowercase()),
                None => words.push(char.to_ascii_lowercase().to_string()),
            }
            before = char;
        } else {
            before = ' ';
        }
    }
    words.into_iter().map(|word| word.strip_suffix(".0").map_or(word.clone(), str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_have_the_same_words() {
        for (name, expected) in [
            ("Nova2.0Lite", "nova 2 lite"),
            ("nova-2-lite", "nova 2 lite"),
            ("Claude4.6Sonnet", "claude 4.6 sonnet"),
            ("CacheWrite1hInputTokenCount_Global", "cache write 1 h input token count global"),
            ("cache_write_tokens_1h_long_ctx", "cache write tokens 1 h long ctx"),
            ("Llama4-Maverick-17B", "llama 4 maverick 17 b"),
            ("GPT-OSS-Safeguard-20B", "gpt oss safeguard 20 b"),
            ("InputTPM", "input tpm"),
            ("TPMHour", "tpm hour"),
            ("kimi-k2.5", "kimi k 2.5"),
            ("", ""),
        ] {
            assert_eq!(words(name).join(" "), expected, "{name}");
        }
    }
}
