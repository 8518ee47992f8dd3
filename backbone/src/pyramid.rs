//! The simple feature pyramid: maps of strides 4 to 64 out of one map of stride 16.
//!
//! Source: ViTDet (arXiv 2203.16527), section 3; detectron2 `modeling/backbone/vit.py::
//! SimpleFeaturePyramid`. Parity: `vitdet`, p2 to p6. Maps are channels last in memory (but see
//! [`convolve_map`]): the norms over channels then read contiguous numbers and nothing is transposed.

use tch::{Device, Tensor, nn, nn::Init};

/// Epsilon of detectron2's channel LayerNorm.
const NORM_EPS: f64 = 1e-6;

/// LayerNorm over the channels of `[B, C, H, W]`: parameters `weight` (ones) and `bias` (zeros).
#[derive(Debug)]
pub struct ChannelNorm {
    weight: Tensor,
    bias: Tensor,
}

impl ChannelNorm {
    /// Adds the parameters under `path`.
    pub fn new(path: &nn::Path, channels: i64) -> Self {
        Self {
            weight: path.var("weight", &[channels], Init::Const(1.0)),
            bias: path.var("bias", &[channels], Init::Const(0.0)),
        }
    }

    /// Normalises the channels at every place, in the type of its parameters: under autocast, too.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        x.permute([0, 2, 3, 1])
            .to_kind(self.weight.kind())
            .layer_norm(
                self.weight.size(),
                Some(&self.weight),
                Some(&self.bias),
                NORM_EPS,
                true,
            )
            .permute([0, 3, 1, 2])
    }
}

/// Cells from which on a map is large.
const LARGE_MAP: i64 = 64 * 64;

/// A convolution of stride 1 and as much padding as keeps the size of a map `[B, inputs, H, W]`:
/// `weight [outputs, inputs, k, k]`, `k` odd.
///
/// Where a gradient will be asked for on a CPU, a large map is laid out row by row first: oneDNN's
/// gradient of the weights takes several times as long over a large map that is channels last.
///
/// # Panics
/// When the shapes do not fit together.
pub fn convolve_map(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (kernel, size) = (weight.size()[2], x.size());
    let slow = kernel > 1 && size[2] * size[3] >= LARGE_MAP;
    let pad = [kernel / 2; 2];
    let convolve = |x: &Tensor| x.conv2d(weight, bias, [1, 1], pad, [1, 1], 1);
    match x.device() {
        Device::Cpu if slow && x.requires_grad() => convolve(&x.contiguous()),
        _ => convolve(x),
    }
}

/// A convolution without bias, stride 1 and as much padding as keeps the size, then a norm over
/// channels: parameters `weight [outputs, inputs, k, k]` (He normal for the outgoing connections, as
/// `c2_msra_fill`) and `norm.*`.
#[derive(Debug)]
pub struct NormedConv {
    weight: Tensor,
    norm: ChannelNorm,
}

impl NormedConv {
    /// Adds the parameters under `path`; `kernel` is odd.
    pub fn new(path: &nn::Path, inputs: i64, outputs: i64, kernel: i64, init: Init) -> Self {
        Self {
            weight: path.var("weight", &[outputs, inputs, kernel, kernel], init),
            norm: ChannelNorm::new(&(path / "norm"), outputs),
        }
    }

    /// `[B, inputs, H, W] -> [B, outputs, H, W]`.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        self.norm.forward(&convolve_map(x, &self.weight, None))
    }
}

/// A map and the pixels one of its cells stands for.
#[derive(Debug)]
pub struct FeatureLevel {
    /// `[B, C, H, W]`.
    pub map: Tensor,
    /// Pixels of the picture along one side of a cell.
    pub stride: i64,
}

/// Doubles height and width: parameters `weight [inputs, outputs, 2, 2]` and `bias [outputs]`.
#[derive(Debug)]
pub(crate) struct Doubling {
    weight: Tensor,
    bias: Tensor,
}

