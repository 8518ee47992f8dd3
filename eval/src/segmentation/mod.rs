//! Semantic segmentation metrics.
