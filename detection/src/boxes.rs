//! Boxes: areas, overlaps, clipping, and their coding as differences to other boxes. Source: detectron2
//! `structures/boxes.py`, `modeling/box_regression.py`.

use tch::{Device, Kind, Tensor};

/// A box `x0, y0, x1, y1` in pixels; the picture's first pixel covers 0 to 1.
pub type BoxF = [f32; 4];

/// The largest logarithm of a change in width or height that is decoded: a box of 16 pixels becomes at
/// most one of 1000.
fn largest_log_scale() -> f64 {
    (1000.0f64 / 16.0).ln()
}

/// Width times height. Of an inverted box it may be negative.
pub fn area(of: &BoxF) -> f32 {
    (of[2] - of[0]) * (of[3] - of[1])
}

/// Intersection over union, 0 where nothing is shared; rounded as detectron2's `pairwise_iou`.
pub fn iou(a: &BoxF, b: &BoxF) -> f32 {
    iou_with_areas(a, area(a), b, area(b))
}

/// [`iou`] of boxes whose areas are known.
#[inline(always)]
pub(crate) fn iou_with_areas(a: &BoxF, area_a: f32, b: &BoxF, area_b: f32) -> f32 {
    let width = greater(lesser(a[2], b[2]) - greater(a[0], b[0]), 0.0);
    let height = greater(lesser(a[3], b[3]) - greater(a[1], b[1]), 0.0);
    let shared = width * height;
    if shared > 0.0 {
        shared / (area_a + area_b - shared)
    } else {
        0.0
    }
}

// One instruction each, where `f32::min` and `f32::max` take four to look after what is not a number.
fn lesser(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Moves every corner into a picture of `(height, width)` pixels.
pub fn clip(boxes: &mut [BoxF], size: (usize, usize)) {
    let (height, width) = (size.0 as f32, size.1 as f32);
    for [x0, y0, x1, y1] in boxes {
        for x in [x0, x1] {
            *x = x.clamp(0.0, width);
        }
        for y in [y0, y1] {
            *y = y.clamp(0.0, height);
        }
    }
}

/// Whether both sides are longer than `smallest` pixels.
pub fn is_nonempty(of: &BoxF, smallest: f32) -> bool {
    of[2] - of[0] > smallest && of[3] - of[1] > smallest
}

/// Boxes on the host from a tensor `[N, 4]` of any device and kind.
///
/// # Panics
/// When the tensor does not hold four numbers a box.
pub fn to_boxes(tensor: &Tensor) -> Vec<BoxF> {
    let flat = to_floats(tensor);
    let (boxes, rest) = flat.as_chunks::<4>();
    assert!(rest.is_empty(), "boxes of {:?} numbers", tensor.size());
    boxes.to_vec()
}

/// All numbers of a tensor on the host, in order.
pub(crate) fn to_floats(tensor: &Tensor) -> Vec<f32> {
    let host = tensor
        .detach()
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous();
    let mut numbers = vec![0f32; host.numel()];
    host.copy_data(&mut numbers, host.numel());
    numbers
}

/// A float32 tensor `[N, 4]` of boxes.
pub fn from_boxes(boxes: &[BoxF], device: Device) -> Tensor {
    Tensor::from_slice(boxes.as_flattened())
        .view([boxes.len() as i64, 4])
        .to_device(device)
}

/// Boxes as differences to other boxes: the shift of the centre in widths and heights, and the
/// logarithms of the changes in width and height, each times a weight. Source: `Box2BoxTransform`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCoder {
    /// Weights of the shifts in x and y and of the logarithms of width and height.
    pub weights: [f64; 4],
}

/// Centres and sides of boxes `[N, 4]`, each `[N]`.
struct Sides {
    x: Tensor,
    y: Tensor,
    width: Tensor,
    height: Tensor,
}

impl Sides {
    fn new(boxes: &Tensor) -> Self {
        let [x0, y0, x1, y1] = [0, 1, 2, 3].map(|column| boxes.select(1, column));
        let (width, height) = (x1 - &x0, y1 - &y0);
        Self {
            x: x0 + &width * 0.5,
            y: y0 + &height * 0.5,
            width,
            height,
        }
    }
}

impl BoxCoder {
    /// The differences `[N, 4]` that turn `boxes` into `targets`, both `[N, 4]` and float32. Boxes must
    /// be wider and higher than 0.
    pub fn encode(&self, boxes: &Tensor, targets: &Tensor) -> Tensor {
        let (from, to) = (Sides::new(boxes), Sides::new(targets));
        let [x, y, width, height] = self.weights;
        Tensor::stack(
            &[
                (to.x - from.x) * x / &from.width,
                (to.y - from.y) * y / &from.height,
                (to.width / from.width).log() * width,
                (to.height / from.height).log() * height,
            ],
            1,
        )
    }

    /// The boxes `[N, 4k]` that differences `[N, 4k]` make of `boxes` `[N, 4]`: k boxes each, in
    /// float32 whatever the kind of the differences. Not clipped.
    pub fn decode(&self, deltas: &Tensor, boxes: &Tensor) -> Tensor {
        let size = deltas.size();
        let deltas = deltas.to_kind(Kind::Float);
        let deltas = deltas.reshape([size[0], size[1] / 4, 4]);
        let from = Sides::new(&boxes.to_kind(Kind::Float));
        let [dx, dy, dw, dh] =
            [0, 1, 2, 3].map(|column| deltas.select(2, column as i64) / self.weights[column]);
        let column = |side: &Tensor| side.unsqueeze(1);
        let (width, height) = (column(&from.width), column(&from.height));
        let x = dx * &width + column(&from.x);
        let y = dy * &height + column(&from.y);
        let half_width = dw.clamp_max(largest_log_scale()).exp() * width * 0.5;
        let half_height = dh.clamp_max(largest_log_scale()).exp() * height * 0.5;
        Tensor::stack(
            &[
                &x - &half_width,
                &y - &half_height,
                x + half_width,
                y + half_height,
            ],
            -1,
        )
        .view(size.as_slice())
    }
}
