//! Training and evaluation by several processes, one for each device.
//!
//! The processes are started by any launcher that tells each its rank in the environment ([`Launch`]), and
//! meet as PyTorch's do ([`World`]). A recipe says what a step is, whoever makes it: its forward passes are
//! shared out among the processes ([`Share`]), so that their number changes neither the effective batch, the
//! learning rate nor the samples of a step.

mod launch;
mod share;
mod world;

pub use launch::Launch;
pub use share::Share;
pub use world::World;
