//! Cubic splines through given points, as FITPACK's `regrid` chooses them without smoothing: the
//! first and last inner points are no knots, so the first two pieces are one cubic, and the last two.

/// Weights `[at.len(), nodes.len()]`, row by row, that turn values at `nodes` into the spline's values
/// at `at`. Places outside the nodes get the value at the nearest end.
///
/// `nodes` ascend and are at least four; fewer determine no such spline (`None`). Along two axes the
/// spline is the product of two of these.
pub(crate) fn cubic_weights(nodes: &[f64], at: &[f64]) -> Option<Vec<f64>> {
    let count = nodes.len();
    if count < 4 {
        return None;
    }
    let steps: Vec<f64> = nodes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mut weights = vec![0.0; at.len() * count];
    // The spline is linear in the values: that of each node alone is one column.
    for node in 0..count {
        let mut values = vec![0.0; count];
        values[node] = 1.0;
        let slopes = slopes(&steps, &values);
        for (row, &place) in at.iter().enumerate() {
            let place = place.clamp(nodes[0], nodes[count - 1]);
            let piece = nodes.partition_point(|&left| left <= place);
            let left = piece.saturating_sub(1).min(count - 2);
            let (step, t) = (steps[left], (place - nodes[left]) / steps[left]);
            // Hermite's form of a cubic on [0, 1]
            let (from, to) = (values[left], values[left + 1]);
            let (rise, fall) = (step * slopes[left], step * slopes[left + 1]);
            let jump = to - from;
            let (square, cube) = (3.0 * jump - 2.0 * rise - fall, rise + fall - 2.0 * jump);
            weights[row * count + node] = from + t * (rise + t * (square + t * cube));
        }
    }
    Some(weights)
}

/// Slopes at the nodes: curvature is continuous at the inner ones, and so is its derivative at the
/// first and last of these. At least three steps.
fn slopes(steps: &[f64], values: &[f64]) -> Vec<f64> {
    let last = steps.len();
    let chords: Vec<f64> = (0..last)
        .map(|i| (values[i + 1] - values[i]) / steps[i])
        .collect();
    // Rows (below, middle, above, right side) of a tridiagonal system; the ends look inwards.
    let end = |near: f64, next: f64, near_chord: f64, next_chord: f64| {
        let both = near + next;
        let right = ((near + 2.0 * both) * next * near_chord + near * near * next_chord) / both;
        (next, both, right)
    };
    let mut rows = Vec::with_capacity(last + 1);
    let (middle, above, right) = end(steps[0], steps[1], chords[0], chords[1]);
    rows.push((0.0, middle, above, right));
    for i in 1..last {
        let (before, after) = (steps[i - 1], steps[i]);
        let right = 3.0 * (after * chords[i - 1] + before * chords[i]);
        rows.push((after, 2.0 * (before + after), before, right));
    }
    let (middle, below, right) = end(
        steps[last - 1],
        steps[last - 2],
        chords[last - 1],
        chords[last - 2],
    );
    rows.push((below, middle, 0.0, right));
    for i in 1..rows.len() {
        let (_, pivot, above, right) = rows[i - 1];
        let factor = rows[i].0 / pivot;
        rows[i].1 -= factor * above;
        rows[i].3 -= factor * right;
    }
    let mut slopes = vec![0.0; last + 1];
    for i in (0..=last).rev() {
        let (_, middle, above, right) = rows[i];
        let next = slopes.get(i + 1).copied().unwrap_or(0.0);
        slopes[i] = (right - above * next) / middle;
    }
    slopes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [f64; 6] = [-3.7, -2.1, -1.0, 0.4, 1.0, 3.5];

    fn spline(values: impl Fn(f64) -> f64, at: &[f64]) -> Vec<f64> {
        let weights = cubic_weights(&NODES, at).expect("enough nodes");
        weights
            .chunks(NODES.len())
            .map(|row| row.iter().zip(NODES).map(|(w, x)| w * values(x)).sum())
            .collect()
    }

    /// A spline without free ends gives every cubic back.
    #[test]
    fn cubics_are_reproduced_between_the_nodes() {
        let cubic = |x: f64| 0.3 * x * x * x - 1.2 * x * x + 0.7 * x - 2.0;
        let at: Vec<f64> = (0..=72).map(|i| f64::from(i) / 10.0 - 3.7).collect();
        for (found, &x) in spline(cubic, &at).iter().zip(&at) {
            assert!((found - cubic(x)).abs() < 1e-12, "{x}: {found}");
        }
    }

    #[test]
    fn nodes_keep_their_values_and_the_outside_has_the_ends() {
        let values = |x: f64| (2.0 * x).sin();
        for (found, x) in spline(values, &NODES).iter().zip(NODES) {
            assert!((found - values(x)).abs() < 1e-12, "{x}: {found}");
        }
        let outside = spline(values, &[-9.0, 9.0]);
        assert!((outside[0] - values(-3.7)).abs() < 1e-12);
        assert!((outside[1] - values(3.5)).abs() < 1e-12);
    }

    #[test]
    fn three_nodes_are_too_few() {
        assert!(cubic_weights(&NODES[..3], &[0.0]).is_none());
    }
}
