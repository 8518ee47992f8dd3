//! The heads over regions: sampling for the losses, and detections at the end.
//!
//! Source: detectron2 `modeling/roi_heads/roi_heads.py, cascade_rcnn.py`. Parity: `vitdet`, roi_*,
//! loss_*, thr*; `cascade_vitdet`, thr*.

use backbone::FeatureLevel;
use data::{Instance, sample_seed};
use tch::{Kind, Tensor, nn};

use crate::box_head::{BOX_BINS, BoxHead, BoxOutput, SampledRegions};
use crate::boxes::{BoxF, clip, is_nonempty, to_boxes, to_floats};
use crate::config::{DetectorConfig, RoiConfig};
use crate::inference::{Detections, filter_detections};
use crate::mask_head::{MASK_BINS, MaskHead, MaskSamples};
use crate::matcher::{Matched, Matcher};
use crate::pooler::pool;
use crate::rpn::Proposals;
use crate::sampling::{Order, subsample};

/// The objects of one picture with its name, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The picture.
    pub name: &'a str,
    /// Its objects, in pixels of the network's picture.
    pub objects: &'a [Instance],
    /// Its `(height, width)` without padding.
    pub size: (usize, usize),
}

/// Which regions and anchors count in the losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// The first ones: for recordings and tests.
    InOrder,
    /// Drawn anew for each picture from a step's seed.
    Seeded(u64),
}

impl Sampling {
    /// The order for one picture of a batch; `what` keeps anchors and regions apart.
    pub(crate) fn order(self, picture: usize, what: u64) -> Order {
        match self {
            Self::InOrder => Order::InOrder,
            Self::Seeded(seed) => Order::Seeded(sample_seed(seed, what, picture as u64)),
        }
    }
}

/// What one box head says about regions.
#[derive(Debug)]
pub struct StageOutput {
    /// What the head made of the pooled regions, `[R, width]`.
    pub features: Tensor,
    /// Scores and deltas.
    pub output: BoxOutput,
    /// The boxes these make of the regions, `[R, K * 4]` or `[R, 4]`, not clipped.
    pub boxes: Tensor,
}

/// Decoded boxes `[R, 4]` picture by picture, inside the pictures; `regions` say how many each has.
fn clipped(decoded: &Tensor, regions: &[Vec<BoxF>], sizes: &[(usize, usize)]) -> Vec<Vec<BoxF>> {
    let mut rest = to_boxes(decoded).into_iter();
    regions
        .iter()
        .zip(sizes)
        .map(|(of_picture, size)| {
            let mut boxes: Vec<BoxF> = rest.by_ref().take(of_picture.len()).collect();
            clip(&mut boxes, *size);
            boxes
        })
        .collect()
}

/// One box head, or the three of a cascade, and the mask head.
#[derive(Debug)]
pub struct RoiHeads {
    stages: Vec<(BoxHead, Matcher)>,
    mask: Option<MaskHead>,
    config: RoiConfig,
    classes: usize,
}

impl RoiHeads {
    /// Adds the parameters under `path`.
    pub fn new(path: &nn::Path, config: &DetectorConfig) -> Self {
        let stages = config
            .stages()
            .into_iter()
            .enumerate()
            .map(|(index, stage)| {
                let (head, predictor) = (path / "box_head", path / "box_predictor");
                let (head, predictor) = match config.cascade {
                    true => (head / index, predictor / index),
                    false => (head, predictor),
                };
                let matcher = Matcher {
                    thresholds: vec![stage.overlap],
                    labels: vec![0, 1],
                    allow_low_quality: false,
                };
                (BoxHead::new(&head, &predictor, config, stage), matcher)
            })
            .collect();
        Self {
            stages,
            mask: config
                .masks
                .then(|| MaskHead::new(&(path / "mask_head"), config)),
            config: config.roi.clone(),
            classes: config.classes,
        }
    }

    /// Labels a picture's regions by overlap `stage` asks for.
    fn label(&self, stage: usize, boxes: Vec<BoxF>, objects: &[Instance]) -> SampledRegions {
        let bounds: Vec<BoxF> = objects.iter().map(|object| object.bounds).collect();
        let Matched { index, label } = self.stages[stage].1.match_boxes(&bounds, &boxes);
        let class = |(at, label): (&u32, &i8)| match label {
            1 => objects[*at as usize].class as i64,
            _ => self.classes as i64,
        };
        let classes = index.iter().zip(&label).map(class).collect();
        SampledRegions {
            boxes,
            classes,
            matched: index,
        }
    }

