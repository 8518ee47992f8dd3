//! Wavy regions behind the objects of made-up pictures, each filled with a texture of its own.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Texture, contrasting, near};
use crate::image::RgbImage;

/// Regions, each told by its texture: colours, scale and direction change from picture to picture.
pub(crate) const REGIONS: [(Texture, &str); 4] = [
    (Texture::Plain, "sky"),
    (Texture::Waves, "water"),
    (Texture::Checks, "field"),
    (Texture::Dots, "sand"),
];

/// One region as it looks in one picture.
struct Region {
    class: u8,
    texture: Texture,
    colours: [[f32; 3]; 2],
    turn: [f32; 2],
    period: f32,
    phase: [f32; 2],
    /// Its lower border: height and slope, then size, length and start of two waves.
    border: [f32; 2],
    waves: [[f32; 3]; 2],
}

impl Region {
    fn draw(class: usize, border: f32, side: f32, plain: bool, rng: &mut ChaCha8Rng) -> Self {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        Self {
            class: class as u8 + 1,
            texture: REGIONS[class].0,
            colours: if plain { near(rng) } else { contrasting(rng) },
            turn: [angle.cos(), angle.sin()],
            period: (side * rng.random_range(0.05..0.1_f32)).max(4.0),
            phase: [rng.random(), rng.random()],
            border: [border, rng.random_range(-0.15..0.15)],
            waves: [0.05, 0.02].map(|size| {
                [
                    size * rng.random::<f32>(),
                    rng.random_range(0.6..3.0),
                    rng.random(),
                ]
            }),
        }
    }

    /// Height of the lower border at a column, both in shares of the picture's sides.
    fn bottom(&self, x: f32) -> f32 {
        let waves = self.waves.iter().map(|[size, length, start]| {
            size * ((x * length + start) * std::f32::consts::TAU).sin()
        });
        self.border[0] + self.border[1] * (x - 0.5) + waves.sum::<f32>()
    }

    fn colour(&self, x: f32, y: f32) -> [f32; 3] {
        let [cos, sin] = self.turn;
        let (u, v) = (
            (x * cos + y * sin) / self.period + self.phase[0],
            (y * cos - x * sin) / self.period + self.phase[1],
        );
        let share = self.texture.share(u, v, 1.0 / self.period);
        let [fill, pattern] = self.colours;
        [0, 1, 2].map(|c| fill[c] + share * (pattern[c] - fill[c]))
    }
}

/// The regions of one picture, from top to bottom.
pub(crate) struct Regions(Vec<Region>);

impl Regions {
    /// Two or three of the first `regions` regions, none twice; the only one where there is one. Plain ones are
    /// of little contrast.
    pub(crate) fn draw(
        (width, height): (usize, usize),
        regions: usize,
        plain: bool,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut order: Vec<usize> = (0..regions).collect();
        order.shuffle(rng);
        order.truncate(rng.random_range(2..=3));
        let share = 1.0 / order.len() as f32;
        let side = width.min(height) as f32;
        let regions = order.iter().enumerate().map(|(place, &class)| {
            let border = share * (place as f32 + rng.random_range(0.75..1.25_f32));
            Region::draw(class, border, side, plain, rng)
        });
        Self(regions.collect())
    }

    /// The picture of the regions; `labels` is filled with their numbers, row by row.
    pub(crate) fn paint(&self, (width, height): (usize, usize), labels: &mut [u8]) -> RgbImage {
        let mut image = RgbImage::new(width, height);
        for y in 0..height {
            let row = image.row_mut(y).as_chunks_mut::<3>().0;
            for x in 0..width {
                let [right, down] = [x, y].map(|v| v as f32 + 0.5);
                let place = [right / width as f32, down / height as f32];
                let region = self
                    .0
                    .iter()
                    .find(|region| place[1] < region.bottom(place[0]))
                    .unwrap_or(&self.0[self.0.len() - 1]);
                row[x] = region.colour(right, down).map(|v| v.round() as u8);
                labels[y * width + x] = region.class;
            }
        }
        image
    }
}
