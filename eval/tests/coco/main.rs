//! COCO metrics against pycocotools' recordings and against hotcoco, and what bad files come to.

#![allow(clippy::unwrap_used)]

mod golden;
