//! Run-length encoded masks, compared with pycocotools and hotcoco, and by themselves.

mod golden;
