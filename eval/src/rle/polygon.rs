//! Polygons and boxes to masks, with COCO's rasteriser.
//!
//! Its rule: corners are rounded to a grid five times as fine as the pixels, and each edge becomes
//! a chain of grid points, one per step along its longer axis, the other coordinate rounded.
//! Where such a chain passes the middle of a pixel column, that is from grid column 5k + 2 to
//! 5k + 3 or back, the column's pixels from there down change between outside and inside, from
//! the first row whose middle is not above the upper of the two points.
//!
//! The reference makes all points of all chains. Only the steps over the middle of a column that
//! the picture has are needed, and each can be found by itself: the work depends on the size of the
//! picture, not on how far away the corners are.

use super::merge::merge_runs;
use super::{Rle, RleError, pixels};

/// Largest absolute coordinate of a polygon or box, in pixels.
///
/// Up to here the doubles with which the points of an edge are computed are so exact that
/// neighbours are never two grid columns apart, and no integer overflows.
pub const MAX_COORDINATE: f64 = 1_048_576.0;

/// How often the outline of one polygon may pass the middle of a pixel column.
pub const MAX_CROSSINGS: usize = 1 << 24;

/// Grid points per pixel.
const FINE: f64 = 5.0;

/// Makes masks of polygons. One kept for many polygons allocates nothing but the masks.
#[derive(Debug, Default)]
pub struct PolygonRasterizer {
    corners: Vec<(i32, i32)>,
    crossings: Vec<Crossing>,
    /// Crossings per column, then where the column's crossings begin in `sorted`.
    columns: Vec<u32>,
    sorted: Vec<u32>,
    runs: Vec<u32>,
    union: Vec<u32>,
    spare: Vec<u32>,
}

/// A change between outside and inside.
#[derive(Debug, Clone, Copy)]
struct Crossing {
    /// Pixel column, counted from the first that the polygon reaches.
    column: u32,
    /// The first pixel after the change, counted column by column.
    position: u32,
}

impl Rle {
    /// The mask of a polygon `[x1, y1, x2, y2, …]`, in pixels from the picture's top left corner.
    ///
    /// # Errors
    /// When the numbers are fewer than 6 or odd in count, a coordinate is not finite or beyond
    /// ±[`MAX_COORDINATE`], the outline goes to and fro more than [`MAX_CROSSINGS`] times, or the
    /// picture has more than `u32::MAX` pixels.
    pub fn from_polygon(height: u32, width: u32, xy: &[f64]) -> Result<Self, RleError> {
        PolygonRasterizer::default().polygon(height, width, xy)
    }

    /// The union of polygons, as a COCO annotation lists them.
    ///
    /// # Errors
    /// As [`PolygonRasterizer::polygons`].
    pub fn from_polygons<'a>(
        height: u32,
        width: u32,
        polygons: impl IntoIterator<Item = &'a [f64]>,
    ) -> Result<Self, RleError> {
        PolygonRasterizer::default().polygons(height, width, polygons)
    }

    /// The mask of a box `[x, y, width, height]`.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`], for its corners.
    pub fn from_box(height: u32, width: u32, bounds: [f64; 4]) -> Result<Self, RleError> {
        PolygonRasterizer::default().rectangle(height, width, bounds)
    }
}

impl PolygonRasterizer {
    /// [`Rle::from_polygon`].
    ///
    /// # Errors
    /// The same.
    pub fn polygon(&mut self, height: u32, width: u32, xy: &[f64]) -> Result<Rle, RleError> {
        self.rasterize(height, width, xy)?;
        Ok(Rle {
            height,
            width,
            counts: self.runs.to_vec(),
        })
    }