impl Doubling {
    pub(crate) fn new(path: &nn::Path, inputs: i64, outputs: i64) -> Self {
        let init = default_conv_init(outputs * 4);
        Self {
            weight: path.var("weight", &[inputs, outputs, 2, 2], init),
            bias: path.var("bias", &[outputs], init),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.conv_transpose2d(
            &self.weight,
            Some(&self.bias),
            [2, 2],
            [0, 0],
            [0, 0],
            1,
            [1, 1],
        )
    }
}

/// PyTorch's own start of convolutions and their biases: uniform within `1 / sqrt(fan in)`.
fn default_conv_init(fan_in: i64) -> Init {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Init::Uniform {
        lo: -bound,
        up: bound,
    }
}

/// What happens to the trunk's map before the two convolutions.
#[derive(Debug)]
enum Rescale {
    Quadruple(Doubling, ChannelNorm, Doubling),
    Double(Doubling),
    Keep,
    Halve,
}

impl Rescale {
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Quadruple(first, norm, second) => {
                second.forward(&norm.forward(&first.forward(x)).gelu("none"))
            }
            Self::Double(layer) => layer.forward(x),
            Self::Keep => x.shallow_clone(),
            Self::Halve => x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
        }
    }
}

#[derive(Debug)]
struct Stage {
    rescale: Rescale,
    reduce: NormedConv,
    smooth: NormedConv,
}

/// Five maps, p2 to p6, of equal channels.
#[derive(Debug)]
pub struct SimpleFeaturePyramid {
    stages: Vec<Stage>,
    patch: i64,
}

impl SimpleFeaturePyramid {
    /// Adds the stages `simfp_2` to `simfp_5` under `path`, for a trunk of `width` channels and patches
    /// of `patch` pixels (the numbers in the names are those of patches of 16).
    pub fn new(path: &nn::Path, width: i64, channels: i64, patch: i64) -> Self {
        let stage = |name: &str, make: &dyn Fn(&nn::Path) -> (Rescale, i64, i64)| {
            let path = path / name;
            // Layers without parameters count in the numbering of the reference's sequence.
            let (rescale, inputs, next) = make(&path);
            let conv = |at: i64, inputs, kernel| {
                // detectron2 leaves these two at PyTorch's start.
                let init = default_conv_init(inputs * kernel * kernel);
                NormedConv::new(&(&path / at), inputs, channels, kernel, init)
            };
            Stage {
                rescale,
                reduce: conv(next, inputs, 1),
                smooth: conv(next + 1, channels, 3),
            }
        };
        let stages = vec![
            stage("simfp_2", &|path| {
                let first = Doubling::new(&(path / 0), width, width / 2);
                let norm = ChannelNorm::new(&(path / 1), width / 2);
                let second = Doubling::new(&(path / 3), width / 2, width / 4);
                (Rescale::Quadruple(first, norm, second), width / 4, 4)
            }),
            stage("simfp_3", &|path| {
                let layer = Doubling::new(&(path / 0), width, width / 2);
                (Rescale::Double(layer), width / 2, 1)
            }),
            stage("simfp_4", &|_| (Rescale::Keep, width, 0)),
            stage("simfp_5", &|_| (Rescale::Halve, width, 1)),
        ];
        Self { stages, patch }
    }

    /// The trunk's map `[B, C, H, W]` to five levels `[B, channels, ..]`, finest first.
    pub fn forward(&self, map: &Tensor) -> Vec<FeatureLevel> {
        let strides = [self.patch / 4, self.patch / 2, self.patch, self.patch * 2];
        let mut levels: Vec<FeatureLevel> = self
            .stages
            .iter()
            .zip(strides)
            .map(|(stage, stride)| FeatureLevel {
                map: stage
                    .smooth
                    .forward(&stage.reduce.forward(&stage.rescale.forward(map))),
                stride,
            })
            .collect();
        let coarsest = &levels[levels.len() - 1];
        levels.push(FeatureLevel {
            // A pool of one cell at stride 2: every other cell.
            map: coarsest
                .map
                .max_pool2d([1, 1], [2, 2], [0, 0], [1, 1], false),
            stride: coarsest.stride * 2,
        });
        levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn levels_have_the_strides_they_say() {
        let store = nn::VarStore::new(Device::Cpu);
        let pyramid = SimpleFeaturePyramid::new(&store.root(), 16, 8, 16);
        let map = Tensor::randn([2, 16, 8, 6], (Kind::Float, Device::Cpu));
        let found: Vec<(i64, Vec<i64>)> = pyramid
            .forward(&map)
            .iter()
            .map(|level| (level.stride, level.map.size()))
            .collect();
        let size = |h, w| vec![2, 8, h, w];
        assert_eq!(
            found,
            [
                (4, size(32, 24)),
                (8, size(16, 12)),
                (16, size(8, 6)),
                (32, size(4, 3)),
                (64, size(2, 2))
            ]
        );
    }
}
