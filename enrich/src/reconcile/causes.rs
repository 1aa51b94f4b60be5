//! Why a row of the bill differs from ours: a pure split of the difference into causes that sum to it, to the pico-dollar.
//!
//! Each cause but one is worked out by itself; what is left when all are taken off is `price` or, where it is below the digits of the
//! bill, `rounding`. So the sum is exact by construction, and a mistake in one cause shows in another.

use std::ops::{Add, AddAssign};

use sluice_schemas::PicoUsd;

use super::line::{Line, Unlogged};
use super::ours::OurSums;
use super::value;
use super::wide::{Round, ratio};
use crate::prices::UnitPrice;

/// The difference billed − ours, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Causes {
    /// Another rate for what both sides have.
    pub price: PicoUsd,
    /// Another quantity where our side has calls.
    pub volume: PicoUsd,
    /// Billed usage for which our side has no calls at all.
    pub unlogged: PicoUsd,
    /// Discount lines, negative lines and net against gross.
    pub discount: PicoUsd,
    /// Usage that the bill has on the neighbouring day.
    pub timing: PicoUsd,
    /// Below the digits of the bill.
    pub rounding: PicoUsd,
    /// What is left: usage types and models that are not known.
    pub unexplained: PicoUsd,
}

impl Causes {
    /// Names of the causes, in the order of [`Causes::amounts`].
    pub const NAMES: [&'static str; 7] = ["price", "volume", "unlogged", "discount", "timing", "rounding", "unexplained"];

    /// Returns the amounts.
    #[must_use]
    pub const fn amounts(&self) -> [PicoUsd; 7] {
        [self.price, self.volume, self.unlogged, self.discount, self.timing, self.rounding, self.unexplained]
    }

    /// Returns their sum: the variance.
    #[must_use]
    pub fn sum(&self) -> PicoUsd {
        self.amounts().into_iter().sum()
    }
}

impl Add for Causes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            price: self.price + other.price,
            volume: self.volume + other.volume,
            unlogged: self.unlogged + other.unlogged,
            discount: self.discount + other.discount,
            timing: self.timing + other.timing,
            rounding: self.rounding + other.rounding,
            unexplained: self.unexplained + other.unexplained,
        }
    }
}

impl AddAssign for Causes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What the bill has for a line of a principal on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BilledSums {
    pub(super) lines: i128,
    /// In 10⁻¹² units.
    pub(super) quantity: i128,
    /// How far the digits of the bill leave the quantity open.
    pub(super) quantity_open: i128,
    /// How far they leave its cost open.
    pub(super) cost_open: i128,
    /// Usage before discounts.
    pub(super) gross: i128,
    /// What is compared: usage and discounts, gross or net.
    pub(super) billed: i128,
}

/// Usage that the bill has on the neighbouring day, as it changes this row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) quantity: i128,
    pub(super) cost: i128,
}

/// What else decides the causes of a row.
pub(super) struct Setting<'a> {
    pub(super) line: &'a Line,
    /// Our side has calls of this principal, model, scope and tier on this day.
    pub(super) has_calls: bool,
    /// Our rate where our side has no quantity to tell it.
    pub(super) rate: Option<UnitPrice>,
    /// Why our side has no calls, where it has none.
    pub(super) missing: Unlogged,
}

/// The causes of a row, and what names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    pub(super) causes: Causes,
    pub(super) unlogged: Option<Unlogged>,
    /// Why something is unexplained.
    pub(super) why: Option<String>,
}

/// Splits the difference of a row into its causes.
pub(super) fn explain(billed: &BilledSums, ours: &OurSums, moved: Moved, setting: &Setting<'_>) -> Explained {
    let own = own_discount(billed, ours);
    let discount = billed.billed - billed.gross - own;
    let mut rest = billed.billed - ours.cost - discount;
    let mut explained = Explained { causes: Causes { discount: PicoUsd(discount), ..Causes::default() }, ..Explained::default() };
    if let Some(why) = setting.line.unknown() {
        explained.causes.unexplained = PicoUsd(rest);
        explained.why = Some(why.to_owned());
        return explained;
    }
    explained.causes.timing = PicoUsd(moved.cost);
    rest -= moved.cost;
    let left = billed.quantity - ours.quantity - moved.quantity;
    let counted_alike = left.abs() <= billed.quantity_open;
    if !setting.has_calls {
        let alone = if moved.quantity == 0 {
            Some(rest)
        } else if counted_alike {
            Some(0)
        } else {
            ratio(billed.gross, left, billed.quantity, Round::HalfEven)
        };
        let alone = alone.unwrap_or(rest);
        explained.causes.unlogged = PicoUsd(alone);
        explained.unlogged = (alone != 0).then(|| setting.line.never_logged().unwrap_or(setting.missing));
        rest -= alone;
    } else if !counted_alike {
        match at_our_rate(left, ours, setting.rate) {
            Some(volume) => {
                explained.causes.volume = PicoUsd(volume);
                rest -= volume;
            }
            // Our calls have no price: whatever is billed for them is a difference of price.
            None if ours.quantity > 0 => {}
            None => {
                explained.causes.unexplained = PicoUsd(rest);
                explained.why = Some("our prices have no rate for it".to_owned());
                return explained;
            }
        }
    }
    if rest.abs() <= open(billed, ours, setting.rate) {
        explained.causes.rounding = PicoUsd(rest);
    } else {
        explained.causes.price = PicoUsd(rest);
    }
    explained
}

/// Returns what a quantity costs at our effective rate, or by our prices where our side has no priced quantity.
fn at_our_rate(quantity: i128, ours: &OurSums, rate: Option<UnitPrice>) -> Option<i128> {
    if ours.priced > 0 {
        return ratio(ours.cost, quantity, ours.priced, Round::HalfEven);
    }
    value(i128::try_from(rate?.steps()).ok()?, quantity)
}

/// Returns the discount that our own prices already took off of what was billed, negative as the bill's is: the configured one, and all of
/// the bill's where our rates are those of a bill.
fn own_discount(billed: &BilledSums, ours: &OurSums) -> i128 {
    if ours.priced <= 0 {
        return 0;
    }
    let share = |amount: i128, quantity: i128| ratio(amount, quantity, ours.priced, Round::HalfEven).unwrap_or(0);
    let configured = if ours.list == ours.cost { 0 } else { share(ours.cost - ours.list, billed.quantity) };
    configured + share(billed.billed - billed.gross, ours.after_discounts)
}

/// Returns how far the digits of both sides leave a row open: one unit in the last digit of each line of the bill, in cost and in
/// quantity, half a pico-dollar for each call of ours and one for each of the quotients here.
fn open(billed: &BilledSums, ours: &OurSums, rate: Option<UnitPrice>) -> i128 {
    let quantity = at_our_rate(billed.quantity_open, ours, rate).unwrap_or(0);
    billed.cost_open.saturating_add(quantity.saturating_abs()).saturating_add(ours.calls / 2).saturating_add(4)
}

#[cfg(test)]
#[path = "causes/tests.rs"]
mod tests;
