//! Pooling of regions from the level of the pyramid that fits their size.
//!
//! Source: detectron2 `modeling/poolers.py`; FPN (arXiv 1612.03144), equation 1. Parity: `vitdet`,
//! box_roi_features.

use backbone::FeatureLevel;
use native::{RoiAlign, roi_align};
use tch::{Device, Kind, Tensor};

use crate::boxes::BoxF;
use crate::levels::assign_levels;
use crate::roi_align::roi_align_dense;

/// A region of this side, in pixels, is pooled from ...
const CANONICAL_SIZE: f64 = 224.0;
/// ... the level of stride 2^4.
const CANONICAL_LEVEL: i64 = 4;
/// Levels that regions are pooled from; the sixth serves proposals only.
pub(crate) const POOLED_LEVELS: usize = 4;

/// Pools `bins x bins` cells: regions of each picture to `[R, C, bins, bins]`, picture by picture in
/// their order. `levels` hold maps `[B, C, H, W]` of doubling strides, the first [`POOLED_LEVELS`] of
/// which are used.
pub(crate) fn pool(
    levels: &[FeatureLevel],
    regions: &[Vec<BoxF>],
    bins: i64,
    sampling_ratio: i64,
) -> Tensor {
    let levels = &levels[..POOLED_LEVELS];
    let finest = i64::from(levels[0].stride.ilog2());
    let flat: Vec<BoxF> = regions.concat();
    let pictures = regions
        .iter()
        .enumerate()
        .flat_map(|(picture, boxes)| std::iter::repeat_n(picture, boxes.len()));
    let rows: Vec<[f32; 5]> = flat
        .iter()
        .zip(pictures)
        .map(|([x0, y0, x1, y1], picture)| [picture as f32, *x0, *y0, *x1, *y1])
        .collect();
    let of_level = assign_levels(
        &flat,
        finest,
        finest + POOLED_LEVELS as i64 - 1,
        CANONICAL_SIZE,
        CANONICAL_LEVEL,
    );
    let mut pooled = Vec::with_capacity(POOLED_LEVELS);
    let mut place = vec![0i64; rows.len()];
    let mut next = 0;
    for (index, level) in levels.iter().enumerate() {
        let mut here = Vec::new();
        for (row, at) in rows
            .iter()
            .zip(&mut place)
            .zip(&of_level)
            .filter_map(|((row, at), of)| (*of == index).then_some((row, at)))
        {
            *at = next;
            next += 1;
            here.push(*row);
        }
        // An empty level is pooled too where there is nothing else, for its shape and graph.
        if here.is_empty() && !(rows.is_empty() && index == 0) {
            continue;
        }
        let rois = Tensor::from_slice(here.as_flattened())
            .view([here.len() as i64, 5])
            .to_device(level.map.device());
        pooled.push(pool_level(level, &rois, bins, sampling_ratio));
    }
    let pooled = match pooled.as_slice() {
        [one] => one.shallow_clone(),
        several => Tensor::cat(several, 0),
    };
    if place.is_sorted() {
        return pooled;
    }
    pooled.index_select(0, &Tensor::from_slice(&place).to_device(pooled.device()))
}

fn pool_level(level: &FeatureLevel, rois: &Tensor, bins: i64, sampling_ratio: i64) -> Tensor {
    let scale = 1.0 / level.stride as f64;
    // Under autocast the maps are narrower than the kernels.
    let features = match level.map.kind() {
        Kind::Float | Kind::Double => level.map.shallow_clone(),
        _ => level.map.to_kind(Kind::Float),
    };
    match features.device() {
        Device::Cpu => roi_align(
            &features,
            rois,
            &RoiAlign {
                bins: (bins, bins),
                scale,
                sampling_ratio,
                aligned: true,
            },
        ),
        _ => roi_align_dense(&features, rois, (bins, bins), scale, sampling_ratio, true),
    }
}
