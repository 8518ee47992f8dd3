//! What the layers of trunks have learnt, measured on labelled pictures: how well classes can be read off each
//! layer, what its heads attend to, and how alike layers are, within a trunk and between trunks.
//!
//! The paper's claims on layers (arXiv 2303.08817, section 4) as numbers. Nothing keeps more than one picture's
//! part of a set in memory but [`Study`], which keeps the pooled features of the pictures it looks at; the
//! pictures that teach ([`Neighbours`], [`LinearProbes`]) stream by, the second time from a [`FeatureStore`].

mod attention;
mod cka;
mod linear;
mod neighbours;
mod observe;
mod rank;
mod store;
mod study;

pub use attention::{AttentionMeasures, attention_measures};
pub use cka::Cka;
pub use linear::{LinearConfig, LinearProbes};
pub use neighbours::Neighbours;
pub use observe::{Observation, ObserveTask, Pool, Subject, TrunkObservation};
pub use rank::effective_rank;
pub use store::FeatureStore;
pub use study::{AttentionProfile, Study, Teaching};