    /// Adds a picture's objects to its proposals and samples regions for the losses: those on objects
    /// first, then background.
    pub fn sample(
        &self,
        proposals: &Proposals,
        objects: &[Instance],
        order: &Order,
    ) -> SampledRegions {
        let mut boxes = proposals.boxes.clone();
        boxes.extend(objects.iter().map(|object| object.bounds));
        let all = self.label(0, boxes, objects);
        let (positive, negative) = subsample(
            &all.classes,
            self.config.batch_per_picture,
            self.config.positive_fraction,
            self.classes as i64,
            order,
        );
        let picked = || positive.iter().chain(&negative);
        SampledRegions {
            boxes: picked().map(|at| all.boxes[*at]).collect(),
            classes: picked().map(|at| all.classes[*at]).collect(),
            matched: picked().map(|at| all.matched[*at]).collect(),
        }
    }

    /// What the box heads look at: regions of each picture to `[R, C, 7, 7]`.
    pub fn pool(&self, levels: &[FeatureLevel], regions: &[Vec<BoxF>]) -> Tensor {
        pool(levels, regions, BOX_BINS, self.config.sampling_ratio)
    }

    /// A head's features `[R, width]` of regions, and what it says about them.
    fn run_stage(
        &self,
        stage: usize,
        levels: &[FeatureLevel],
        regions: &[Vec<BoxF>],
    ) -> (Tensor, BoxOutput) {
        let head = &self.stages[stage].0;
        let mut pooled = self.pool(levels, regions);
        if self.stages.len() > 1 && pooled.requires_grad() {
            // Every stage sends back an equal share of its gradient, while its own parameters get all.
            let value = pooled.detach();
            pooled = (&pooled - &value) / self.stages.len() as f64 + value;
        }
        let features = head.features(&pooled);
        let output = head.predict(&features);
        (features, output)
    }

    /// Named losses of sampled regions, one entry of `regions` for each picture.
    ///
    /// # Errors
    /// When an object has no outline, or one that cannot be rasterised.
    pub fn losses(
        &self,
        levels: &[FeatureLevel],
        regions: Vec<SampledRegions>,
        targets: &[Target],
    ) -> Result<Vec<(String, Tensor)>, crate::DetectionError> {
        let bounds: Vec<Vec<BoxF>> = targets
            .iter()
            .map(|target| target.objects.iter().map(|object| object.bounds).collect())
            .collect();
        let mut losses = Vec::new();
        let mut refined: Option<Vec<SampledRegions>> = None;
        for stage in 0..self.stages.len() {
            let current = refined.as_deref().unwrap_or(&regions);
            let boxes: Vec<Vec<BoxF>> = current.iter().map(|r| r.boxes.clone()).collect();
            let (_, output) = self.run_stage(stage, levels, &boxes);
            let parts = self.stages[stage].0.losses(&output, current, &bounds);
            for (name, loss) in ["loss_cls", "loss_box_reg"].into_iter().zip(parts) {
                let name = match self.stages.len() {
                    1 => name.to_owned(),
                    _ => format!("{name}_stage{stage}"),
                };
                losses.push((name, loss));
            }
            if stage + 1 < self.stages.len() {
                let refine = |(boxes, target): (Vec<BoxF>, &Target)| {
                    // An empty box would teach nothing.
                    let boxes = boxes
                        .into_iter()
                        .filter(|of| is_nonempty(of, 0.0))
                        .collect();
                    self.label(stage + 1, boxes, target.objects)
                };
                let sizes: Vec<(usize, usize)> = targets.iter().map(|target| target.size).collect();
                let decoded =
                    tch::no_grad(|| self.stages[stage].0.decode(&output, &boxes.concat()));
                let next = clipped(&decoded, &boxes, &sizes);
                refined = Some(next.into_iter().zip(targets).map(refine).collect());
            }
        }
        if let Some(head) = &self.mask {
            losses.push((
                "loss_mask".into(),
                self.mask_loss(head, levels, &regions, targets)?,
            ));
        }
        Ok(losses)
    }

