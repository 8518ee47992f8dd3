//! COCO metrics against pycocotools' recordings and against hotcoco, and what bad files come to.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod diagnosis;
mod differential;
mod draw;
mod errors;
mod golden;
mod resample;
