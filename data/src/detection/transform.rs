//! From a decoded picture and its objects to what the model learns from or looks at.
//!
//! Source: detectron2 `data/dataset_mapper.py` and `data/detection_utils.py`
//! (`transform_instance_annotations`, `annotations_to_instances`, `filter_empty_instances`) with
//! `recompute_boxes`. One thing differs: detectron2 cuts the coordinates of a polygon, or of a box, to whole
//! pixels after each step where the file writes all of them as whole numbers; here they stay exact.

use eval::Rle;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bitmap::Bitmap;
use super::clip::clip_polygon;
use super::config::{DetectionEvalTransform, DetectionTrainTransform};
use super::geometry::{View, fixed_size_window, jittered_size, shortest_edge_size};
use crate::filter::Filter;
use crate::image::RgbImage;
use crate::instance::{Instance, InstanceMask};
use crate::resize::{CropBox, resize_window_into};

/// A box is empty where a side is not longer than this (`filter_empty_instances`).
const EMPTY_SIDE: f32 = 1e-5;

/// An object as it lies in the picture on disk.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredObject {
    /// `x0, y0, x1, y1`; absent where the outline alone is known.
    pub bounds: Option<[f64; 4]>,
    pub class: u32,
    pub outline: Option<StoredOutline>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum StoredOutline {
    /// At least one; each of three points or more.
    Polygons(Vec<Box<[f64]>>),
    Runs(Rle),
}

impl DetectionTrainTransform {
    /// The view of a picture that a seed gives: whether it is mirrored, its size, what is cut out.
    pub fn view(&self, width: usize, height: usize, seed: u64) -> View {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mirrored = rng.random_bool(self.flip);
        let scale = self.scale[0] + rng.random::<f64>() * (self.scale[1] - self.scale[0]);
        let share = rng.random();
        let resized = jittered_size(width, height, self.size, scale);
        let window = if self.crop {
            fixed_size_window(resized.0, resized.1, self.size, share)
        } else {
            whole(resized)
        };
        View {
            source: (width, height),
            mirrored,
            resized,
            window,
        }
    }

    /// The objects in a view that something is left of.
    pub(super) fn instances(&self, view: &View, objects: &[StoredObject]) -> Vec<Instance> {
        // The reference cuts polygons to the whole square, even where the picture does not fill it.
        let square = self.crop.then_some(self.size as f64);
        objects
            .iter()
            .filter_map(|object| object.viewed(view, square))
            .collect()
    }
}

impl DetectionEvalTransform {
    /// The view of a picture: all of it, resized.
    pub fn view(&self, width: usize, height: usize) -> View {
        let resized = shortest_edge_size(width, height, self.short_side, self.long_side);
        View {
            source: (width, height),
            mirrored: false,
            resized,
            window: whole(resized),
        }
    }
}

fn whole((width, height): (usize, usize)) -> CropBox {
    CropBox {
        x: 0,
        y: 0,
        width,
        height,
    }
}

/// What a model is shown of a picture in prediction: resized as in evaluation, not normalised or padded.
/// [`RgbImage::flip`] mirrors it.
pub fn detection_input(image: &RgbImage, transform: &DetectionEvalTransform) -> RgbImage {
    transform.view(image.width, image.height).pixels(image)
}

impl View {
    /// The pixels of a view, resized with Pillow's antialiased bilinear filter.
    ///
    /// # Panics
    /// When the picture has no pixels or is not of the view's size.
    pub fn pixels(&self, image: &RgbImage) -> RgbImage {
        assert_eq!(
            (image.width, image.height),
            self.source,
            "a view belongs to pictures of one size"
        );
        let flipped;
        let source = if self.mirrored {
            flipped = image.flipped();
            &flipped
        } else {
            image
        };
        let mut out = RgbImage::default();
        resize_window_into(
            source,
            CropBox::whole(source),
            self.resized,
            Filter::Bilinear,
            self.window,
            &mut out,
        );
        out
    }
}

impl StoredObject {
    /// The object in a view, its polygons cut to a square of `square` pixels; none where nothing is left.
    fn viewed(&self, view: &View, square: Option<f64>) -> Option<Instance> {
        let (bounds, mask) = match &self.outline {
            Some(StoredOutline::Polygons(polygons)) => {
                let polygons = place_polygons(polygons, view, square);
                (
                    polygon_bounds(&polygons)?,
                    Some(InstanceMask::Polygons(polygons)),
                )
            }
            Some(StoredOutline::Runs(mask)) => {
                let mask = Bitmap {
                    width: mask.width() as usize,
                    height: mask.height() as usize,
                    pixels: mask.decode_row_major(),
                }
                .viewed(view.mirrored, view.resized, view.window);
                let bounds = mask.bounds()?;
                let Bitmap {
                    width,
                    height,
                    pixels,
                } = mask;
                let mask = InstanceMask::Bitmap {
                    width,
                    height,
                    pixels,
                };
                (bounds, Some(mask))
            }
            None => (view.place_box(self.bounds?).map(|v| v as f32), None),
        };
        let [x0, y0, x1, y1] = bounds;
        (x1 - x0 > EMPTY_SIDE && y1 - y0 > EMPTY_SIDE).then_some(Instance {
            bounds,
            class: self.class as usize,
            mask,
        })
    }
}

fn place_polygons(polygons: &[Box<[f64]>], view: &View, square: Option<f64>) -> Vec<Vec<f64>> {
    let mut placed = Vec::with_capacity(polygons.len());
    for polygon in polygons {
        let points = polygon.as_chunks::<2>().0;
        let points: Vec<f64> = points.iter().flat_map(|&point| view.place(point)).collect();
        match square {
            Some(side) => placed.append(&mut clip_polygon(&points, side, side)),
            None => placed.push(points),
        }
    }
    placed
}

/// The smallest box around polygons, `x0, y0, x1, y1`; its far corner is nowhere negative, as in
/// `PolygonMasks.get_bounding_boxes`.
fn polygon_bounds(polygons: &[Vec<f64>]) -> Option<[f32; 4]> {
    let mut bounds = [f32::INFINITY, f32::INFINITY, 0.0, 0.0];
    for &[x, y] in polygons
        .iter()
        .flat_map(|polygon| polygon.as_chunks::<2>().0)
    {
        let (x, y) = (x as f32, y as f32);
        bounds = [
            bounds[0].min(x),
            bounds[1].min(y),
            bounds[2].max(x),
            bounds[3].max(y),
        ];
    }
    (!polygons.is_empty()).then_some(bounds)
}
