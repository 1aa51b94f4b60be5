//! Patterns with `*` for names, as IAM's `StringLike` knows them.

/// A name pattern: `*` stands for any run of characters, the empty one included; everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Tells whether the whole of `name` fits. Takes at most `pattern × name` steps.
    pub(crate) fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        // Where to go on when a later character does not fit: behind the last star, one character further.
        let mut retry: Option<(usize, usize)> = None;
        while read < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    retry = Some((at, read));
                }
                Some(&byte) if byte == name[read] => {
                    at += 1;
                    read += 1;
                }
                _ => match retry {
                    Some((star, from)) => {
                        (at, read) = (star, from + 1);
                        retry = Some((star, from + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern.get(at..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn star_is_any_run() {
        for (pattern, name, fits) in [
            ("Checkout*", "Checkout", true),
            ("Checkout*", "Checkout-EU", true),
            ("Checkout*", "MyCheckout", false),
            ("*-prod", "a-prod-prod", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("ab", "a", false),
            ("*ü*", "grün", true),
        ] {
            assert_eq!(Glob::new(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    /// The definition itself, exponential and obvious.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|cut| by_definition(rest, &name[cut..])),
            Some((byte, rest)) => name.split_first().is_some_and(|(first, tail)| first == byte && by_definition(rest, tail)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*]{0,7}", name in "[ab]{0,9}") {
            prop_assert_eq!(Glob::new(&pattern).fits(&name), by_definition(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
