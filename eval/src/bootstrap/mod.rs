//! Paired bootstrap over images: intervals of scores and of differences between systems.
//!
//! A resample draws as many images as there are, with replacement, and every system is scored on
//! the same draw. What two systems find hard in common cancels in their difference, which is why a
//! difference can be told from zero where the two intervals overlap widely.
//!
//! **Intervals** are percentile intervals (Efron and Tibshirani, *An Introduction to the
//! Bootstrap*, 1993, chapter 13), or basic ones where a score asks for it: see [`IntervalMethod`].
//! **P-values** are two-sided: twice the share of resampled differences on the far side of zero, as
//! the interval of the same method inverted gives it (the same, chapters 15 and 16), with one added
//! above and below so that no finite number of resamples claims certainty. **Several comparisons**
//! of one score are judged together by Holm's step-down adjustment (Scandinavian Journal of
//! Statistics 6, 1979, 65–70): with it the chance that any of them is called significant by luck
//! stays below one minus the confidence, however they depend on each other.
//!
//! **Undefined scores**, such as the AP of objects of which a resample has none, are left out of
//! the interval and counted; nothing is said where they are more than half of the resamples.
//!
//! An interval is about the choice of images alone. How much a second training with another seed
//! would differ is another question, to which only a second training knows the answer.

mod config;
mod draw;
mod overlaps;
mod resample;
mod result;

pub use config::{BootstrapConfig, BootstrapSize, IntervalMethod};
pub use draw::draw;
pub use overlaps::{ClassOverlap, ImageOverlaps, OverlapScores};
pub use resample::bootstrap;
pub use result::{Bootstrap, Difference, Interval, holm};
