//! Pooling of regions by averaged bilinear samples, ROIAlign, as matrix products. Source: torchvision
//! `csrc/ops/cpu/roi_align_kernel.cpp`, `roi_align_common.h`.
//!
//! The samples of a region lie on a grid, and bilinear weights, the average over a bin and whether a
//! sample is within the map are all products of a factor per row and one per column. So a pooled
//! region is Wy · F · Wxᵀ, with Wy and Wx computed on the host. That runs on every device and has its
//! gradient from autograd.

use tch::Tensor;

use crate::boxes::to_floats;

/// Numbers of the largest intermediate tensor of one chunk of regions: 128 MB of float32.
const CHUNK_ELEMENTS: i64 = 1 << 25;

/// Samples along one axis of a region, in places of the feature map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AxisSamples {
    start: f32,
    /// Length of a bin; not positive for empty and inverted regions.
    bin: f32,
    /// Samples a bin; 0 where a bin has no length to take samples from.
    pub(crate) per_bin: usize,
}

/// Two neighbouring places with the weights of their values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) low: usize,
    pub(crate) high: usize,
    pub(crate) low_weight: f32,
    pub(crate) high_weight: f32,
}

impl AxisSamples {
    /// A region from `from` to `to` in pixels, cut into `bins`; with `sampling_ratio` 0 a bin has a
    /// sample for each place it begins to cover.
    pub(crate) fn new(
        from: f32,
        to: f32,
        bins: usize,
        scale: f32,
        sampling_ratio: usize,
        aligned: bool,
    ) -> Self {
        let offset = if aligned { 0.5 } else { 0.0 };
        let start = from * scale - offset;
        let mut length = to * scale - offset - start;
        if !aligned {
            length = length.max(1.0);
        }
        let bin = length / bins as f32;
        let per_bin = match sampling_ratio {
            // Towards 0 below it; a region without end has no samples either.
            0 if bin.is_finite() => bin.ceil() as usize,
            0 => 0,
            ratio => ratio,
        };
        Self {
            start,
            bin,
            per_bin,
        }
    }

    /// A sample of a bin on an axis of `places`; none where it is outside by more than a place.
    pub(crate) fn sample(&self, bin: usize, sample: usize, places: usize) -> Option<Sample> {
        // In this order, so that each step is rounded as in the reference.
        let within = (sample as f32 + 0.5) * self.bin / self.per_bin as f32;
        let at = self.start + bin as f32 * self.bin + within;
        if !(at >= -1.0 && at <= places as f32) {
            return None;
        }
        let at = at.max(0.0);
        let low = at as usize;
        let last = places - 1;
        let (low, high, high_weight) = if low >= last {
            (last, last, 0.0)
        } else {
            (low, low + 1, at - low as f32)
        };
        Some(Sample {
            low,
            high,
            low_weight: 1.0 - high_weight,
            high_weight,
        })
    }

    /// Adds this axis' matrix `[bins, places]` to `matrix`, which is all 0.
    fn weights(&self, places: usize, matrix: &mut [f32]) {
        let share = 1.0 / self.per_bin as f32;
        for (bin, row) in matrix.chunks_exact_mut(places).enumerate() {
            for sample in 0..self.per_bin {
                if let Some(sample) = self.sample(bin, sample, places) {
                    row[sample.low] += sample.low_weight * share;
                    row[sample.high] += sample.high_weight * share;
                }
            }
        }
    }
}

/// How regions are pooled.
#[derive(Clone, Copy)]
struct Pooling {
    height: usize,
    width: usize,
    scale: f32,
    sampling_ratio: usize,
    aligned: bool,
}

