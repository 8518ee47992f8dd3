//! Run-length encoded masks.
