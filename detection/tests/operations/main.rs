//! The operations of detection: against recordings of detectron2 and torchvision, against plain
//! implementations of the same rules, and on inputs without anything in them.

#![allow(clippy::unwrap_used)]

mod boxes;
mod golden;
mod masks;
mod pooling;
mod suppression;
mod targets;
mod views;
