//! Box heads: pooled regions to class scores and box deltas, with their losses.
//!
//! Source: detectron2 `modeling/roi_heads/box_head.py, fast_rcnn.py`. Parity: `vitdet`, box_*;
//! `cascade_vitdet`, stageN_*.

use backbone::NormedConv;
use tch::{Device, Kind, Reduction, Tensor, nn};

use crate::boxes::{BoxCoder, BoxF, from_boxes};
use crate::config::{BoxStage, DetectorConfig};
use crate::layers::{Linear, caffe_xavier, msra, normal};

/// Cells along one side of a pooled region.
pub(crate) const BOX_BINS: i64 = 7;

/// What a box head says about regions.
#[derive(Debug)]
pub struct BoxOutput {
    /// Logits `[R, K + 1]`, the background last.
    pub scores: Tensor,
    /// Deltas `[R, K * 4]`, or `[R, 4]` where they do not depend on the class.
    pub deltas: Tensor,
}

/// Regions of one picture that count in the losses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SampledRegions {
    /// In pixels of the network's picture.
    pub boxes: Vec<BoxF>,
    /// Class of each; the number of classes stands for the background.
    pub classes: Vec<i64>,
    /// The object each belongs to; meaningful where it is no background.
    pub matched: Vec<u32>,
}

/// Convolutions, one hidden layer and the two predictions.
#[derive(Debug)]
pub struct BoxHead {
    convolutions: Vec<NormedConv>,
    hidden: Linear,
    scores: Linear,
    deltas: Linear,
    coder: BoxCoder,
    classes: i64,
}

impl BoxHead {
    /// Adds the head under `head` and its predictions under `predictor`.
    pub(crate) fn new(
        head: &nn::Path,
        predictor: &nn::Path,
        config: &DetectorConfig,
        stage: BoxStage,
    ) -> Self {
        let channels = config.channels;
        let convolutions = (1..=config.roi.box_convolutions)
            .map(|number| {
                let path = head / format!("conv{number}");
                NormedConv::new(&path, channels, channels, 3, msra(channels * 9))
            })
            .collect();
        let inputs = channels * BOX_BINS * BOX_BINS;
        let width = config.roi.box_width;
        let classes = config.classes as i64;
        let boxes = if config.cascade { 1 } else { classes };
        Self {
            convolutions,
            hidden: Linear::new(&(head / "fc1"), inputs, width, caffe_xavier(inputs)),
            scores: Linear::new(&(predictor / "cls_score"), width, classes + 1, normal(0.01)),
            deltas: Linear::new(&(predictor / "bbox_pred"), width, boxes * 4, normal(0.001)),
            coder: BoxCoder {
                weights: stage.weights,
            },
            classes,
        }
    }

    /// Pooled regions `[R, C, 7, 7]` to what the predictions read: `[R, width]`.
    pub fn features(&self, pooled: &Tensor) -> Tensor {
        let x = self
            .convolutions
            .iter()
            .fold(pooled.shallow_clone(), |x, conv| conv.forward(&x).relu_());
        self.hidden.forward(&x.flatten(1, 3)).relu_()
    }

    /// Scores and deltas of `[R, width]`.
    pub fn predict(&self, features: &Tensor) -> BoxOutput {
        BoxOutput {
            scores: self.scores.forward(features).to_kind(Kind::Float),
            deltas: self.deltas.forward(features).to_kind(Kind::Float),
        }
    }

    /// Boxes from regions and their deltas: `[R, K * 4]` or `[R, 4]`, not clipped.
    pub fn decode(&self, output: &BoxOutput, regions: &[BoxF]) -> Tensor {
        let regions = from_boxes(regions, output.deltas.device());
        self.coder.decode(&output.deltas, &regions)
    }

    /// `loss_cls` and `loss_box_reg`: cross-entropy over all sampled regions, and L1 of the deltas of
    /// those on objects divided by the number of all. `bounds` are the boxes of each picture's objects.
    pub fn losses(
        &self,
        output: &BoxOutput,
        regions: &[SampledRegions],
        bounds: &[Vec<BoxF>],
    ) -> [Tensor; 2] {
        let device = output.scores.device();
        let classes: Vec<i64> = regions.iter().flat_map(|r| r.classes.clone()).collect();
        if classes.is_empty() {
            let zero = |tensor: &Tensor| tensor.sum(Kind::Float) * 0.0;
            return [zero(&output.scores), zero(&output.deltas)];
        }
        let labels = Tensor::from_slice(&classes).to_device(device);
        let classification =
            output
                .scores
                .cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0);
        let mut rows = Vec::new();
        let mut of_class = Vec::new();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let mut row = 0i64;
        for (regions, bounds) in regions.iter().zip(bounds) {
            for (at, class) in regions.classes.iter().enumerate() {
                if *class < self.classes {
                    rows.push(row);
                    of_class.push(*class);
                    from.push(regions.boxes[at]);
                    to.push(bounds[regions.matched[at] as usize]);
                }
                row += 1;
            }
        }
        let wanted = self.coder.encode(
            &from_boxes(&from, Device::Cpu),
            &from_boxes(&to, Device::Cpu),
        );
        let index = |at: &[i64]| Tensor::from_slice(at).to_device(device);
        let found = output.deltas.index_select(0, &index(&rows));
        let found = if found.size()[1] == 4 {
            found
        } else {
            let picked = index(&of_class).view([-1, 1, 1]).expand([-1, 1, 4], false);
            found
                .view([rows.len() as i64, self.classes, 4])
                .gather(1, &picked, false)
                .squeeze_dim(1)
        };
        let regression = (found - wanted.to_device(device)).abs().sum(Kind::Float);
        [classification, regression / classes.len() as f64]
    }
}
