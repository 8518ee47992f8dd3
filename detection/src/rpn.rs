//! The region proposal network.
//!
//! Source: detectron2 `modeling/proposal_generator/rpn.py, proposal_utils.py`. Parity: `vitdet`, rpn_*,
//! proposal_*, anchor_*, loss_rpn_*.

use backbone::FeatureLevel;
use data::Instance;
use tch::{Device, Kind, Reduction, Tensor, nn};

use crate::anchors::AnchorConfig;
use crate::boxes::{BoxCoder, BoxF, clip, from_boxes, is_nonempty, to_boxes, to_floats};
use crate::config::{DetectorConfig, RpnConfig};
use crate::layers::{Conv, normal};
use crate::matcher::{Matched, Matcher};
use crate::nms::batched_nms;
use crate::sampling::{Order, subsample};

const CODER: BoxCoder = BoxCoder { weights: [1.0; 4] };

/// What the network says about every anchor, one entry for each level.
#[derive(Debug)]
pub struct RpnOutput {
    /// Logits `[B, A, H, W]`: how likely the anchor is on an object.
    pub objectness: Vec<Tensor>,
    /// Deltas `[B, A * 4, H, W]` from anchor to proposal.
    pub deltas: Vec<Tensor>,
}

impl RpnOutput {
    /// `[B, anchors]` over all levels, each level in the order row, column, anchor.
    fn flat_objectness(&self) -> Tensor {
        let levels: Vec<Tensor> = self.objectness.iter().map(flat_logits).collect();
        Tensor::cat(&levels, 1)
    }
}

/// `[B, A, H, W] -> [B, H * W * A]`.
fn flat_logits(level: &Tensor) -> Tensor {
    level.permute([0, 2, 3, 1]).flatten(1, 3)
}

/// `[B, A * 4, H, W] -> [B, H * W * A, 4]`.
fn flat_deltas(level: &Tensor) -> Tensor {
    let batch = level.size()[0];
    level.permute([0, 2, 3, 1]).reshape([batch, -1, 4])
}

/// Proposals of one picture, best first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposals {
    /// In pixels of the network's picture, inside it and not empty.
    pub boxes: Vec<BoxF>,
    /// Objectness logits.
    pub logits: Vec<f32>,
}

/// The anchors of one picture that count in the losses.
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorTargets {
    /// 1 on an object, 0 beside them, -1 left out.
    pub labels: Vec<i8>,
    /// The object of each anchor; meaningful where the label is 1.
    pub matched: Vec<u32>,
}

/// The network and how its answers become proposals and losses.
#[derive(Debug)]
pub struct Rpn {
    convolutions: Vec<Conv>,
    objectness: Conv,
    deltas: Conv,
    config: RpnConfig,
    matcher: Matcher,
}

impl Rpn {
    /// Adds `rpn_head.*` under `path`.
    pub fn new(path: &nn::Path, config: &DetectorConfig) -> Self {
        let head = path / "rpn_head";
        let channels = config.channels;
        let anchors = config.rpn.aspect_ratios.len() as i64;
        let conv = |path: &nn::Path, outputs, kernel| {
            Conv::new(path, channels, outputs, kernel, normal(0.01))
        };
        // A single convolution has no number in the reference's files.
        let convolutions = match config.rpn.convolutions {
            1 => vec![conv(&(&head / "conv"), channels, 3)],
            count => (0..count)
                .map(|index| conv(&(&head / "conv" / format!("conv{index}")), channels, 3))
                .collect(),
        };
        Self {
            convolutions,
            objectness: conv(&(&head / "objectness_logits"), anchors, 1),
            deltas: conv(&(&head / "anchor_deltas"), anchors * 4, 1),
            config: config.rpn.clone(),
            matcher: Matcher {
                thresholds: vec![0.3, 0.7],
                labels: vec![0, -1, 1],
                allow_low_quality: true,
            },
        }
    }

    /// Runs the network over every level.
    pub fn forward(&self, levels: &[FeatureLevel]) -> RpnOutput {
        let (objectness, deltas) = levels
            .iter()
            .map(|level| {
                let hidden = self
                    .convolutions
                    .iter()
                    .fold(level.map.shallow_clone(), |x, conv| {
                        conv.forward(&x).relu_()
                    });
                (
                    self.objectness.forward(&hidden),
                    self.deltas.forward(&hidden),
                )
            })
            .unzip();
        RpnOutput { objectness, deltas }
    }

    /// The anchors of each level, in the order row, column, anchor.
    pub fn anchors(&self, levels: &[FeatureLevel]) -> Vec<Vec<BoxF>> {
        let config = AnchorConfig {
            sizes: self.config.anchor_sizes.clone(),
            aspect_ratios: self.config.aspect_ratios.clone(),
            strides: levels.iter().map(|level| level.stride).collect(),
            offset: 0.0,
        };
        levels
            .iter()
            .enumerate()
            .map(|(index, level)| {
                let size = level.map.size();
                config.level_anchors(index, size[2], size[3])
            })
            .collect()
    }

