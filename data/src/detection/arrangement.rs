//! Line segments cut wherever they meet, on a grid fine enough that nothing visible is lost.
//!
//! Coordinates are whole numbers, so that which side of a line a point lies on is known exactly.

use std::collections::HashMap;

/// A point in grid units.
pub(super) type Point = (i64, i64);

/// Grid lines per pixel. A cut moves by at most half of this grid, a millionth of a pixel.
pub(super) const GRID: f64 = 1_048_576.0;
/// Largest coordinate in pixels: products of differences must fit 128 bits.
const LIMIT: f64 = 1_048_576.0;
/// Cutting moves edges by less than the grid, which can make them meet again; seldom more than once.
const ROUNDS: usize = 8;

/// The grid point nearest to a coordinate pair in pixels.
pub(super) fn snap(x: f64, y: f64) -> Point {
    let on_grid = |v: f64| (v.clamp(-LIMIT, LIMIT) * GRID).round() as i64;
    (on_grid(x), on_grid(y))
}

/// A segment of one of two outlines: the polygon's, or the window's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub from: Point,
    pub to: Point,
    pub window: bool,
}

impl Segment {
    fn left(&self) -> i64 {
        self.from.0.min(self.to.0)
    }

    fn right(&self) -> i64 {
        self.from.0.max(self.to.0)
    }

    fn box_has(&self, p: Point) -> bool {
        (self.left()..=self.right()).contains(&p.0)
            && (self.from.1.min(self.to.1)..=self.from.1.max(self.to.1)).contains(&p.1)
    }

    fn ends_at(&self, p: Point) -> bool {
        self.from == p || self.to == p
    }
}

/// Twice the area of the triangle `a b p`: positive where `p` lies to the left of `a` to `b` (y upwards).
pub(super) fn turn(a: Point, b: Point, p: Point) -> i128 {
    let wide = |value: i64| i128::from(value);
    wide(b.0 - a.0) * wide(p.1 - a.1) - wide(b.1 - a.1) * wide(p.0 - a.0)
}

/// Cuts segments until they meet at their ends only. Tells whether any cut was needed.
pub(super) fn cut(segments: &mut Vec<Segment>) -> bool {
    let mut any = false;
    for _ in 0..ROUNDS {
        let cuts = meetings(segments);
        if cuts.iter().all(Vec::is_empty) {
            break;
        }
        any = true;
        let mut next = Vec::with_capacity(2 * segments.len());
        for (segment, mut points) in segments.iter().zip(cuts) {
            let Segment { from, to, window } = *segment;
            let along = |p: &Point| {
                i128::from(p.0 - from.0) * i128::from(to.0 - from.0)
                    + i128::from(p.1 - from.1) * i128::from(to.1 - from.1)
            };
            points.sort_unstable_by_key(along);
            points.push(to);
            let mut start = from;
            for end in points {
                if end != start {
                    next.push(Segment {
                        from: start,
                        to: end,
                        window,
                    });
                    start = end;
                }
            }
        }
        *segments = next;
    }
    any
}

/// For each segment, the points at which others meet it away from its ends.
fn meetings(segments: &[Segment]) -> Vec<Vec<Point>> {
    let mut cuts = vec![Vec::new(); segments.len()];
    let mut order: Vec<usize> = (0..segments.len()).collect();
    order.sort_unstable_by_key(|&i| segments[i].left());
    for (place, &i) in order.iter().enumerate() {
        let end = segments[i].right();
        for &j in &order[place + 1..] {
            if segments[j].left() > end {
                break;
            }
            meet(segments[i], segments[j], |first, point| {
                cuts[if first { i } else { j }].push(point);
            });
        }
    }
    cuts
}

