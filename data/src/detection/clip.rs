//! Polygons cut to a window.
//!
//! Source: fvcore's `CropTransform.apply_polygons`, which takes shapely's `Polygon(p).buffer(0)`, intersects
//! it with the window and keeps the outer rings of what comes out. In plain terms, which are followed
//! here: a place belongs to the polygon where the outline runs around it in its main direction more often
//! than against it; separate pieces become separate polygons; holes are filled.
//!
//! Cutting by one side of the window after the other would be shorter, but joins the pieces of a concave
//! polygon by edges along the window's sides: areas stay right, boxes around the pieces do not.

use std::collections::HashMap;

use super::arrangement::{Edge, GRID, Point, Segment, cut, edges, snap, windings};

/// The parts of a polygon `x0, y0, x1, y1, ..` between `(0, 0)` and `(width, height)`, all in pixels: none, one
/// or several polygons that do not cross themselves. One that lies inside as it is comes back unchanged.
pub fn clip_polygon(polygon: &[f64], width: f64, height: f64) -> Vec<Vec<f64>> {
    let mut places: HashMap<Point, [f64; 2]> = HashMap::new();
    let mut ring: Vec<Point> = Vec::with_capacity(polygon.len() / 2);
    for &[x, y] in polygon.as_chunks::<2>().0 {
        let point = snap(x, y);
        if ring.last() != Some(&point) {
            ring.push(point);
            places.entry(point).or_insert([x, y]);
        }
    }
    while ring.len() > 1 && ring.first() == ring.last() {
        ring.pop();
    }
    let corner = snap(width, height);
    let outside = |of: fn(&Point) -> i64, end: i64| {
        ring.iter().all(|p| of(p) <= 0) || ring.iter().all(|p| of(p) >= end)
    };
    if ring.len() < 3 || outside(|p| p.0, corner.0) || outside(|p| p.1, corner.1) {
        return Vec::new();
    }
    let mut segments = outline(&ring, false);
    let crosses_itself = cut(&mut segments) || places.len() < ring.len();
    let inside = ring
        .iter()
        .all(|p| (0..=corner.0).contains(&p.0) && (0..=corner.1).contains(&p.1));
    if inside && !crosses_itself {
        return vec![polygon.to_vec()];
    }
    if !inside {
        let window = [(0, 0), (corner.0, 0), corner, (0, corner.1)];
        segments.extend(outline(&window, true));
        cut(&mut segments);
    }
    let edges = edges(&segments);
    // Of two lobes of equal size, GEOS keeps the one that turns right.
    let direction = if twice_area(&ring) > 0.0 { 1 } else { -1 };
    let belongs = |[polygon, window]: [i32; 2]| direction * polygon > 0 && (inside || window > 0);
    let mut border = Vec::new();
    for (index, Edge { low, high, .. }) in edges.iter().enumerate() {
        match windings(&edges, index).map(belongs) {
            [true, false] => border.push((*low, *high)),
            [false, true] => border.push((*high, *low)),
            _ => {}
        }
    }
    let place = |point: &Point| {
        let [x, y] = places
            .get(point)
            .copied()
            .unwrap_or([point.0 as f64 / GRID, point.1 as f64 / GRID]);
        [x.clamp(0.0, width), y.clamp(0.0, height)]
    };
    rings(&border)
        .iter()
        .map(|ring| ring.iter().flat_map(place).collect())
        .collect()
}

fn outline(ring: &[Point], window: bool) -> Vec<Segment> {
    let ends = ring.iter().cycle().skip(1);
    ring.iter()
        .zip(ends)
        .map(|(&from, &to)| Segment { from, to, window })
        .collect()
}

/// Twice the area, positive for rings that turn left (y upwards).
fn twice_area(ring: &[Point]) -> f64 {
    let ends = ring.iter().cycle().skip(1);
    let sum: i128 = ring
        .iter()
        .zip(ends)
        .map(|(a, b)| i128::from(a.0) * i128::from(b.1) - i128::from(b.0) * i128::from(a.1))
        .sum();
    sum as f64
}

