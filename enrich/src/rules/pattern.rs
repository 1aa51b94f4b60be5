//! Patterns of rules: plain text, `*` for any run of characters and `{name}` for a run that is kept under a name.

use std::collections::HashSet;
use std::str::CharIndices;

/// Most stars and captures of a pattern; more would only make it slow.
const MAX_WILDCARDS: usize = 8;

/// Why a pattern or a template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No text.
    #[error("is empty: leave the field out, or write '*' for any value")]
    Empty,
    /// A brace without its other half.
    #[error("has a '{{' or '}}' without its other half")]
    Brace,
    /// A capture whose name is no word.
    #[error("names a capture '{name}': use letters, digits and '_'")]
    CaptureName {
        /// The name.
        name: String,
    },
    /// Two wildcards with nothing between them.
    #[error("has wildcards side by side: put text between them, or make them one")]
    Adjacent,
    /// Too many wildcards.
    #[error("has more than {MAX_WILDCARDS} wildcards")]
    TooMany,
}

/// One part of a pattern or a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    /// At least one character.
    Capture(String),
}

/// What a value has to look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    ignore_case: bool,
}

/// What a rule says, with captures put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

fn parts(text: &str, star: bool) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest: CharIndices<'_> = text.char_indices();
    while let Some((at, c)) = rest.next() {
        let wildcard = match c {
            '*' if star => Part::Any,
            '{' => {
                let after = text.get(at + 1..).unwrap_or("");
                let name = after.split_once('}').ok_or(PatternError::Brace)?.0;
                if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                    return Err(PatternError::CaptureName { name: name.to_owned() });
                }
                rest.nth(name.len());
                Part::Capture(name.to_owned())
            }
            '}' => return Err(PatternError::Brace),
            c => {
                plain.push(c);
                continue;
            }
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(wildcard);
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    if parts.is_empty() { Err(PatternError::Empty) } else { Ok(parts) }
}

impl Pattern {
    pub(super) fn parse(text: &str, ignore_case: bool) -> Result<Self, PatternError> {
        let parts = parts(text, true)?;
        let is_wildcard = |part: &Part| !matches!(part, Part::Text(_));
        if parts.windows(2).any(|two| two.iter().all(is_wildcard)) {
            return Err(PatternError::Adjacent);
        }
        if parts.iter().filter(|part| is_wildcard(part)).count() > MAX_WILDCARDS {
            return Err(PatternError::TooMany);
        }
        Ok(Self { parts, ignore_case })
    }

    /// Returns what the captures hold if the whole of `text` fits; of several ways, the one with the shorter earlier captures.
    pub(super) fn captures<'p, 't>(&'p self, text: &'t str) -> Option<Vec<(&'p str, &'t str)>> {
        let mut search = Search { text, ignore_case: self.ignore_case, failed: HashSet::new(), found: Vec::new() };
        search.fits(&self.parts, 0).then(|| {
            search.found.reverse();
            search.found
        })
    }

    /// Names of its captures.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.parts)
    }

    /// Its plain text, wildcards left out.
    pub(super) fn plain(&self) -> String {
        self.parts.iter().map(|part| if let Part::Text(text) = part { text.as_str() } else { "" }).collect()
    }

    /// Tells whether it has no wildcard.
    pub(super) fn is_plain(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Tells whether every text that fits `other` fits this one. May miss some that do, never the other way.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let unit = |c: char| if self.ignore_case { Unit::Letter(c.to_ascii_lowercase()) } else { Unit::Letter(c) };
        let mut units = Vec::new();
        for part in &other.parts {
            match part {
                Part::Text(text) => units.extend(text.chars().map(unit)),
                Part::Any => units.push(Unit::Any),
                Part::Capture(_) => units.push(Unit::Some),
            }
        }
        // Which starts of `units` what has been read of this pattern covers.
        let mut reached = vec![false; units.len() + 1];
        reached[0] = true;
        for part in &self.parts {
            reached = match part {
                Part::Text(text) => text.chars().fold(reached, |reached, c| step(&reached, &units, unit(c))),
                Part::Any => spread(&reached, &units, false),
                Part::Capture(_) => spread(&reached, &units, true),
            };
        }
        reached.last().copied().unwrap_or(false)
    }
}

/// A piece of a pattern that another one may cover.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Letter(char),
    Any,
    Some,
}

fn step(reached: &[bool], units: &[Unit], letter: Unit) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    for (at, unit) in units.iter().enumerate() {
        next[at + 1] = reached[at] && *unit == letter;
    }
    next
}

/// A wildcard covers any run of units; one that asks for a character covers only runs that have one for certain.
fn spread(reached: &[bool], units: &[Unit], needs_one: bool) -> Vec<bool> {
    let mut next = vec![false; reached.len()];
    for start in (0..reached.len()).filter(|&start| reached[start]) {
        let mut certain = !needs_one;
        next[start] |= certain;
        for end in start..units.len() {
            certain |= units[end] != Unit::Any;
            next[end + 1] |= certain;
        }
    }
    next
}

