//! Paired bootstrap over images: intervals of a score and of differences between scores.
