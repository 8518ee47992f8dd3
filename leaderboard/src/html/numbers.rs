//! How numbers are written on the page.

use crate::board::Score;
pub(crate) use crate::numbers::UNDEFINED;
use crate::numbers::{Spread, spread};

/// A number with a true minus sign, or a dash.
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        return UNDEFINED.to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let zero = text.bytes().all(|digit| matches!(digit, b'0' | b'.'));
    match value < 0.0 && !zero {
        true => format!("−{text}"),
        false => text,
    }
}

/// A number with its sign, or a dash.
pub fn signed(value: f64, decimals: usize) -> String {
    let text = number(value, decimals);
    match value.is_nan() || text.starts_with('−') {
        true => text,
        false => format!("+{text}"),
    }
}

/// The interval around a score: "± 1.2", its ends where one side is much shorter, nothing where it has none.
pub fn interval(score: &Score, decimals: usize) -> Option<String> {
    match spread(score) {
        Spread::Unknown => None,
        Spread::Margin(margin) => Some(format!("± {}", number(margin, decimals))),
        Spread::Ends => Some(format!(
            "[{}, {}]",
            number(score.low, decimals),
            number(score.high, decimals)
        )),
    }
}

/// 12,345.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// At most four decimals, without zeros at the end.
pub fn trimmed(value: f64) -> String {
    let text = number(value, 4);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(number(-0.04, 1), "0.0");
        assert_eq!(number(-1.26, 1), "−1.3");
        assert_eq!(number(f64::NAN, 1), "–");
        assert_eq!(signed(0.5, 1), "+0.5");
        assert_eq!(signed(-0.5, 1), "−0.5");
        assert_eq!(signed(f64::NAN, 1), "–");
        assert_eq!([grouped(999), grouped(1_234_567)], ["999", "1,234,567"]);
        assert_eq!([trimmed(95.0), trimmed(1.0 - 0.95)], ["95", "0.05"]);
    }

    #[test]
    fn an_interval_is_a_margin_or_two_ends() {
        let mut score = Score {
            value: -0.5,
            low: -1.5,
            high: 0.5,
            seed_deviation: None,
        };
        assert_eq!(interval(&score, 1).as_deref(), Some("± 1.0"));
        score.high = -0.4;
        assert_eq!(interval(&score, 1).as_deref(), Some("[−1.5, −0.4]"));
        score.low = f64::NAN;
        assert_eq!(interval(&score, 1), None);
    }
}
