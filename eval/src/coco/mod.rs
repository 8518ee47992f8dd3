//! COCO detection metrics for boxes and masks.
