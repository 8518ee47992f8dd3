//! Run-length encoded masks, compared with pycocotools, hotcoco and cocotools, and by themselves.

mod golden;
mod hotcoco_differential;
mod misuse;
mod properties;
