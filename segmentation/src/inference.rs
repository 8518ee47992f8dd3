//! From a picture to its label map: windows, mirror images, sizes, and the way back to the picture's own
//! size.
//!
//! Source: mmsegmentation `models/segmentors/encoder_decoder.py::slide_inference, whole_inference,
//! postprocess_result` and `seg_tta.py`. Parity: `upernet`, slide.

use data::RgbImage;
use tch::{Device, Kind, Tensor};

use crate::config::{InferenceMode, SegmentorConfig, TestTime};
use crate::conv::resize;
use crate::error::SegmentationError;
use crate::model::Segmentor;

/// Classes whose logits are enlarged to a picture's size together; all of ADE20K's at 2048 pixels would
/// take gigabytes.
const CLASSES_AT_ONCE: i64 = 16;

/// Pixels from 0 to 255, `[3, height, width]`, normalised with the model's mean and deviation.
pub(crate) fn normalised(config: &SegmentorConfig, image: &RgbImage, device: Device) -> Tensor {
    let numbers = |of: [f64; 3]| {
        Tensor::from_slice(&of)
            .to_kind(Kind::Float)
            .to_device(device)
            .view([3, 1, 1])
    };
    let pixels = Tensor::from_slice(&image.pixels)
        .to_device(device)
        .view([image.height as i64, image.width as i64, 3])
        .permute([2, 0, 1])
        .to_kind(Kind::Float);
    (pixels - numbers(config.pixel_mean)) / numbers(config.pixel_std)
}

/// Where windows of `side` begin along an axis of `length`, `stride` apart; the last ends with the axis.
fn window_starts(length: i64, side: i64, stride: i64) -> Vec<i64> {
    let steps =
        (length - side).max(0).div_euclid(stride) + i64::from((length - side).max(0) % stride > 0);
    (0..=steps)
        .map(|step| (step * stride).min(length - side).max(0))
        .collect()
}

impl Segmentor {
    /// Logits of a normalised picture `[3, H, W]` at its own size, `[classes, H, W]`: the mean over
    /// overlapping windows. A side shorter than the window is filled up with zeros, which is the mean
    /// colour.
    pub fn slide(&self, image: &Tensor, stride: i64, windows_at_once: usize) -> Tensor {
        let side = self.config().trunk.image_size;
        let (_, height, width) = image.size3().expect("a picture is [3, H, W]");
        let (tall, wide) = (height.max(side), width.max(side));
        let padded = image.constant_pad_nd([0, wide - width, 0, tall - height]);
        let windows: Vec<(i64, i64)> = window_starts(tall, side, stride)
            .into_iter()
            .flat_map(|y| {
                window_starts(wide, side, stride)
                    .into_iter()
                    .map(move |x| (y, x))
            })
            .collect();
        let classes = self.config().classes as i64;
        let options = (Kind::Float, image.device());
        let mut sum = Tensor::zeros([classes, tall, wide], options);
        let count = Tensor::zeros([1, tall, wide], options);
        let cut = |of: &Tensor, (y, x): (i64, i64)| of.narrow(1, y, side).narrow(2, x, side);
        for windows in windows.chunks(windows_at_once.max(1)) {
            let inputs: Vec<Tensor> = windows.iter().map(|at| cut(&padded, *at)).collect();
            let logits = self.logits(&Tensor::stack(&inputs, 0));
            for (index, at) in (0..).zip(windows) {
                let logits = resize(&logits.narrow(0, index, 1), (side, side));
                let _ = cut(&sum, *at).g_add_(&logits.squeeze_dim(0));
                let _ = cut(&count, *at).g_add_scalar_(1);
            }
        }
        let mean = sum.g_div_(&count);
        mean.narrow(1, 0, height).narrow(2, 0, width)
    }

    /// Logits of a normalised picture `[3, H, W]` that fits the network, at its own size.
    fn whole(&self, image: &Tensor) -> Tensor {
        let side = self.config().trunk.image_size;
        let (_, height, width) = image.size3().expect("a picture is [3, H, W]");
        let padded = image.constant_pad_nd([0, side - width, 0, side - height]);
        let logits = self.logits(&padded.unsqueeze(0));
        resize(&logits, (side, side))
            .squeeze_dim(0)
            .narrow(1, 0, height)
            .narrow(2, 0, width)
    }

    fn look(&self, image: &Tensor, test: &TestTime) -> Tensor {
        match test.mode {
            InferenceMode::Whole => self.whole(image),
            InferenceMode::Slide => {
                let stride = test.stride(self.config().trunk.image_size);
                self.slide(image, stride, test.windows_at_once)
            }
        }
    }