struct Search<'p, 't> {
    text: &'t str,
    ignore_case: bool,
    /// Parts left and place, where the search went wrong before.
    failed: HashSet<(usize, usize)>,
    /// Captures, the last first.
    found: Vec<(&'p str, &'t str)>,
}

impl<'p> Search<'p, '_> {
    fn fits(&mut self, parts: &'p [Part], at: usize) -> bool {
        let Some((part, rest)) = parts.split_first() else {
            return at == self.text.len();
        };
        let left = self.text.get(at..).unwrap_or("");
        match part {
            Part::Text(text) => {
                let start = left.get(..text.len());
                let same = start.is_some_and(|start| if self.ignore_case { start.eq_ignore_ascii_case(text) } else { start == text });
                same && self.fits(rest, at + text.len())
            }
            Part::Any | Part::Capture(_) if self.failed.contains(&(parts.len(), at)) => false,
            Part::Any | Part::Capture(_) => {
                let least = usize::from(matches!(part, Part::Capture(_)));
                let ends = left.char_indices().map(|(end, _)| end).chain([left.len()]);
                for end in ends.skip(least) {
                    if self.fits(rest, at + end) {
                        if let Part::Capture(name) = part {
                            self.found.push((name, self.text.get(at..at + end).unwrap_or("")));
                        }
                        return true;
                    }
                }
                self.failed.insert((parts.len(), at));
                false
            }
        }
    }
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        parts(text, false).map(Self)
    }

    /// Names of the captures it asks for.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.0)
    }

    /// Its text if it asks for no capture.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Puts captures in.
    pub(super) fn fill(&self, captures: &[(&str, &str)]) -> String {
        let value = |name: &str| captures.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        let part = |part: &'_ Part| match part {
            Part::Text(text) => text.clone(),
            Part::Any => String::new(),
            Part::Capture(name) => value(name).to_owned(),
        };
        self.0.iter().map(part).collect()
    }
}

fn names(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| if let Part::Capture(name) = part { Some(name.as_str()) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, false).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn captures_are_what_stands_between() {
        let found = |text: &str, value: &str| {
            let fits =
                pattern(text).captures(value)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
            Some(fits)
        };
        assert_eq!(found("ccwb-{user}", "ccwb-ada@example.com").as_deref(), Some("user=ada@example.com"));
        assert_eq!(found("{team}-{agent}", "pay-bot-7").as_deref(), Some("team=pay,agent=bot-7"));
        assert_eq!(found("{a}:*:{b}", "1:2:3:4").as_deref(), Some("a=1,b=3:4"));
        assert_eq!(found("ccwb-{user}", "ccwb-"), None);
        assert_eq!(found("*", "").as_deref(), Some(""));
        assert_eq!(found("a*", "ba"), None);
        assert_eq!(found("x", "y"), None);
    }

    #[test]
    fn what_cannot_be_read() {
        let fault = |text: &str| Pattern::parse(text, false).expect_err("a fault");
        assert_eq!(fault(""), PatternError::Empty);
        assert_eq!(fault("a{b"), PatternError::Brace);
        assert_eq!(fault("a}b"), PatternError::Brace);
        assert_eq!(fault("{}"), PatternError::CaptureName { name: String::new() });
        assert_eq!(fault("{a b}"), PatternError::CaptureName { name: "a b".to_owned() });
        assert_eq!(fault("{a}{b}"), PatternError::Adjacent);
        assert_eq!(fault("a**"), PatternError::Adjacent);
        assert_eq!(fault(&"*-".repeat(9)), PatternError::TooMany);
    }

    #[test]
    fn wider_patterns_cover_narrower_ones() {
        for (wide, narrow, covers) in [
            ("*", "a-{x}", true),
            ("a*", "ab*c", true),
            ("ab*c", "a*", false),
            ("{x}", "*", false),
            ("{x}", "a*", true),
            ("*", "{x}", true),
            ("a*b", "a{x}b", true),
            ("a{x}b", "a*b", false),
            ("a", "a", true),
            ("a", "b", false),
            ("*-*", "x-y", true),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }

    fn any_pattern() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "{x}", "ü"]), 1..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn what_a_pattern_covers_fits_it(wide in any_pattern(), narrow in any_pattern(), text in "[abü]{0,6}") {
            let (Ok(wide), Ok(narrow)) = (Pattern::parse(&wide, false), Pattern::parse(&narrow, false)) else { return Ok(()) };
            if wide.covers(&narrow) && narrow.captures(&text).is_some() {
                prop_assert!(wide.captures(&text).is_some());
            }
        }

        #[test]
        fn captures_put_back_give_the_text(template in prop::collection::vec(prop::sample::select(vec!["a", "-", "{x}", "{a}"]), 1..5), user in "[a-z-]{1,8}") {
            let template = template.concat();
            let Ok(pattern) = Pattern::parse(&template, false) else { return Ok(()) };
            let text = Template::parse(&template).expect("a template, too").fill(&[("x", &user), ("a", &user)]);
            prop_assert!(pattern.captures(&text).is_some());
        }

        #[test]
        fn no_text_panics(text in any::<String>(), value in any::<String>()) {
            if let Ok(pattern) = Pattern::parse(&text, true) {
                let _fits = pattern.captures(&value).is_some();
            }
        }
    }
}