/// Pools regions `[R, 5]` (picture, x0, y0, x1, y1 in pixels) of features `[B, C, H, W]` into
/// `[R, C, ph, pw]` with `output` = (ph, pw). `scale` turns pixels into places; `sampling_ratio` is the
/// number of samples a bin has along each axis, 0 for as many as places; `aligned` moves the regions by
/// half a place, so that a place's value lies in its middle.
///
/// Differentiable with respect to the features; the gradient of the regions is none, as in the
/// reference. Regions are pooled in chunks, so that memory does not follow their number.
///
/// # Panics
/// When a region is of a picture that is not there, or the shapes are others.
pub fn roi_align_dense(
    features: &Tensor,
    rois: &Tensor,
    output: (i64, i64),
    scale: f64,
    sampling_ratio: i64,
    aligned: bool,
) -> Tensor {
    let [pictures, channels, height, width] = features.size()[..] else {
        panic!("features of shape {:?}", features.size());
    };
    let numbers = to_floats(rois);
    let (rois, rest) = numbers.as_chunks::<5>();
    assert!(rest.is_empty(), "regions of {} numbers", numbers.len());
    let pooling = Pooling {
        height: output.0 as usize,
        width: output.1 as usize,
        scale: scale as f32,
        sampling_ratio: sampling_ratio.max(0) as usize,
        aligned,
    };

    let mut order: Vec<usize> = (0..rois.len()).collect();
    order.sort_by_key(|&at| rois[at][0] as i64);
    let per_region = channels * output.0 * width;
    let chunk = (CHUNK_ELEMENTS / per_region.max(1)).max(1) as usize;
    let mut pooled = Vec::new();
    for picture in order.chunk_by(|&a, &b| rois[a][0] as i64 == rois[b][0] as i64) {
        let index = rois[picture[0]][0] as i64;
        assert!((0..pictures).contains(&index), "no picture {index}");
        // Rows first, so that all regions of a chunk share one matrix product.
        let rows = features
            .select(0, index)
            .permute([1, 0, 2])
            .reshape([height, channels * width]);
        for part in picture.chunks(chunk) {
            let part: Vec<&[f32; 5]> = part.iter().map(|&at| &rois[at]).collect();
            pooled.push(pooling.pool(&rows, &part, features));
        }
    }
    if pooled.is_empty() {
        // Of the features all the same, so that a loss of nothing still has a gradient, of 0.
        return features
            .narrow(0, 0, 0)
            .sum_dim_intlist([2i64, 3].as_slice(), true, features.kind())
            .expand([0, channels, output.0, output.1], false);
    }
    let pooled = Tensor::cat(&pooled, 0);
    if order.is_sorted() {
        return pooled;
    }
    let mut place = vec![0i64; order.len()];
    for (from, &to) in order.iter().enumerate() {
        place[to] = from as i64;
    }
    pooled.index_select(0, &Tensor::from_slice(&place).to_device(features.device()))
}

impl Pooling {
    /// Regions of one picture, whose features are given as `[H, C * W]`.
    fn pool(&self, rows: &Tensor, rois: &[&[f32; 5]], features: &Tensor) -> Tensor {
        let [_, channels, height, width] = features.size()[..] else {
            unreachable!("checked by the caller");
        };
        let (count, bins) = (rois.len(), (self.height, self.width));
        let mut down = vec![0f32; count * bins.0 * height as usize];
        let mut across = vec![0f32; count * bins.1 * width as usize];
        for (roi, (down, across)) in rois.iter().zip(
            down.chunks_exact_mut(bins.0 * height as usize)
                .zip(across.chunks_exact_mut(bins.1 * width as usize)),
        ) {
            let [_, x0, y0, x1, y1] = **roi;
            let axis = |from, to, bins| {
                AxisSamples::new(
                    from,
                    to,
                    bins,
                    self.scale,
                    self.sampling_ratio,
                    self.aligned,
                )
            };
            axis(y0, y1, bins.0).weights(height as usize, down);
            axis(x0, x1, bins.1).weights(width as usize, across);
        }
        let upload = |matrix: &[f32]| {
            Tensor::from_slice(matrix)
                .to_device(features.device())
                .to_kind(features.kind())
        };
        let (count, bins) = (count as i64, (bins.0 as i64, bins.1 as i64));
        let down = upload(&down).view([count * bins.0, height]);
        let across = upload(&across).view([count, bins.1, width]);
        down.matmul(rows)
            .view([count, bins.0 * channels, width])
            .bmm(&across.transpose(1, 2))
            .view([count, bins.0, channels, bins.1])
            .permute([0, 2, 1, 3])
            .contiguous()
    }
}