    fn mask_loss(
        &self,
        head: &MaskHead,
        levels: &[FeatureLevel],
        regions: &[SampledRegions],
        targets: &[Target],
    ) -> Result<Tensor, crate::DetectionError> {
        let mut samples = MaskSamples::default();
        let mut boxes = Vec::new();
        let mut names = Vec::new();
        for (sampled, target) in regions.iter().zip(targets) {
            let first = samples.boxes.len();
            for (at, class) in sampled.classes.iter().enumerate() {
                if *class == self.classes as i64 {
                    continue;
                }
                let object = &target.objects[sampled.matched[at] as usize];
                let Some(mask) = &object.mask else {
                    return Err(crate::DetectionError::NoMask {
                        name: target.name.to_owned(),
                    });
                };
                samples.boxes.push(sampled.boxes[at]);
                samples.classes.push(*class);
                samples.masks.push(mask);
                names.push(target.name);
            }
            boxes.push(samples.boxes[first..].to_vec());
        }
        let pooled = pool(levels, &boxes, MASK_BINS, self.config.sampling_ratio);
        let logits = head.forward(&pooled, &samples.classes);
        head.loss(&logits, &samples)
            .map_err(|source| crate::DetectionError::MaskTarget {
                name: names
                    .get(source.instance)
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
                source,
            })
    }

    /// What each box head says about proposals, over all pictures, first to last; each but the first
    /// looks at the boxes of the one before, clipped to their pictures.
    pub fn stages(
        &self,
        levels: &[FeatureLevel],
        proposals: &[Vec<BoxF>],
        sizes: &[(usize, usize)],
    ) -> Vec<StageOutput> {
        let mut regions = proposals.to_vec();
        let mut outputs = Vec::with_capacity(self.stages.len());
        for (index, (head, _)) in self.stages.iter().enumerate() {
            let (features, output) = self.run_stage(index, levels, &regions);
            let boxes = tch::no_grad(|| head.decode(&output, &regions.concat()));
            if index + 1 < self.stages.len() {
                // Empty boxes stay: the stages' scores are added row by row.
                regions = clipped(&boxes, &regions, sizes);
            }
            outputs.push(StageOutput {
                features,
                output,
                boxes,
            });
        }
        outputs
    }

    /// Class probabilities `[R, K + 1]` and boxes `[R, K * 4]` (or `[R, 4]`) of proposals, over all
    /// pictures: the mean of the stages' probabilities, the last stage's boxes.
    fn classify(
        &self,
        levels: &[FeatureLevel],
        proposals: &[Vec<BoxF>],
        sizes: &[(usize, usize)],
    ) -> (Tensor, Tensor) {
        let mut stages = self.stages(levels, proposals, sizes);
        let count = stages.len() as f64;
        let last = stages.pop().expect("there is at least one box head");
        let probabilities = |of: &StageOutput| of.output.scores.softmax(-1, Kind::Float);
        let sum = stages
            .iter()
            .map(probabilities)
            .reduce(|sum, more| sum + more);
        let scores = match sum {
            Some(sum) => (sum + probabilities(&last)) * (1.0 / count),
            None => probabilities(&last),
        };
        (scores, last.boxes)
    }

    /// Detections of each picture out of its proposals, in pixels of the network's picture.
    pub fn detect(
        &self,
        levels: &[FeatureLevel],
        proposals: &[Vec<BoxF>],
        sizes: &[(usize, usize)],
        score_threshold: f64,
    ) -> Vec<Detections> {
        let (scores, boxes) = self.classify(levels, proposals, sizes);
        let (scores, boxes) = (to_floats(&scores), to_floats(&boxes));
        let total: usize = proposals.iter().map(Vec::len).sum();
        let per_row = boxes.len().checked_div(total).unwrap_or(4);
        let mut first = 0;
        proposals
            .iter()
            .zip(sizes)
            .map(|(of_picture, size)| {
                let rows = first..first + of_picture.len();
                first = rows.end;
                filter_detections(
                    &boxes[rows.start * per_row..rows.end * per_row],
                    &scores[rows.start * (self.classes + 1)..rows.end * (self.classes + 1)],
                    self.classes,
                    *size,
                    score_threshold,
                    self.config.nms_threshold,
                    self.config.max_detections,
                )
            })
            .collect()
    }

    /// Mask logits `[N, 28, 28]` of boxes with classes, picture by picture; none without a mask head.
    pub fn mask_logits(
        &self,
        levels: &[FeatureLevel],
        boxes: &[Vec<BoxF>],
        classes: &[i64],
    ) -> Option<Tensor> {
        let head = self.mask.as_ref()?;
        let pooled = pool(levels, boxes, MASK_BINS, self.config.sampling_ratio);
        Some(head.forward(&pooled, classes))
    }
}