    /// The label map of a picture in its own size `(height, width)`, row by row, out of views of it: the
    /// picture at one or several sizes. Logits are enlarged to the picture's size before the largest is
    /// taken; where there are several views or mirror images, their probabilities are averaged.
    ///
    /// # Errors
    /// When a view does not fit a network that takes pictures whole; `name` is for the message.
    pub fn label_map(
        &self,
        name: &str,
        views: &[RgbImage],
        size: (usize, usize),
        test: &TestTime,
        device: Device,
    ) -> Result<Vec<u8>, SegmentationError> {
        let _no_grad = tch::no_grad_guard();
        let side = self.config().trunk.image_size as usize;
        if test.mode == InferenceMode::Whole
            && let Some(view) = views
                .iter()
                .find(|view| view.width > side || view.height > side)
        {
            return Err(SegmentationError::Picture {
                name: name.to_owned(),
                width: view.width,
                height: view.height,
                side,
                remedy: "set test_time.mode = \"slide\", or let data.eval_transform make pictures smaller",
            });
        }
        let size = (size.0 as i64, size.1 as i64);
        let mut looks = Vec::new();
        for view in views {
            let image = normalised(self.config(), view, device);
            if views.len() == 1 && !test.flip {
                return Ok(to_bytes(&best_class(&self.look(&image, test), size)));
            }
            looks.push((image.shallow_clone(), false));
            if test.flip {
                looks.push((image.flip([2]), true));
            }
        }
        let sum = looks
            .into_iter()
            .map(|(image, mirrored)| {
                let logits = self.look(&image, test);
                let logits = if mirrored { logits.flip([2]) } else { logits };
                resize(&logits.unsqueeze(0), size)
                    .softmax(1, Kind::Float)
                    .squeeze_dim(0)
            })
            .reduce(|sum, next| sum.g_add(&next))
            .expect("a picture is looked at");
        Ok(to_bytes(&sum.argmax(0, false)))
    }
}

/// The class of the largest logit at each pixel once `logits [classes, h, w]` are enlarged to `size`:
/// int64 `[H, W]`. The first of equal ones counts. A few classes are enlarged at a time.
pub fn best_class(logits: &Tensor, size: (i64, i64)) -> Tensor {
    let classes = logits.size()[0];
    let mut best: Option<(Tensor, Tensor)> = None;
    for first in (0..classes).step_by(CLASSES_AT_ONCE as usize) {
        let part = logits.narrow(0, first, CLASSES_AT_ONCE.min(classes - first));
        let (value, class) = resize(&part.unsqueeze(0), size)
            .squeeze_dim(0)
            .max_dim(0, false);
        let class = class + first;
        best = Some(match best {
            None => (value, class),
            Some((before, class_before)) => {
                let larger = value.gt_tensor(&before);
                (
                    value.where_self(&larger, &before),
                    class.where_self(&larger, &class_before),
                )
            }
        });
    }
    best.expect("a model has a class").1
}

fn to_bytes(labels: &Tensor) -> Vec<u8> {
    let labels = labels
        .to_kind(Kind::Uint8)
        .to_device(Device::Cpu)
        .flatten(0, -1)
        .contiguous();
    Vec::try_from(labels).expect("labels are bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mmsegmentation's count is `max(length - side + stride - 1, 0) / stride + 1`.
    #[test]
    fn windows_cover_an_axis_and_the_last_one_ends_with_it() {
        assert_eq!(window_starts(996, 512, 341), [0, 341, 484]);
        assert_eq!(window_starts(640, 512, 341), [0, 128]);
        assert_eq!(window_starts(512, 512, 341), [0]);
        assert_eq!(window_starts(853, 512, 341), [0, 341]);
        for (length, side, stride) in [(7, 3, 2), (100, 9, 9), (11, 4, 1)] {
            let starts = window_starts(length, side, stride);
            let wanted = (length - side + stride - 1) / stride + 1;
            assert_eq!(starts.len() as i64, wanted);
            assert_eq!(starts.last(), Some(&(length - side)));
        }
    }

    #[test]
    fn taking_classes_in_parts_changes_nothing() {
        tch::manual_seed(8);
        let logits = Tensor::randn([37, 5, 6], (Kind::Float, Device::Cpu));
        // Equal logits in different parts: the first class counts.
        logits.get(36).copy_(&logits.get(3));
        let wanted = resize(&logits.unsqueeze(0), (13, 11))
            .squeeze_dim(0)
            .argmax(0, false);
        assert!(best_class(&logits, (13, 11)).equal(&wanted));
    }
}
