//! Numbers: decimal text to the nearest double.

/// Powers of ten that a double holds exactly.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Integers up to this are doubles without rounding.
const EXACT_INTEGER: u64 = 1 << 53;

/// A number as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// Without fraction or exponent, and within range.
    Integer(i64),
    /// Anything else.
    Real(f64),
}

/// Reads the number that `text` starts with: its value and length. Nothing, where it is no JSON number.
pub(crate) fn parse(text: &[u8]) -> Option<(Number, usize)> {
    let negative = text.first() == Some(&b'-');
    let mut at = usize::from(negative);
    let first = *text.get(at)?;
    if !first.is_ascii_digit() {
        return special(text, at, negative);
    }
    let start = at;
    let mut mantissa = 0u64;
    at = digits(text, at, &mut mantissa);
    if first == b'0' && at > start + 1 {
        return None; // a leading zero
    }
    let mut count = at - start;
    let mut exponent = 0i32;
    let mut integer = true;
    if text.get(at) == Some(&b'.') {
        integer = false;
        let fraction = at + 1;
        at = digits(text, fraction, &mut mantissa);
        if at == fraction {
            return None;
        }
        count += at - fraction;
        exponent = -i32::try_from(at - fraction).ok()?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        integer = false;
        let mut place = at + 1;
        let minus = text.get(place) == Some(&b'-');
        if let Some(b'+' | b'-') = text.get(place) {
            place += 1;
        }
        let mut power = 0u64;
        at = digits(text, place, &mut power);
        if at == place {
            return None;
        }
        // Beyond this the value is 0 or infinite either way; the slow path decides.
        let power = if at - place > 6 {
            1_000_000
        } else {
            power as i32
        };
        exponent += if minus { -power } else { power };
    }

    let sign = |value: f64| if negative { -value } else { value };
    // Nineteen digits fit a u64; leading zeros count too, which only sends a few to the slow path.
    let fits = count <= 19;
    if integer && fits && mantissa <= i64::MAX as u64 {
        let value = mantissa as i64;
        // Python's -0 is the integer 0.
        return Some((Number::Integer(if negative { -value } else { value }), at));
    }
    if fits && mantissa <= EXACT_INTEGER && exponent.unsigned_abs() < EXACT.len() as u32 {
        // Both operands are exact, so the one rounding is the right one (Clinger's fast path).
        let scale = EXACT[exponent.unsigned_abs() as usize];
        let value = mantissa as f64;
        let value = if exponent < 0 {
            value / scale
        } else {
            value * scale
        };
        return Some((Number::Real(sign(value)), at));
    }
    let text = std::str::from_utf8(&text[..at]).ok()?;
    Some((Number::Real(text.parse().ok()?), at))
}

/// What Python writes for values that JSON has no notation for.
fn special(text: &[u8], at: usize, negative: bool) -> Option<(Number, usize)> {
    let rest = &text[at..];
    if rest.starts_with(b"Infinity") {
        let value = if negative {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
        Some((Number::Real(value), at + 8))
    } else if rest.starts_with(b"NaN") && !negative {
        Some((Number::Real(f64::NAN), at + 3))
    } else {
        None
    }
}

/// Appends the digits from `at` on to `value` (wrapping beyond nineteen) and tells where they end.
#[inline]
fn digits(text: &[u8], mut at: usize, value: &mut u64) -> usize {
    let mut sum = *value;
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk)
        && let Some(number) = eight_digits(u64::from_le_bytes(*eight))
    {
        sum = sum.wrapping_mul(100_000_000).wrapping_add(number);
        at += 8;
    }
    while let Some(&byte) = text.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    *value = sum;
    at
}

/// The number that eight digits spell, all at once: neighbours are joined to twos, fours, eight. The
/// first digit is in the lowest byte.
#[inline]
fn eight_digits(bytes: u64) -> Option<u64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let high = |bytes: u64| bytes & (0xf0 * EACH);
    // '0' to '9' have the high half 3, and still have it when 6 is added.
    if high(bytes) != 0x30 * EACH || high(bytes.wrapping_add(6 * EACH)) != 0x30 * EACH {
        return None;
    }
    let ones = bytes - b'0' as u64 * EACH;
    let twos = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

impl Number {
    /// The value as a double.
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Real(value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_pythons() {
        fn value(text: &str) -> Option<(Number, &str)> {
            parse(text.as_bytes()).map(|(number, length)| (number, &text[length..]))
        }
        assert_eq!(value("17,"), Some((Number::Integer(17), ",")));
        assert_eq!(value("-0]"), Some((Number::Integer(0), "]")));
        assert_eq!(value("-0.5e1 "), Some((Number::Real(-5.0), " ")));
        assert_eq!(
            value("9223372036854775807"),
            Some((Number::Integer(i64::MAX), ""))
        );
        assert_eq!(
            value("9223372036854775808"),
            Some((Number::Real(2f64.powi(63)), ""))
        );
        assert_eq!(value("1e999"), Some((Number::Real(f64::INFINITY), "")));
        assert_eq!(value("1e-99999999"), Some((Number::Real(0.0), "")));
        assert_eq!(
            value("-Infinity}"),
            Some((Number::Real(f64::NEG_INFINITY), "}"))
        );
        assert!(matches!(value("NaN"), Some((Number::Real(v), "")) if v.is_nan()));
        for wrong in [
            "", "-", "+1", ".5", "1.", "01", "1e", "1e+", "nan", "-NaN", "--1",
        ] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn doubles_come_back_bit_by_bit(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            for text in [format!("{value:?}"), format!("{value:e}"), format!("{value:.17}")] {
                let wanted: f64 = text.parse().unwrap();
                let (number, length) = parse(text.as_bytes()).unwrap();
                prop_assert_eq!(length, text.len());
                // `-0` is an integer in Python too.
                prop_assert!(number.value().to_bits() == wanted.to_bits() || wanted == 0.0);
            }
        }

        #[test]
        fn short_decimals_are_correctly_rounded(whole in 0u32..100_000, fraction in 0u64..1_000_000_000_000) {
            let text = format!("{whole}.{fraction}");
            prop_assert_eq!(parse(text.as_bytes()).unwrap().0.value(), text.parse::<f64>().unwrap());
        }
    }
}