/// Reports where two segments must be cut, as (the first one?, point).
fn meet(p: Segment, q: Segment, mut report: impl FnMut(bool, Point)) {
    let above = |a: &Segment, b: &Segment| a.from.1.min(a.to.1) > b.from.1.max(b.to.1);
    if above(&p, &q) || above(&q, &p) {
        return;
    }
    let of_p = [turn(q.from, q.to, p.from), turn(q.from, q.to, p.to)];
    let of_q = [turn(p.from, p.to, q.from), turn(p.from, p.to, q.to)];
    for (side, end) in of_p.iter().zip([p.from, p.to]) {
        if *side == 0 && q.box_has(end) && !q.ends_at(end) {
            report(false, end);
        }
    }
    for (side, end) in of_q.iter().zip([q.from, q.to]) {
        if *side == 0 && p.box_has(end) && !p.ends_at(end) {
            report(true, end);
        }
    }
    let crosses = |[a, b]: [i128; 2]| (a < 0 && b > 0) || (a > 0 && b < 0);
    if crosses(of_p) && crosses(of_q) {
        let point = crossing(p, q, of_p);
        if !p.ends_at(point) {
            report(true, point);
        }
        if !q.ends_at(point) {
            report(false, point);
        }
    }
}

/// Where `p` crosses `q`, on the grid; exact on a segment along an axis, so that cuts stay on the window.
fn crossing(p: Segment, q: Segment, [start, end]: [i128; 2]) -> Point {
    let whole = start - end;
    let at = |from: i64, to: i64| {
        let product = i128::from(to - from) * start;
        let share = (product.abs() + whole.abs() / 2) / whole.abs();
        from + (share * product.signum() * whole.signum()) as i64
    };
    let mut point = (at(p.from.0, p.to.0), at(p.from.1, p.to.1));
    for axis in [p, q] {
        if axis.from.0 == axis.to.0 {
            point.0 = axis.from.0;
        }
        if axis.from.1 == axis.to.1 {
            point.1 = axis.from.1;
        }
    }
    point
}

/// An edge of the arrangement, from the lesser point to the greater (by x, then y).
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub low: Point,
    pub high: Point,
    /// How often the polygon, and the window, run along it upwards less downwards.
    pub passes: [i32; 2],
}

impl Edge {
    fn middle(&self) -> Point {
        // In half grid units.
        (self.low.0 + self.high.0, self.low.1 + self.high.1)
    }
}

/// Cut segments with equal ends, put together.
pub(super) fn edges(segments: &[Segment]) -> Vec<Edge> {
    let mut all: HashMap<(Point, Point), [i32; 2]> = HashMap::new();
    for segment in segments {
        let rising = segment.from < segment.to;
        let (low, high) = if rising {
            (segment.from, segment.to)
        } else {
            (segment.to, segment.from)
        };
        let passes = all.entry((low, high)).or_default();
        passes[usize::from(segment.window)] += if rising { 1 } else { -1 };
    }
    let mut edges: Vec<Edge> = all
        .into_iter()
        .filter(|(_, passes)| *passes != [0; 2])
        .map(|((low, high), passes)| Edge { low, high, passes })
        .collect();
    edges.sort_unstable_by_key(|edge| (edge.low, edge.high));
    edges
}

/// How often polygon and window run around the places to the left and to the right of an edge.
pub(super) fn windings(edges: &[Edge], index: usize) -> [[i32; 2]; 2] {
    let edge = &edges[index];
    let middle = edge.middle();
    let upright = edge.low.0 == edge.high.0;
    let mut beyond = [0; 2];
    for (place, other) in edges.iter().enumerate() {
        if place == index {
            continue;
        }
        // A ray to the right of an upright edge, upwards from any other; one end of an edge counts.
        let (a, b) = if upright {
            (other.low.1, other.high.1)
        } else {
            (other.low.0, other.high.0)
        };
        let (at, low, high) = (
            if upright { middle.1 } else { middle.0 },
            2 * a.min(b),
            2 * a.max(b),
        );
        if at < low || at >= high {
            continue;
        }
        let double = |p: Point| (2 * p.0, 2 * p.1);
        let side = turn(double(other.low), double(other.high), middle);
        let sign = match (upright, a < b) {
            // To the right of the middle: the middle is left of the edge taken upwards.
            (true, true) if side > 0 => 1,
            (true, false) if side < 0 => -1,
            (false, _) if side < 0 => -1,
            _ => continue,
        };
        for (sum, passes) in beyond.iter_mut().zip(other.passes) {
            *sum += sign * passes;
        }
    }
    let across = |sign: i32| [0, 1].map(|which| beyond[which] + sign * edge.passes[which]);
    if upright {
        [across(1), beyond]
    } else {
        [beyond, across(-1)]
    }
}
