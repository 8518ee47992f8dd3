//! Image classification on the ViT trunk: fine-tuning, linear probing, evaluation, prediction.
//!
//! Model, losses and learning-rate rule are those of facebookresearch/mae (`models_vit.py`,
//! `main_finetune.py`, `main_linprobe.py`); parameter names too, so that its checkpoints load.

mod config;
mod error;
mod evaluate;
mod losses;
mod model;
mod policy;
mod predict;
mod probe;
mod task;

pub use config::{ClassifierConfig, Pool};
pub use error::ClassificationError;
pub use evaluate::{Evaluation, EvaluationFiles, evaluate};
pub use losses::{Target, cross_entropy, label_smoothing_cross_entropy, soft_target_cross_entropy};
pub use model::{Classifier, trainable_values};
pub use policy::{decays, layer_decay_policy};
pub use predict::{ClassPrediction, PictureClasses, RankedClass};
pub use task::{ClassificationBatch, ClassificationTask};
