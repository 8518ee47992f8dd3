//! Object detection and instance segmentation: ViTDet Mask R-CNN and Cascade Mask R-CNN on COCO.