    /// Proposals for each picture. `sizes` are the pictures' `(height, width)` without padding. No
    /// gradient flows through them.
    pub fn proposals(
        &self,
        output: &RpnOutput,
        anchors: &[Vec<BoxF>],
        sizes: &[(usize, usize)],
        train: bool,
    ) -> Vec<Proposals> {
        tch::no_grad(|| {
            let levels: Vec<(Tensor, Tensor, Tensor)> = output
                .objectness
                .iter()
                .zip(&output.deltas)
                .zip(anchors)
                .map(|((logits, deltas), anchors)| {
                    let logits = flat_logits(&logits.to_kind(Kind::Float));
                    let anchors = from_boxes(anchors, logits.device());
                    (logits, flat_deltas(deltas), anchors)
                })
                .collect();
            let one = |(picture, size): (usize, &(usize, usize))| {
                self.proposals_of(&levels, picture as i64, *size, train)
            };
            sizes.iter().enumerate().map(one).collect()
        })
    }

    fn proposals_of(
        &self,
        levels: &[(Tensor, Tensor, Tensor)],
        picture: i64,
        size: (usize, usize),
        train: bool,
    ) -> Proposals {
        let phase = usize::from(!train);
        let mut boxes = Vec::new();
        let mut scores = Vec::new();
        let mut of_level: Vec<i64> = Vec::new();
        for (index, (logits, deltas, anchors)) in levels.iter().enumerate() {
            let logits = logits.get(picture);
            let count = logits.size()[0].min(self.config.before_nms[phase] as i64);
            let (best, at) = logits.topk(count, 0, true, true);
            // Only the best are decoded; the others would be thrown away.
            let deltas = deltas.get(picture).index_select(0, &at);
            let decoded = CODER.decode(&deltas, &anchors.index_select(0, &at));
            boxes.extend(to_boxes(&decoded));
            scores.extend(to_floats(&best));
            of_level.extend(std::iter::repeat_n(index as i64, count as usize));
        }
        let finite = |at: &usize| {
            scores[*at].is_finite() && boxes[*at].iter().all(|number: &f32| number.is_finite())
        };
        let mut kept: Vec<usize> = (0..boxes.len()).filter(finite).collect();
        clip(&mut boxes, size);
        kept.retain(|at| is_nonempty(&boxes[*at], 0.0));
        let boxes: Vec<BoxF> = kept.iter().map(|at| boxes[*at]).collect();
        let logits: Vec<f32> = kept.iter().map(|at| scores[*at]).collect();
        let of_level: Vec<i64> = kept.iter().map(|at| of_level[*at]).collect();
        let mut best = batched_nms(&boxes, &logits, &of_level, self.config.nms_threshold);
        best.truncate(self.config.after_nms[phase]);
        Proposals {
            boxes: best.iter().map(|at| boxes[*at]).collect(),
            logits: best.iter().map(|at| logits[*at]).collect(),
        }
    }

    /// Labels a picture's anchors by their overlap with its objects and samples those that count.
    pub fn targets(&self, anchors: &[BoxF], objects: &[Instance], order: &Order) -> AnchorTargets {
        let bounds: Vec<BoxF> = objects.iter().map(|object| object.bounds).collect();
        let Matched { index, label } = self.matcher.match_boxes(&bounds, anchors);
        let all: Vec<i64> = label.iter().map(|label| i64::from(*label)).collect();
        let (positive, negative) = subsample(
            &all,
            self.config.batch_per_picture,
            self.config.positive_fraction,
            0,
            order,
        );
        let mut labels = vec![-1; anchors.len()];
        for (sampled, label) in [(positive, 1), (negative, 0)] {
            for at in sampled {
                labels[at] = label;
            }
        }
        AnchorTargets {
            labels,
            matched: index,
        }
    }

    /// `loss_rpn_cls` and `loss_rpn_loc`: binary cross-entropy over sampled anchors and L1 over
    /// positive ones, both divided by `batch_per_picture * pictures`.
    pub fn losses(
        &self,
        output: &RpnOutput,
        anchors: &[BoxF],
        targets: &[AnchorTargets],
        objects: &[&[Instance]],
    ) -> [Tensor; 2] {
        let device = output.objectness[0].device();
        let logits = output.flat_objectness();
        let deltas: Vec<Tensor> = output.deltas.iter().map(flat_deltas).collect();
        let deltas = Tensor::cat(&deltas, 1).flatten(0, 1); // [B * anchors, 4]
        let mut sampled = Vec::new();
        let mut labels = Vec::new();
        let mut positive = Vec::new();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for (picture, (target, objects)) in targets.iter().zip(objects).enumerate() {
            for (at, label) in target.labels.iter().enumerate() {
                let flat = (picture * anchors.len() + at) as i64;
                if *label >= 0 {
                    sampled.push(flat);
                    labels.push(f32::from(*label));
                }
                if *label == 1 {
                    positive.push(flat);
                    from.push(anchors[at]);
                    to.push(objects[target.matched[at] as usize].bounds);
                }
            }
        }
        let on_device = |at: &[i64]| Tensor::from_slice(at).to_device(device);
        let normaliser = (self.config.batch_per_picture * targets.len()) as f64;
        let logits = logits.flatten(0, 1).index_select(0, &on_device(&sampled));
        let labels = Tensor::from_slice(&labels).to_device(device);
        let classification = logits
            .to_kind(Kind::Float)
            .binary_cross_entropy_with_logits::<Tensor>(&labels, None, None, Reduction::Sum);
        let wanted = CODER.encode(
            &from_boxes(&from, Device::Cpu),
            &from_boxes(&to, Device::Cpu),
        );
        let found = deltas
            .index_select(0, &on_device(&positive))
            .to_kind(Kind::Float);
        let localisation = (found - wanted.to_device(device)).abs().sum(Kind::Float);
        [classification / normaliser, localisation / normaliser]
    }
}
