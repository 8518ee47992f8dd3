//! Run-length encoded masks, compared with pycocotools, hotcoco and cocotools, and by themselves.

#![allow(clippy::unwrap_used)]

mod cocotools_finding;
mod golden;
mod hotcoco_differential;
mod misuse;
mod properties;
