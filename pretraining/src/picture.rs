//! Pictures of reconstructions: one row a sample, with the original, what the encoder saw, and each
//! tap's prediction put where the picture was hidden.
//!
//! Source: facebookresearch/mae `demo/mae_visualize.ipynb`. What is no picture is shown as heat, dark where a
//! prediction is far from its target and bright where it is near: [`Shown`].

use data::{ColourStatistics, RgbImage};
use tch::{Device, Kind, Tensor};

use crate::masking::Masking;
use crate::model::MaskedAutoencoder;
use crate::pixels::{patchify, unpatchify};
use crate::target::{Seen, Shown};

/// Rows drawn of a batch.
const MOST_SAMPLES: i64 = 8;
/// Small pictures are enlarged by whole factors up to about this side, in pixels.
const SHOWN_SIDE: i64 = 112;
/// White pixels between pictures.
const GAP: i64 = 4;
/// Value of hidden patches in the second column.
const GREY: f64 = 0.5;

/// Draws the first samples of a batch, whose pictures are normalised with `colours`.
pub fn draw_reconstructions(
    model: &MaskedAutoencoder,
    seen: Seen,
    noise: &Tensor,
    colours: &ColourStatistics,
) -> RgbImage {
    let shown = seen.images.size()[0].min(MOST_SAMPLES);
    let images = seen.images.narrow(0, 0, shown);
    let tokens = seen.tokens.map(|tokens| tokens.narrow(0, 0, shown));
    let first = Seen {
        images: &images,
        tokens: tokens.as_ref(),
    };
    let masking = Masking::new(&noise.narrow(0, 0, shown), model.config().mask_ratio);
    let patch = model.config().trunk.patch_size;
    let columns = tch::no_grad(|| {
        let originals = patchify(&images, patch); // [B, L, p * p * 3], normalised colours
        let hidden = masking.mask().to_kind(Kind::Bool).unsqueeze(-1); // [B, L, 1]
        let true_colours = |patches: &Tensor| true_colours(patches, colours);
        let seen = true_colours(&originals);
        let mut columns = vec![seen.shallow_clone(), seen.masked_fill(&hidden, GREY)];
        for (place, prediction) in model.predict_all(&images, &masking).iter().enumerate() {
            let prediction = prediction.narrow(1, 1, prediction.size()[1] - 1); // [B, L, P]
            let guess = match model.target(place).shown(&prediction, first) {
                Shown::Colours(colours) => true_colours(&colours),
                Shown::Nearness(near) => heat(&near).repeat([1, 1, patch * patch]),
            };
            columns.push(guess.where_self(&hidden, &seen));
        }
        columns
            .iter()
            .map(|patches| unpatchify(patches, patch))
            .collect::<Vec<_>>()
    });
    arrange(&columns)
}

/// Normalised colours to 0..1; the last dimension holds pixels with the channel last.
fn true_colours(patches: &Tensor, colours: &ColourStatistics) -> Tensor {
    let pixels = patches.size()[2] / 3;
    let per_value = |three: &[f32; 3]| {
        Tensor::from_slice(three)
            .repeat([pixels])
            .to_device(patches.device())
    };
    patches * per_value(&colours.std) + per_value(&colours.mean)
}

/// Cosines `[B, L]` as colours `[B, L, 3]`, from black at 0 over violet and orange to pale yellow at 1.
fn heat(cosines: &Tensor) -> Tensor {
    const STOPS: [[f64; 3]; 5] = [
        [0.0, 0.0, 0.0],
        [0.34, 0.06, 0.43],
        [0.74, 0.22, 0.33],
        [0.98, 0.56, 0.04],
        [0.99, 1.0, 0.64],
    ];
    let place = cosines.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let channel = |c: usize| {
        // A ramp between stops k and k + 1 is the part of `place` within that interval.
        (0..STOPS.len() - 1).fold(Tensor::full_like(&place, STOPS[0][c]), |sum, k| {
            sum + (&place - k as f64).clamp(0.0, 1.0) * (STOPS[k + 1][c] - STOPS[k][c])
        })
    };
    Tensor::stack(&[channel(0), channel(1), channel(2)], -1)
}

/// Columns of `[B, 3, H, W]`, values 0..1, as one picture.
fn arrange(columns: &[Tensor]) -> RgbImage {
    let (batch, _, height, width) = columns[0].size4().expect("columns are pictures");
    let factor = (SHOWN_SIDE / width.max(height)).max(1);
    let (height, width) = (height * factor, width * factor);
    let total = |count: i64, side: i64| count * (side + GAP) + GAP;
    let (rows, breadth) = (total(batch, height), total(columns.len() as i64, width));
    let canvas = Tensor::full([3, rows, breadth], 255, (Kind::Uint8, Device::Cpu));
    for (column, pictures) in (0i64..).zip(columns) {
        let bytes = (pictures * 255.0)
            .round()
            .clamp(0.0, 255.0)
            .to_kind(Kind::Uint8);
        let bytes = bytes
            .to_device(Device::Cpu)
            .repeat_interleave_self_int(factor, 2, None)
            .repeat_interleave_self_int(factor, 3, None);
        for row in 0..batch {
            canvas
                .narrow(1, GAP + row * (height + GAP), height)
                .narrow(2, GAP + column * (width + GAP), width)
                .copy_(&bytes.get(row));
        }
    }
    let bytes = canvas.permute([1, 2, 0]).contiguous().view([-1]);
    let pixels = Vec::<u8>::try_from(bytes).expect("a canvas is bytes on the host");
    RgbImage {
        width: breadth as usize,
        height: rows as usize,
        pixels,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_runs_from_black_to_pale_yellow_through_its_stops() {
        let cosines = Tensor::from_slice(&[-0.5f32, 0.0, 0.25, 0.5, 1.0]).view([1, 5]);
        let colours = Vec::<f32>::try_from(heat(&cosines).reshape([-1])).unwrap();
        let wanted = [
            [0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0],
            [0.34, 0.06, 0.43],
            [0.74, 0.22, 0.33],
            [0.99, 1.0, 0.64],
        ];
        for (found, wanted) in colours.iter().zip(wanted.as_flattened()) {
            assert!((found - wanted).abs() < 1e-6, "{colours:?}");
        }
    }

    #[test]
    fn pictures_stand_in_a_grid_with_gaps() {
        let black = Tensor::zeros([2, 3, 56, 56], (Kind::Float, Device::Cpu));
        let picture = arrange(&[black.shallow_clone(), &black + 1.0]);
        assert_eq!((picture.width, picture.height), (2 * 116 + 4, 2 * 116 + 4));
        assert_eq!(picture.pixel(0, 0), [255; 3]);
        assert_eq!(picture.pixel(4, 4), [0; 3]);
        assert_eq!(picture.pixel(115, 115 + 116), [0; 3]);
        assert_eq!(picture.pixel(116, 50), [255; 3]);
    }
}
