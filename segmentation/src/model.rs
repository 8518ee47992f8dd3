//! The whole segmentor: trunk, necks, heads.
//!
//! Source: DeepMIM `Segmentation/backbone/mae.py` and mmsegmentation
//! `models/segmentors/encoder_decoder.py`. Parameter names are those of the released checkpoints, but for
//! layer scale (`ls1.gamma` instead of `gamma_1`), as everywhere here.

use backbone::{RescalingNecks, SumOverProcesses, Vit};
use tch::{Kind, Tensor, nn};

use crate::config::SegmentorConfig;
use crate::error::SegmentationError;
use crate::fcn_head::FcnHead;
use crate::losses::cross_entropy;
use crate::uper_head::UperHead;

/// UperNet on a tapped ViT trunk.
#[derive(Debug)]
pub struct Segmentor {
    trunk: Vit,
    necks: RescalingNecks,
    head: UperHead,
    auxiliary: Option<FcnHead>,
    config: SegmentorConfig,
}

/// Named losses of a batch and its pixel accuracies.
#[derive(Debug)]
pub struct SegmentorLosses {
    /// `decode.loss_ce` and, with an auxiliary head, `aux.loss_ce` (its weight applied); the objective is
    /// their sum.
    pub losses: Vec<(&'static str, Tensor)>,
    /// `decode.acc_seg` and `aux.acc_seg`, in percent of the labelled pixels.
    pub accuracies: Vec<(&'static str, Tensor)>,
}

impl Segmentor {
    /// Adds the parameters under `path`, initialised at random from libtorch's global generator.
    ///
    /// # Errors
    /// When [`SegmentorConfig::check`] refuses the configuration.
    pub fn new(path: &nn::Path, config: &SegmentorConfig) -> Result<Self, SegmentationError> {
        config.check()?;
        let backbone = path / "backbone";
        let (width, classes) = (config.trunk.width, config.classes as i64);
        let auxiliary = config.auxiliary.as_ref().map(|auxiliary| {
            let path = path / "auxiliary_head";
            FcnHead::new(&path, width, auxiliary, classes, config.dropout)
        });
        Ok(Self {
            trunk: Vit::new(&backbone, &config.trunk)?,
            necks: RescalingNecks::new(&backbone, width),
            head: UperHead::new(
                &(path / "decode_head"),
                width,
                config.channels,
                &config.pool_scales,
                classes,
                config.dropout,
            ),
            auxiliary,
            config: config.clone(),
        })
    }

    /// From now on training takes the statistics of BatchNorm over the batches of all processes.
    pub fn synchronise(&mut self, sum: &SumOverProcesses) {
        self.necks.synchronise(sum);
        self.head.synchronise(sum);
        if let Some(head) = &mut self.auxiliary {
            head.synchronise(sum);
        }
    }

    /// What the segmentor was built from.
    pub fn config(&self) -> &SegmentorConfig {
        &self.config
    }

    /// The head of the second loss.
    pub fn auxiliary(&self) -> Option<&FcnHead> {
        self.auxiliary.as_ref()
    }

    /// Normalised pictures `[B, 3, S, S]` of the trunk's size to four maps `[B, C, ..]` of strides 4, 8,
    /// 16 and 32 (for patches of 16 pixels).
    pub fn maps(&self, images: &Tensor, train: bool) -> [Tensor; 4] {
        let grid = self.config.trunk.grid();
        let taps = self.trunk.forward(images, &self.config.taps, train);
        let taps: Vec<Tensor> = taps
            .iter()
            .map(|tokens| {
                let (batch, count, width) = tokens.size3().expect("taps are [B, T, C]");
                tokens
                    .narrow(1, 1, count - 1) // without the class token
                    .reshape([batch, grid, grid, width])
                    .permute([0, 3, 1, 2])
            })
            .collect();
        let taps: [Tensor; 4] = taps.try_into().expect("four taps give four maps");
        self.necks.forward(&taps, train)
    }

    /// Logits at the size of the finest map: `[B, 3, S, S] -> [B, classes, S / 4, S / 4]` (for patches of
    /// 16 pixels).
    pub fn logits(&self, images: &Tensor) -> Tensor {
        self.head.forward(&self.maps(images, false), false)
    }

    /// Losses of pictures `[B, 3, S, S]` with labels `[B, S, S]` (int64, 255 ignored). `train` turns
    /// dropout, drop path and the batch's own statistics on.
    pub fn losses(&self, images: &Tensor, labels: &Tensor, train: bool) -> SegmentorLosses {
        let maps = self.maps(images, train);
        let labelled_only = self.config.average_labelled_only;
        let of_head = cross_entropy(&self.head.forward(&maps, train), labels, labelled_only);
        let mut result = SegmentorLosses {
            losses: vec![("decode.loss_ce", of_head.loss)],
            accuracies: vec![("decode.acc_seg", of_head.accuracy)],
        };
        if let (Some(head), Some(config)) = (&self.auxiliary, &self.config.auxiliary) {
            let logits = head.forward(&maps[config.map], train);
            let of_head = cross_entropy(&logits, labels, labelled_only);
            result
                .losses
                .push(("aux.loss_ce", of_head.loss * config.weight));
            result.accuracies.push(("aux.acc_seg", of_head.accuracy));
        }
        result
    }
}

impl SegmentorLosses {
    /// The objective.
    pub fn total(&self) -> Tensor {
        let mut total = Tensor::zeros([], (Kind::Float, self.losses[0].1.device()));
        for (_, loss) in &self.losses {
            total += loss;
        }
        total
    }
}
