//! Texts with wildcards and policy variables.
//!
//! Source: AWS, "IAM policy elements: Variables and tags", "IAM JSON policy elements: Resource".

use super::Context;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Is(char),
    One,
    Any,
}

/// A text with `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Piece>);

/// Where variables get their values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variables<'a> {
    pub(super) context: &'a Context,
    /// Only documents of the version 2012-10-17 have variables.
    pub(super) are_on: bool,
}

/// What a key holds in a request.
pub(super) enum Held<'a> {
    Values(&'a [String]),
    Absent,
    Untold,
}

impl Variables<'_> {
    pub(super) fn held(&self, key: &str) -> Held<'_> {
        match self.context.values.get(&key.to_ascii_lowercase()) {
            Some(values) if !values.is_empty() => Held::Values(values),
            Some(_) => Held::Absent,
            None if self.context.is_open => Held::Untold,
            None => Held::Absent,
        }
    }
}

impl Pattern {
    /// A pattern without variables.
    pub(super) fn plain(text: &str) -> Self {
        Self(wild(text).collect())
    }

    /// Puts in the values of variables; `None` if one has none, which no value matches. `is_not` says that not matching counts as a
    /// match, where a variable without a value leaves open what AWS does.
    pub(super) fn with_variables(text: &str, variables: Variables<'_>, is_not: bool) -> Result<Option<Self>, String> {
        if !variables.are_on || !text.contains("${") {
            return Ok(Some(Self::plain(text)));
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            pieces.extend(wild(before));
            let (name, after) = after.split_once('}').ok_or_else(|| format!("a variable without an end in {text}"))?;
            rest = after;
            match name {
                "*" | "?" | "$" => pieces.extend(name.chars().map(Piece::Is)),
                _ => match value(name, variables)? {
                    Some(value) => pieces.extend(value.chars().map(Piece::Is)),
                    None if is_not => return Err(format!("the variable {name} has no value")),
                    None => return Ok(None),
                },
            }
        }
        pieces.extend(wild(rest));
        Ok(Some(Self(pieces)))
    }

    /// Splits at colons into at most six parts, as ARNs are compared.
    pub(super) fn arn_parts(&self) -> Vec<Self> {
        self.0.splitn(6, |piece| *piece == Piece::Is(':')).map(|part| Self(part.to_vec())).collect()
    }

    /// The same in lower case.
    pub(super) fn lower(&self) -> Self {
        let lower = |piece: &Piece| match piece {
            Piece::Is(character) => character.to_lowercase().map(Piece::Is).collect(),
            other => vec![*other],
        };
        Self(self.0.iter().flat_map(lower).collect())
    }

    /// The same with wildcards as plain characters.
    pub(super) fn exact(self) -> Self {
        let plain = |piece| match piece {
            Piece::One => Piece::Is('?'),
            Piece::Any => Piece::Is('*'),
            other => other,
        };
        Self(self.0.into_iter().map(plain).collect())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut in_text) = (0, 0);
        // Where the last `*` stands and how much of the text it has taken.
        let mut star: Option<(usize, usize)> = None;
        while in_text < text.len() {
            match self.0.get(at) {
                Some(Piece::Any) => {
                    star = Some((at, in_text));
                    at += 1;
                }
                Some(Piece::One) => (at, in_text) = (at + 1, in_text + 1),
                Some(Piece::Is(character)) if *character == text[in_text] => (at, in_text) = (at + 1, in_text + 1),
                _ => {
                    let Some((place, taken)) = star else { return false };
                    star = Some((place, taken + 1));
                    (at, in_text) = (place + 1, taken + 1);
                }
            }
        }
        self.0[at..].iter().all(|piece| *piece == Piece::Any)
    }
}

fn wild(text: &str) -> impl Iterator<Item = Piece> {
    text.chars().map(|character| match character {
        '*' => Piece::Any,
        '?' => Piece::One,
        other => Piece::Is(other),
    })
}

/// The value of `key` or `key, 'default'`.
fn value(name: &str, variables: Variables<'_>) -> Result<Option<String>, String> {
    let (key, default) = match name.split_once(',') {
        None => (name.trim(), None),
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
            (key.trim(), Some(default.ok_or_else(|| format!("a variable that is none: {name}"))?))
        }
    };
    match variables.held(key) {
        Held::Values([one]) => Ok(Some(one.clone())),
        Held::Values(_) => Err(format!("the variable {key} has many values")),
        Held::Absent => Ok(default.map(str::to_owned)),
        Held::Untold => Err(format!("the value of {key} is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, is) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xaybz", true),
            ("*ab", "aab", true),
            ("a**", "a", true),
            ("bedrock:invoke*", "bedrock:invokemodel", true),
        ] {
            assert_eq!(Pattern::plain(pattern).matches(text), is, "{pattern} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_text_matches_itself_and_stars_match_all(text in "[a-c]{0,8}", cut in 0_usize..8) {
            proptest::prop_assert!(Pattern::plain(&text).matches(&text));
            let cut = cut.min(text.len());
            let starred = format!("{}*{}", &text[..cut], &text[cut..]);
            proptest::prop_assert!(Pattern::plain(&starred).matches(&text));
        }

        #[test]
        fn no_pattern_panics(pattern in "[a${},'*? ]{0,12}", text in "[a${}*?]{0,6}") {
            let context = Context::whole().with("a", &text);
            let found = Pattern::with_variables(&pattern, Variables { context: &context, are_on: true }, false);
            if let Ok(Some(found)) = found {
                found.matches(&text);
            }
        }
    }
}
