//! Spans of time `[from, to)` during which a card holds.

use std::sync::Arc;

use sluice_schemas::Micros;

use super::card::RateCard;

/// `[from, to)`; no end when `to` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Micros,
    pub(super) to: Option<Micros>,
}

impl Span {
    pub(super) const fn of(card: &RateCard) -> Self {
        Self { from: card.effective_from, to: card.effective_to }
    }

    /// Returns the common part of two spans.
    pub(super) fn intersect(self, other: Self) -> Option<Self> {
        let from = self.from.max(other.from);
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        to.is_none_or(|to| from < to).then_some(Self { from, to })
    }

    /// Returns what is left of this span beside the spans of `taken`, in order.
    pub(super) fn minus(self, taken: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut left = vec![self];
        for hole in taken {
            left = left.into_iter().flat_map(|span| span.minus_one(hole)).collect();
        }
        left
    }

    fn minus_one(self, hole: Self) -> impl Iterator<Item = Self> {
        // An empty hole would leave both sides of itself, overlapping.
        let hole = if hole.to.is_some_and(|to| to <= hole.from) { Self { from: hole.from, to: Some(hole.from) } } else { hole };
        let before = self.intersect(Self { from: Micros(i64::MIN), to: Some(hole.from) });
        let after = hole.to.and_then(|from| self.intersect(Self { from, to: None }));
        before.into_iter().chain(after)
    }
}

/// Returns the card cut to a span.
pub(super) fn cut(card: &Arc<RateCard>, span: Span) -> Arc<RateCard> {
    if Span::of(card) == span {
        return Arc::clone(card);
    }
    Arc::new(RateCard { effective_from: span.from, effective_to: span.to, ..RateCard::clone(card) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span() -> impl Strategy<Value = Span> {
        (0_i64..20, proptest::option::of(1_i64..10))
            .prop_map(|(from, length)| Span { from: Micros(from), to: length.map(|length| Micros(from + length)) })
    }

    fn holds(span: Span, at: i64) -> bool {
        span.from <= Micros(at) && span.to.is_none_or(|to| Micros(at) < to)
    }

    proptest! {
        #[test]
        fn minus_is_set_difference(whole in span(), taken in proptest::collection::vec(span(), 0..4)) {
            let left = whole.minus(taken.iter().copied());
            for at in -1..40 {
                let expected = holds(whole, at) && !taken.iter().any(|hole| holds(*hole, at));
                prop_assert_eq!(left.iter().filter(|span| holds(**span, at)).count(), usize::from(expected), "{}", at);
            }
        }
    }
}
