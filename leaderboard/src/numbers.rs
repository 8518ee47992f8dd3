//! How scores are written.

use crate::board::Score;

/// A shorter side below this share of the longer one makes an interval that no ± describes.
const LOPSIDED: f64 = 0.7;
/// What stands for a number that is not defined.
pub(crate) const UNDEFINED: &str = "–";

/// How an interval is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Spread {
    /// There is none.
    Unknown,
    /// By the longer of its sides.
    Margin(f64),
    /// By its ends: one side is much shorter.
    Ends,
}

/// How a score's interval is told.
pub(crate) fn spread(score: &Score) -> Spread {
    let [below, above] = [score.value - score.low, score.high - score.value];
    let longer = below.max(above);
    if !below.is_finite() || !above.is_finite() {
        Spread::Unknown
    } else if below.min(above) < LOPSIDED * longer {
        Spread::Ends
    } else {
        Spread::Margin(longer)
    }
}

/// A score with the longer side of its interval, with both ends where it is lopsided, or alone where it has
/// no interval; a dash where it is not defined.
pub fn score_text(score: &Score, decimals: usize) -> String {
    let value = number(score.value, decimals);
    match spread(score) {
        Spread::Unknown => value,
        Spread::Margin(margin) => format!("{value} ± {margin:.decimals$}"),
        Spread::Ends => format!(
            "{value} ({:.decimals$} to {:.decimals$})",
            score.low, score.high
        ),
    }
}

/// A number, or a dash where it is not defined.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    match value.is_nan() {
        true => UNDEFINED.to_owned(),
        false => format!("{value:.decimals$}"),
    }
}

/// A number with its sign, or a dash.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    match value.is_nan() {
        true => UNDEFINED.to_owned(),
        false => format!("{value:+.decimals$}"),
    }
}

/// A p-value as far as resampling tells it.
pub fn p_text(p_value: f64) -> String {
    if p_value.is_nan() {
        UNDEFINED.to_owned()
    } else if p_value < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p_value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lopsided_intervals_are_told_by_their_ends() {
        let text = |value, low, high| {
            let score = Score {
                value,
                low,
                high,
                seed_deviation: None,
            };
            score_text(&score, 1)
        };
        assert_eq!(text(50.0, 46.0, 53.0), "50.0 ± 4.0");
        assert_eq!(text(50.0, 46.0, 51.0), "50.0 (46.0 to 51.0)");
        assert_eq!(text(50.0, 50.0, 50.0), "50.0 ± 0.0");
        assert_eq!(text(50.0, f64::NAN, f64::NAN), "50.0");
        assert_eq!(text(f64::NAN, f64::NAN, f64::NAN), "–");
    }

    #[test]
    fn what_is_not_defined_is_a_dash() {
        assert_eq!(
            (signed(1.25, 1), signed(f64::NAN, 1)),
            ("+1.2".into(), "–".into())
        );
        assert_eq!(
            (number(-0.5, 2), number(f64::NAN, 2)),
            ("-0.50".into(), "–".into())
        );
        assert_eq!(
            (p_text(0.0004), p_text(0.04)),
            ("< 0.001".into(), "0.040".into())
        );
    }
}
