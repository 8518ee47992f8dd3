//! Pre-trained weights in and out: checkpoints of the dialects users hold, without running
//! anybody's pickle.
//!
//! [`Checkpoint`] opens `.pth` (zip and legacy), `.pt` (state dict and TorchScript archive), `.pkl`
//! (numpy arrays) and `.safetensors` files and lists their tensors without reading them;
//! [`Dialect`] reads the weights under native names; [`load_into`] puts them into a model, strictly,
//! and [`load_trunk`] those of a trunk into a detector or a segmentor. [`StateDict::write`] writes `.safetensors`,
//! `.pth` and `.pkl` files that PyTorch and detectron2 open.
//!
//! The readers are written here, for four reasons: existing ones lack numpy pickles, TorchScript
//! archives, old wrapper classes or whole element types; a checkpoint's optimiser state should
//! never be read from the disk when only its trunk is wanted; a refusal should name what was asked
//! for; and one machine for all pickles is less to trust than two.
//!
//! Parity: `parity/golden/checkpoints` and `upernet`, bit-exact.

mod archive;
mod atomic;
mod bias_tables;
mod checkpoint;
mod convert;
mod dialect;
mod diff;
mod error;
mod fetch;
mod glob;
mod guess;
mod inspect;
mod kind;
mod legacy;
mod load;
mod names;
mod numpy_pickle;
mod pickle;
mod rebuild;
mod resample;
mod safetensors;
mod sniff;
mod state;
mod torch_save;
mod torch_zip;
mod trunk;
mod trunk_config;
mod walk;
mod write;
mod zip_writer;

pub use checkpoint::{Checkpoint, Format, TensorInfo};
pub use convert::{Conversion, ConvertOptions, Precision, convert};
pub use dialect::{Dialect, Translated};
pub use diff::{DiffSide, Difference, TensorDifference, diff, diff_states};
pub use error::WeightsError;
pub use guess::{Guess, VitShape};
pub use inspect::{Inspection, Statistics, TensorRow, inspect};
pub use kind::kind_name;
pub use load::{LoadOptions, LoadReport, Mismatch, ShapeChange, load_into};
pub use state::StateDict;
pub use trunk::{SEGMENTOR_TRUNK_BELOW, TRUNK_BELOW, load_trunk};
