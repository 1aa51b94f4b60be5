//! Which model id a product of an AWS price list is about: price lists know names, logs know ids.

use std::collections::BTreeMap;

use super::words::words;

/// Names whose words are not those of the id.
const IRREGULAR: &[(&str, &str)] = &[
    ("canvas", "amazon.nova-canvas-v1:0"),
    ("titan embed g 1 text", "amazon.titan-embed-text-v1"),
    ("titan embed g 1 image", "amazon.titan-embed-image-v1"),
    ("titan embed g 1 multimodal", "amazon.titan-embed-image-v1"),
    ("titan image generator g 1", "amazon.titan-image-generator-v1"),
    ("titan text g 1 express", "amazon.titan-text-express-v1"),
    ("titan text g 1 lite", "amazon.titan-text-lite-v1"),
];
/// Vendor names that lead a product name.
const VENDORS: &[&str] =
    &["amazon", "anthropic", "cohere", "meta", "mistral", "openai", "ai", "qwen", "deepseek", "writer", "nvidia", "google"];
/// Words that a name and its id do not share.
const NOISE: &[&str] = &["instruct", "chat", "text", "it"];

/// The models known by id, found by name.
pub(crate) struct Models {
    /// Sorted words of an id without vendor, date and version, and the ids that have them.
    by_words: BTreeMap<String, Vec<String>>,
}

impl Models {
    pub(crate) fn of<'a>(ids: impl Iterator<Item = &'a str>) -> Self {
        let mut by_words: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in ids {
            for key in keys_of_id(id) {
                let ids = by_words.entry(key).or_default();
                if !ids.iter().any(|known| known == id) {
                    ids.push(id.to_owned());
                }
            }
        }
        Self { by_words }
    }

    /// Finds the one model a name is about; `Err` says why there is none.
    pub(crate) fn find<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<String, String> {
        let mut last = "no model in it".to_owned();
        for name in names.filter(|name| !name.is_empty()) {
            let plain = normal(words(name));
            if let Some((_, id)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == plain.join(" ")) {
                return Ok((*id).to_owned());
            }
            // One word names a family, not a model.
            for key in keys_of_words(plain).into_iter().filter(|key| key.contains(' ')) {
                match self.by_words.get(&key).map(Vec::as_slice) {
                    Some([id]) => return Ok(id.clone()),
                    Some(ids) => last = format!("'{name}' may be any of {}", ids.join(", ")),
                    None => {}
                }
            }
            if last == "no model in it" {
                last = format!("no known model is called '{name}'");
            }
        }
        Err(last)
    }
}

/// One spelling for words that vary; the `v` of a version says nothing.
fn normal(words: Vec<String>) -> Vec<String> {
    let singular = |word: String| if word == "embedding" || word == "embeddings" { "embed".to_owned() } else { word };
    words.into_iter().filter(|word| word != "v").map(singular).collect()
}

/// Keys of a name, the most exact first: as it is, without vendor, without noise.
fn keys_of_words(words: Vec<String>) -> Vec<String> {
    let without =
        |drop: &[&str], words: &[String]| -> Vec<String> { words.iter().filter(|word| !drop.contains(&word.as_str())).cloned().collect() };
    let named = without(VENDORS, &words);
    let plain = without(NOISE, &named);
    let mut keys: Vec<String> = Vec::new();
    for words in [words, named, plain] {
        let key = sorted(words);
        if !key.is_empty() && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Words as a key; `4.6` and `4 6` are the same.
fn sorted(words: Vec<String>) -> String {
    let mut words: Vec<String> = words.iter().flat_map(|word| word.split('.').map(str::to_owned).collect::<Vec<_>>()).collect();
    words.sort();
    words.join(" ")
}

/// Keys of an id: without its version when that is the first, as names do, else with it.
fn keys_of_id(id: &str) -> Vec<String> {
    let (vendor, name) = id.split_once('.').unwrap_or(("", id));
    let (name, versioned) = name.split_once(':').map_or((name, false), |(name, _)| (name, true));
    let parts: Vec<&str> = name.split('-').collect();
    let is_date = |part: &&str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_digit());
    // `gpt-oss-120b-1:0` has its version without a `v`.
    let digits = parts.last().and_then(|part| part.strip_prefix('v').or(versioned.then_some(part)));
    let version = digits.filter(|digits| digits.parse::<u32>().is_ok());
    let named = parts.len() - usize::from(version.is_some());
    let kept: Vec<&str> = parts[..named].iter().filter(|part| !is_date(part)).copied().collect();
    let mut plain = normal(words(&kept.join("-")));
    plain.extend(version.filter(|digits| *digits != "1").map(str::to_owned));
    let mut with_vendor = plain.clone();
    with_vendor.push(vendor.to_owned());
    let mut keys = keys_of_words(plain);
    keys.extend(keys_of_words(with_vendor));
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::super::super::super::Catalogue;
    use super::*;

    #[test]
    fn names_of_price_lists_find_their_ids() {
        let catalogue = Catalogue::builtin().expect("the built-in prices");
        let models = Models::of(catalogue.models());
        for (name, id) in [
            ("Nova Pro", "amazon.nova-pro-v1:0"),
            ("NovaMicro", "amazon.nova-micro-v1:0"),
            ("Nova2.0Lite", "amazon.nova-2-lite-v1:0"),
            ("Claude Sonnet 4.5", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ("Claude Haiku 4.5", "anthropic.claude-haiku-4-5-20251001-v1:0"),
            ("Claude Opus 5.5", "anthropic.claude-opus-5-5"),
            ("Claude4.6Sonnet", "anthropic.claude-sonnet-4-6"),
            ("Claude4Sonnet", "anthropic.claude-sonnet-4-20250514-v1:0"),
            ("Claude 3.5 Sonnet v2", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
            ("Claude 3.5 Sonnet", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
            ("Llama4-Maverick-17B", "meta.llama4-maverick-17b-instruct-v1:0"),
            ("Llama 3.3 70B", "meta.llama3-3-70b-instruct-v1:0"),
            ("TitanEmbeddingV2-Text", "amazon.titan-embed-text-v2:0"),
            ("Canvas", "amazon.nova-canvas-v1:0"),
            ("Cohere Embed 4", "cohere.embed-v4:0"),
            ("gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
            ("GPT-OSS-Safeguard-20B", "openai.gpt-oss-safeguard-20b"),
        ] {
            assert_eq!(models.find(std::iter::once(name)), Ok(id.to_owned()), "{name}");
        }
        for unknown in ["Claude", "Nova", "Mind Reader 9", ""] {
            assert!(models.find(std::iter::once(unknown)).is_err(), "{unknown}");
        }
    }
}
