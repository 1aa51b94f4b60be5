//! Products of two 128-bit numbers divided by a third, exact and rounded once: what a rate times a quantity comes to.

/// Where a quotient goes that is no whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    HalfEven,
    /// Towards zero.
    Down,
    /// Away from zero.
    Up,
}

/// Returns `a * b / c`; `None` when `c` is zero or the quotient does not fit.
pub(super) fn ratio(a: i128, b: i128, c: i128, round: Round) -> Option<i128> {
    if c == 0 {
        return None;
    }
    let negative = (a < 0) ^ (b < 0) ^ (c < 0);
    let magnitude = divide(a.unsigned_abs(), b.unsigned_abs(), c.unsigned_abs(), round)?;
    let magnitude = i128::try_from(magnitude).ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn divide(a: u128, b: u128, c: u128, round: Round) -> Option<u128> {
    let (quotient, rest) = match a.checked_mul(b) {
        Some(product) => (product / c, product % c),
        None => divide_wide(a, b, c)?,
    };
    // Twice the rest against the divisor, without leaving 128 bits.
    let other = c - rest;
    let up = match round {
        Round::Down => false,
        Round::Up => rest > 0,
        Round::HalfEven => rest > other || (rest == other && quotient % 2 == 1),
    };
    quotient.checked_add(u128::from(up))
}

/// Divides a product of 256 bits, bit by bit.
fn divide_wide(a: u128, b: u128, c: u128) -> Option<(u128, u128)> {
    let (high, low) = multiply(a, b);
    // A larger high half gives a quotient beyond 128 bits.
    if high >= c {
        return None;
    }
    let (mut rest, mut quotient) = (high, 0_u128);
    for bit in (0..128).rev() {
        let carry = rest >> 127 == 1;
        rest = (rest << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if carry || rest >= c {
            rest = rest.wrapping_sub(c);
            quotient |= 1;
        }
    }
    Some((quotient, rest))
}

/// Returns the upper and the lower half of a product.
const fn multiply(a: u128, b: u128) -> (u128, u128) {
    const HALF: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & HALF, b >> 64, b & HALF);
    let low = a_low * b_low;
    let (middle_1, middle_2) = (a_high * b_low, a_low * b_high);
    let carried = (low >> 64) + (middle_1 & HALF) + (middle_2 & HALF);
    let high = a_high * b_high + (middle_1 >> 64) + (middle_2 >> 64) + (carried >> 64);
    (high, (carried << 64) | (low & HALF))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounds_once() {
        for (a, b, c, even, down, up) in
            [(7, 1, 2, 4, 3, 4), (5, 1, 2, 2, 2, 3), (-7, 1, 2, -4, -3, -4), (1, 1, 3, 0, 0, 1), (6, 2, 3, 4, 4, 4)]
        {
            assert_eq!(ratio(a, b, c, Round::HalfEven), Some(even));
            assert_eq!(ratio(a, b, c, Round::Down), Some(down));
            assert_eq!(ratio(a, b, c, Round::Up), Some(up));
        }
        assert_eq!(ratio(1, 1, 0, Round::Up), None);
        assert_eq!(ratio(i128::MAX, i128::MAX, 1, Round::Down), None);
        assert_eq!(ratio(i128::MAX, i128::MAX, i128::MAX, Round::HalfEven), Some(i128::MAX));
        assert_eq!(ratio(i128::MAX, 6, 4, Round::HalfEven), None);
        assert_eq!(ratio(i128::MIN, 1, 1, Round::HalfEven), None);
    }

    proptest! {
        #[test]
        fn wide_and_narrow_agree(a in 0..u128::from(u64::MAX), b in 0..u128::from(u64::MAX), c in 1_u128..) {
            let product = a * b;
            prop_assert_eq!(divide_wide(a, b, c), Some((product / c, product % c)).filter(|_| multiply(a, b).0 < c));
        }

        #[test]
        fn what_was_multiplied_divides_again(a in any::<u128>(), b in 1_u128..) {
            prop_assert_eq!(divide_wide(a, b, b), Some((a, 0)).filter(|_| multiply(a, b).0 < b));
        }
    }
}