    /// [`Rle::from_polygons`].
    ///
    /// # Errors
    /// When there is no polygon, or for any of them as [`Rle::from_polygon`]; but only the first
    /// needs three corners. One or two corners enclose nothing, and pycocotools takes them so
    /// behind another polygon (four numbers in the first place it takes for a box).
    pub fn polygons<'a>(
        &mut self,
        height: u32,
        width: u32,
        polygons: impl IntoIterator<Item = &'a [f64]>,
    ) -> Result<Rle, RleError> {
        let mut polygons = polygons.into_iter();
        self.rasterize(height, width, polygons.next().ok_or(RleError::NoPolygon)?)?;
        std::mem::swap(&mut self.union, &mut self.runs);
        for xy in polygons {
            if xy.len() < 6 && xy.len() % 2 == 0 {
                xy.iter().try_for_each(|&value| grid(value).map(drop))?;
                continue;
            }
            self.rasterize(height, width, xy)?;
            merge_runs(&self.union, &self.runs, false, &mut self.spare);
            std::mem::swap(&mut self.union, &mut self.spare);
        }
        Ok(Rle {
            height,
            width,
            counts: self.union.to_vec(),
        })
    }

    /// [`Rle::from_box`].
    ///
    /// # Errors
    /// The same.
    pub fn rectangle(
        &mut self,
        height: u32,
        width: u32,
        bounds: [f64; 4],
    ) -> Result<Rle, RleError> {
        let [left, top, across, down] = bounds;
        let (right, bottom) = (left + across, top + down);
        let corners = [left, top, left, bottom, right, bottom, right, top];
        self.polygon(height, width, &corners)
    }

    /// The runs of one polygon, into `self.runs`.
    fn rasterize(&mut self, height: u32, width: u32, xy: &[f64]) -> Result<(), RleError> {
        let numbers = xy.len();
        if numbers < 6 {
            return Err(RleError::Corners { numbers });
        }
        let (pairs, rest) = xy.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(RleError::OddPolygon { numbers });
        }
        let end = pixels(height, width)?;
        self.corners.clear();
        for &[x, y] in pairs {
            self.corners.push((grid(x)?, grid(y)?));
        }
        self.runs.clear();
        if end == 0 {
            self.runs.push(0);
            return Ok(());
        }
        self.cross(height, width)?;
        self.sort();
        self.cancel(end);
        Ok(())
    }

    /// Collects the crossings of all edges and counts them per column.
    fn cross(&mut self, height: u32, width: u32) -> Result<(), RleError> {
        let across = || self.corners.iter().map(|corner| corner.0);
        let (left, right) = (across().min().unwrap_or(0), across().max().unwrap_or(0));
        let reached = columns(left, right, width);
        self.crossings.clear();
        self.columns.clear();
        self.columns.resize(reached.len(), 0);
        let mut last = self.corners[self.corners.len() - 1];
        for &corner in &self.corners {
            let edge = Edge::new(last, corner);
            last = corner;
            let columns = columns(edge.left, edge.right, width);
            if self.crossings.len() + columns.len() > MAX_CROSSINGS {
                return Err(RleError::Crossings);
            }
            for column in columns {
                let row = row_at_or_below(edge.upper(column), height);
                let from_first = (column - reached.start) as usize;
                self.columns[from_first] += 1;
                self.crossings.push(Crossing {
                    column: from_first as u32,
                    position: column as u32 * height + row,
                });
            }
        }
        Ok(())
    }

    /// Sorts the positions of the crossings, into `self.sorted`: by column, then within it.
    fn sort(&mut self) {
        let mut begin = 0;
        for count in &mut self.columns {
            begin += std::mem::replace(count, begin);
        }
        self.sorted.clear();
        self.sorted.resize(self.crossings.len(), 0);
        for crossing in &self.crossings {
            let next = &mut self.columns[crossing.column as usize];
            self.sorted[*next as usize] = crossing.position;
            *next += 1;
        }
        // Each entry has moved on to the end of its column.
        let mut begin = 0;
        for &end in &self.columns {
            let end = end as usize;
            match &mut self.sorted[begin..end] {
                [] | [_] => {}
                [a, b] => {
                    if a > b {
                        std::mem::swap(a, b);
                    }
                }
                column => column.sort_unstable(),
            }
            begin = end;
        }
    }

    /// Runs from the sorted positions: two changes at one place are none.
    fn cancel(&mut self, end: u32) {
        let mut kept = 0;
        for at in 0..self.sorted.len() {
            let position = self.sorted[at];
            if kept > 0 && self.sorted[kept - 1] == position {
                kept -= 1;
            } else {
                self.sorted[kept] = position;
                kept += 1;
            }
        }
        let mut before = 0;
        for &position in &self.sorted[..kept] {
            // Only the last can be behind the last pixel, where nothing is left to change.
            if position < end {
                self.runs.push(position - before);
                before = position;
            }
        }
        self.runs.push(end - before);
    }
}