/// Whether a ring turns left and is wider than what cutting on the grid can open.
fn has_inside(ring: &[Point]) -> bool {
    let ends = ring.iter().cycle().skip(1);
    let length: i64 = ring
        .iter()
        .zip(ends)
        .map(|(a, b)| (a.0 - b.0).abs() + (a.1 - b.1).abs())
        .sum();
    twice_area(ring) > 2.0 * length as f64
}

/// Closes directed edges, which have the inside on their left, to outer rings.
pub(super) fn rings(border: &[(Point, Point)]) -> Vec<Vec<Point>> {
    let mut leaving: HashMap<Point, Vec<usize>> = HashMap::new();
    for (index, (from, _)) in border.iter().enumerate() {
        leaving.entry(*from).or_default().push(index);
    }
    let mut used = vec![false; border.len()];
    let mut found = Vec::new();
    for start in 0..border.len() {
        if used[start] {
            continue;
        }
        let mut path: Vec<Point> = Vec::new();
        let mut at = start;
        loop {
            used[at] = true;
            let (from, to) = border[at];
            path.push(from);
            // A point passed before closes a ring of its own: a piece or a hole that touches there.
            if let Some(place) = path.iter().position(|p| *p == to) {
                let ring = path.split_off(place);
                if ring.len() > 2 && has_inside(&ring) {
                    found.push(ring);
                }
                if path.is_empty() {
                    break;
                }
            }
            let Some(next) = leaving
                .get(&to)
                .and_then(|edges| tightest(border, edges, &used, from, to))
            else {
                break;
            };
            at = next;
        }
    }
    found
}

