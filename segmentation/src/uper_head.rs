//! The UperNet head (Unified Perceptual Parsing, arXiv 1807.10221): pyramid pooling over the coarsest map,
//! a top-down path, and one fusion of all levels.
//!
//! Source: mmsegmentation `models/decode_heads/{psp_head,uper_head}.py`, whose names these are. Parity:
//! `upernet`.

use backbone::SumOverProcesses;
use tch::{Tensor, nn};

use crate::conv::{Classifier, ConvNormRelu, resize};
use crate::fusion::add_convolved_enlarged;

/// Averages of a map over coarse grids, each projected and enlarged again (PSPNet, arXiv 1612.01105),
/// then merged with the map itself.
#[derive(Debug)]
struct PyramidPooling {
    stages: Vec<(i64, ConvNormRelu)>,
    bottleneck: ConvNormRelu,
}

impl PyramidPooling {
    fn new(path: &nn::Path, inputs: i64, channels: i64, scales: &[i64]) -> Self {
        let stages: Vec<_> = scales
            .iter()
            .enumerate()
            .map(|(index, scale)| {
                // The pool is number 0 of the reference's sequence.
                let path = path / "psp_modules" / index / 1;
                (*scale, ConvNormRelu::new(&path, inputs, channels, 1))
            })
            .collect();
        let stacked = inputs + channels * scales.len() as i64;
        Self {
            stages,
            bottleneck: ConvNormRelu::new(&(path / "bottleneck"), stacked, channels, 3),
        }
    }

    fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        let size = extent(x);
        let mut parts = vec![x.shallow_clone()];
        for (scale, conv) in &self.stages {
            let pooled = conv.forward(&x.adaptive_avg_pool2d([*scale, *scale]), train);
            parts.push(resize(&pooled, size));
        }
        self.bottleneck.forward(&Tensor::cat(&parts, 1), train)
    }
}

/// Logits of stride 4 out of four maps of strides 4 to 32.
#[derive(Debug)]
pub struct UperHead {
    laterals: Vec<ConvNormRelu>,
    pooling: PyramidPooling,
    smooth: Vec<ConvNormRelu>,
    fusion: ConvNormRelu,
    classifier: Classifier,
    channels: i64,
}

impl UperHead {
    /// Adds the parameters under `path`, for four maps of `inputs` channels.
    pub fn new(
        path: &nn::Path,
        inputs: i64,
        channels: i64,
        pool_scales: &[i64],
        classes: i64,
        dropout: f64,
    ) -> Self {
        let three = |name: &str, inputs, kernel| {
            (0..3)
                .map(|index| {
                    let path = path / name / index;
                    ConvNormRelu::new(&path, inputs, channels, kernel)
                })
                .collect()
        };
        Self {
            laterals: three("lateral_convs", inputs, 1),
            pooling: PyramidPooling::new(path, inputs, channels, pool_scales),
            smooth: three("fpn_convs", channels, 3),
            fusion: ConvNormRelu::new(&(path / "fpn_bottleneck"), 4 * channels, channels, 3),
            classifier: Classifier::new(&(path / "conv_seg"), channels, classes, dropout),
            channels,
        }
    }

    /// From now on training takes the statistics of BatchNorm over the batches of all processes.
    pub fn synchronise(&mut self, sum: &SumOverProcesses) {
        let stages = self.pooling.stages.iter_mut().map(|(_, conv)| conv);
        self.laterals
            .iter_mut()
            .chain(&mut self.smooth)
            .chain(stages)
            .chain([&mut self.pooling.bottleneck, &mut self.fusion])
            .for_each(|conv| conv.synchronise(sum));
    }

    /// Four maps `[B, inputs, H / 2^i, W / 2^i]`, finest first, to fused features `[B, channels, H, W]`.
    pub fn fused(&self, maps: &[Tensor; 4], train: bool) -> Tensor {
        let [finer @ .., coarsest] = maps;
        let mut levels: Vec<Tensor> = finer
            .iter()
            .zip(&self.laterals)
            .map(|(map, conv)| conv.forward(map, train))
            .collect();
        levels.push(self.pooling.forward(coarsest, train));
        for coarse in (1..levels.len()).rev() {
            let enlarged = resize(&levels[coarse], extent(&levels[coarse - 1]));
            levels[coarse - 1] = &levels[coarse - 1] + enlarged;
        }
        for (level, conv) in levels.iter_mut().zip(&self.smooth) {
            *level = conv.forward(level, train);
        }
        let part = |level: i64| {
            let weight = &self.fusion.weight;
            weight.narrow(1, level * self.channels, self.channels)
        };
        let mut sum = backbone::convolve_map(&levels[0], &part(0), None);
        for (level, map) in (1..).zip(&levels[1..]) {
            sum = add_convolved_enlarged(sum, map, &part(level));
        }
        self.fusion.finish(&sum, train)
    }

    /// As [`UperHead::fused`], to logits `[B, classes, H, W]`.
    pub fn forward(&self, maps: &[Tensor; 4], train: bool) -> Tensor {
        self.classifier.forward(&self.fused(maps, train), train)
    }
}

fn extent(map: &Tensor) -> (i64, i64) {
    let size = map.size();
    (size[2], size[3])
}