/// A coordinate on the fine grid.
fn grid(value: f64) -> Result<i32, RleError> {
    // Not a number is not within either.
    if value.abs() <= MAX_COORDINATE {
        // Towards zero, as C does it, below zero too.
        Ok((FINE * value + 0.5) as i32)
    } else {
        Err(RleError::Coordinate { value })
    }
}

/// Pixel columns whose middle lies between two grid columns.
fn columns(left: i32, right: i32, width: u32) -> std::ops::Range<i32> {
    // Grid columns 5k + 2 and 5k + 3 must both be within.
    let first = if left <= 2 { 0 } else { (left + 2) / 5 };
    let behind = if right < 3 { 0 } else { (right + 2) / 5 };
    let behind = behind.min(i32::try_from(width).unwrap_or(i32::MAX));
    first..behind.max(first)
}

/// The first row whose middle is not above a grid point, or the last row's successor.
fn row_at_or_below(grid: i32, height: u32) -> u32 {
    ((grid.max(0) as u32 + 2) / 5).min(height)
}

/// An edge, from its left or upper end along the longer axis.
struct Edge {
    left: i32,
    right: i32,
    x: i32,
    y: i32,
    /// Whether the longer axis is x.
    flat: bool,
    /// Change of the other coordinate per step.
    slope: f64,
    /// Steps per grid column of a steep edge.
    steps: f64,
}

impl Edge {
    fn new(from: (i32, i32), to: (i32, i32)) -> Self {
        let (across, down) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        let flat = across >= down;
        let ((x, y), (to_x, to_y)) = if (flat && from.0 > to.0) || (!flat && from.1 > to.1) {
            (to, from)
        } else {
            (from, to)
        };
        let (along, other) = if flat {
            (across, to_y - y)
        } else {
            (down, to_x - x)
        };
        Self {
            left: x.min(to_x),
            right: x.max(to_x),
            x,
            y,
            flat,
            // A point has no slope, and no column lies within it either.
            slope: f64::from(other) / f64::from(along),
            steps: f64::from(along) / f64::from(other),
        }
    }

    /// The rounded other coordinate after some steps.
    fn other(&self, steps: i32) -> i32 {
        let start = if self.flat { self.y } else { self.x };
        // In this order and towards zero, as the reference computes it.
        (f64::from(start) + self.slope * f64::from(steps) + 0.5) as i32
    }

    /// The upper grid row of the two points beside the middle of a column.
    fn upper(&self, column: i32) -> i32 {
        let before = 5 * column + 2;
        if self.flat {
            // Rounded rows rise or fall all along: the upper one is at the higher end.
            let steps = before - self.x;
            return self.other(if self.slope < 0.0 { steps + 1 } else { steps });
        }
        // The first step behind the middle: about there, and then exactly.
        let behind = |steps| (self.other(steps) > before) == (self.slope > 0.0);
        let middle = f64::from(before) + 0.5 - f64::from(self.x);
        let mut steps = ((middle * self.steps) as i32).max(1);
        while !behind(steps) {
            steps += 1;
        }
        while steps > 1 && behind(steps - 1) {
            steps -= 1;
        }
        self.y + steps - 1
    }
}