/// Of the unused edges leaving `at`, the one next to the inside that an edge from `from` has on its left.
fn tightest(
    border: &[(Point, Point)],
    edges: &[usize],
    used: &[bool],
    from: Point,
    at: Point,
) -> Option<usize> {
    let angle = |to: Point| ((to.1 - at.1) as f64).atan2((to.0 - at.0) as f64);
    let back = angle(from);
    edges
        .iter()
        .copied()
        .filter(|&edge| !used[edge])
        .map(|edge| {
            let turned = (back - angle(border[edge].1)).rem_euclid(std::f64::consts::TAU);
            (edge, turned)
        })
        .min_by(|left, right| left.1.total_cmp(&right.1))
        .map(|(edge, _)| edge)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(polygons: &[Vec<f64>]) -> f64 {
        polygons
            .iter()
            .map(|polygon| {
                let points: Vec<&[f64]> = polygon.chunks(2).collect();
                let next = points.iter().cycle().skip(1);
                let sum: f64 = points
                    .iter()
                    .zip(next)
                    .map(|(a, b)| a[0] * b[1] - b[0] * a[1])
                    .sum();
                sum.abs() / 2.0
            })
            .sum()
    }

    fn bounds(polygons: &[Vec<f64>]) -> [f64; 4] {
        let values = |axis: usize| {
            let all = polygons
                .iter()
                .flat_map(move |p| p.chunks(2).map(move |c| c[axis]));
            all.fold((f64::MAX, f64::MIN), |(low, high), v| {
                (low.min(v), high.max(v))
            })
        };
        let (x, y) = (values(0), values(1));
        [x.0, y.0, x.1, y.1]
    }

    #[test]
    fn a_polygon_inside_comes_back_as_it_is() {
        let polygon = vec![1.0 / 3.0, 2.0, 9.1, 3.0, 5.0, 8.7];
        assert_eq!(clip_polygon(&polygon, 10.0, 10.0), [polygon]);
    }

    #[test]
    fn outside_and_touching_polygons_vanish() {
        for polygon in [
            [-5.0, -5.0, -1.0, -5.0, -1.0, 5.0],
            [-5.0, 0.0, 0.0, 0.0, 0.0, 5.0],
            [-3.0, 2.0, 2.0, -3.0, -3.0, -3.0], // around the corner
            [3.0, 3.0, 3.0, 3.0, 4.0, 4.0],
            [1.0, 1.0, 5.0, 5.0, 3.0, 3.0],
        ] {
            assert!(clip_polygon(&polygon, 10.0, 10.0).is_empty(), "{polygon:?}");
        }
    }

    /// A comb of three teeth whose back lies outside: three pieces, no edges between them.
    #[test]
    fn a_concave_polygon_falls_into_pieces() {
        let comb = [
            -5.0, 2.0, 4.0, 2.0, 4.0, 3.0, -1.0, 3.0, -1.0, 5.0, 4.0, 5.0, 4.0, 6.0, -1.0, 6.0,
            -1.0, -9.0, 12.0, -9.0, 12.0, 8.0, 8.0, 8.0, 8.0, -7.0, -5.0, -7.0,
        ];
        let pieces = clip_polygon(&comb, 10.0, 10.0);
        let mut boxes: Vec<[f64; 4]> = pieces
            .iter()
            .map(|p| bounds(std::slice::from_ref(p)))
            .collect();
        boxes.sort_by(|a, b| a[1].total_cmp(&b[1]));
        assert_eq!(area(&pieces), 24.0);
        assert_eq!(boxes.len(), 3);
        assert_eq!(boxes[0], [8.0, 0.0, 10.0, 8.0]);
        assert_eq!(boxes[1], [0.0, 2.0, 4.0, 3.0]);
        assert_eq!(boxes[2], [0.0, 5.0, 4.0, 6.0]);
    }

    /// shapely 2.1: `Polygon(p).buffer(0)` keeps the larger lobe of a crossing outline, fills what is run
    /// around twice, and drops the outline's spikes.
    #[test]
    fn crossing_outlines_are_mended_as_shapely_mends_them() {
        let bow = [0.0, 0.0, 4.0, 4.0, 4.0, 0.0, 1.0, 3.0];
        let mended = clip_polygon(&bow, 10.0, 10.0);
        assert_eq!(mended.len(), 1);
        assert!((area(&mended) - 4.0).abs() < 1e-6, "{mended:?}");
        let twice = [
            0.0, 0.0, 6.0, 0.0, 6.0, 6.0, 0.0, 6.0, 0.0, 0.0, 3.0, 0.0, 3.0, 3.0, 0.0, 3.0,
        ];
        assert_eq!(area(&clip_polygon(&twice, 10.0, 10.0)), 36.0);
        let spike = [
            0.0, 0.0, 4.0, 0.0, 4.0, 2.0, 9.0, 2.0, 4.0, 2.0, 4.0, 4.0, 0.0, 4.0,
        ];
        let mended = clip_polygon(&spike, 10.0, 10.0);
        assert_eq!(bounds(&mended), [0.0, 0.0, 4.0, 4.0]);
    }

    #[test]
    fn holes_are_filled_and_touching_pieces_stay_apart() {
        // A square with a hole, its outline cut open at the top.
        let ring = [
            0.0, 0.0, 4.0, 0.0, 4.0, 2.0, 2.0, 2.0, 2.0, 6.0, 6.0, 6.0, 6.0, 2.0, 4.0, 2.0, 4.0,
            0.0, 8.0, 0.0, 8.0, 8.0, 0.0, 8.0,
        ];
        assert_eq!(area(&clip_polygon(&ring, 10.0, 10.0)), 64.0);
        let corners = [
            1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 5.0, 3.0, 5.0, 5.0, 3.0, 5.0, 3.0, 3.0, 1.0, 3.0,
        ];
        let pieces = clip_polygon(&corners, 10.0, 10.0);
        assert_eq!((pieces.len(), area(&pieces)), (2, 8.0));
    }

    #[test]
    fn absurd_coordinates_are_survived() {
        let polygon = [-1e300, -1e300, 1e300, -1e300, 1e300, 1e300, -1e300, 1e300];
        assert_eq!(area(&clip_polygon(&polygon, 10.0, 7.0)), 70.0);
    }
}
