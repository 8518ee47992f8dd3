//! Shapes and textures of the made-up pictures: a class is a shape filled with a texture.
//!
//! Colours, background, position, size, angle and noise carry no information about the class.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::image::RgbImage;

/// In plain pictures: how far objects are turned at most, in radians.
pub(crate) const PLAIN_TURN: f32 = 0.35;
/// In plain pictures: least difference in brightness between an object and what is behind it.
const PLAIN_CONTRAST: f32 = 60.0;
/// Greatest deviation of the grain of scenes.
pub(crate) const GRAIN: f32 = 6.0;
/// The same in plain pictures.
pub(crate) const PLAIN_GRAIN: f32 = 3.0;

/// Outlines, as signed distances (negative inside) in units of the shape's radius.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Disc,
    Square,
    Triangle,
    Ring,
    Cross,
    Star,
    Crescent,
    Bar,
}

impl Shape {
    pub(crate) const ALL: [(Self, &str); 8] = [
        (Self::Disc, "disc"),
        (Self::Square, "square"),
        (Self::Triangle, "triangle"),
        (Self::Ring, "ring"),
        (Self::Cross, "cross"),
        (Self::Star, "star"),
        (Self::Crescent, "crescent"),
        (Self::Bar, "bar"),
    ];

    /// Signed distance of a place to the outline.
    pub(crate) fn distance(self, x: f32, y: f32) -> f32 {
        let r = x.hypot(y);
        let slab =
            |half_width: f32, half_height: f32| (x.abs() - half_width).max(y.abs() - half_height);
        match self {
            Self::Disc => r - 0.85,
            Self::Square => slab(0.75, 0.75),
            Self::Triangle => (0.866 * x.abs() + 0.5 * y - 0.5).max(-y - 0.5),
            Self::Ring => (r - 0.72).abs() - 0.22,
            Self::Cross => slab(0.28, 0.95).min(slab(0.95, 0.28)),
            Self::Star => {
                let spike = (5.0 * y.atan2(x)).cos();
                r - (0.65 + 0.32 * spike)
            }
            Self::Crescent => (r - 0.9).max(0.75 - (x - 0.45).hypot(y)),
            Self::Bar => slab(1.0, 0.35),
        }
    }
}

impl Shape {
    /// The filling of this shape in plain pictures.
    pub(crate) fn plain_texture(self) -> Texture {
        match self {
            Self::Disc | Self::Crescent => Texture::Stripes,
            Self::Square => Texture::Rings,
            Self::Triangle => Texture::Plain,
            Self::Ring | Self::Bar => Texture::Checks,
            Self::Cross => Texture::Dots,
            Self::Star => Texture::Waves,
        }
    }
}

/// Fillings: how much of the second colour shows at a place, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Texture {
    Plain,
    Stripes,
    Checks,
    Dots,
    Waves,
    Rings,
}

impl Texture {
    pub(crate) const ALL: [(Self, &str); 6] = [
        (Self::Plain, "plain"),
        (Self::Stripes, "striped"),
        (Self::Checks, "checked"),
        (Self::Dots, "dotted"),
        (Self::Waves, "wavy"),
        (Self::Rings, "ringed"),
    ];

    /// `x` and `y` in periods of the texture; `soft` is the width of an edge in periods.
    pub(crate) fn share(self, x: f32, y: f32, soft: f32) -> f32 {
        let wave = |t: f32| (t * std::f32::consts::TAU).sin();
        let edge = |v: f32| (0.5 + v / (std::f32::consts::TAU * soft)).clamp(0.0, 1.0);
        match self {
            Self::Plain => 0.0,
            Self::Stripes => edge(wave(x)),
            Self::Checks => edge(wave(x) * wave(y)),
            Self::Dots => edge(wave(x) + wave(y) - 0.9),
            Self::Waves => edge(wave(x + 0.35 * wave(0.5 * y))),
            Self::Rings => edge(wave(x.hypot(y))),
        }
    }
}

/// The picture of one object: `side` pixels square.
pub(crate) fn object(
    side: usize,
    shape: Shape,
    texture: Texture,
    rng: &mut ChaCha8Rng,
) -> RgbImage {
    let size = side as f32;
    let [fill, pattern] = contrasting(rng);
    let backdrop = Backdrop::draw(rng);
    let radius = size * rng.random_range(0.3..0.44_f32);
    let margin = 0.75 * radius;
    let centre = [0, 1].map(|_| rng.random_range(margin..size - margin));
    let turn = rng.random_range(0.0..std::f32::consts::TAU);
    let period = (size * rng.random_range(0.11..0.16_f32)).max(3.5);
    let texture_turn = rng.random_range(0.0..std::f32::consts::TAU);
    let phase = [0, 1].map(|_| rng.random_range(0.0..1.0_f32));
    let noise = Normal::new(0.0, rng.random_range(1.0..8.0_f32)).ok();

    let rotate = |x: f32, y: f32, angle: f32| {
        (
            x * angle.cos() + y * angle.sin(),
            y * angle.cos() - x * angle.sin(),
        )
    };
    let mut image = RgbImage::new(side, side);
    for row in 0..side {
        for (column, pixel) in image.row_mut(row).chunks_exact_mut(3).enumerate() {
            let (px, py) = (column as f32 + 0.5, row as f32 + 0.5);
            let (dx, dy) = (px - centre[0], py - centre[1]);
            let (x, y) = rotate(dx / radius, dy / radius, turn);
            // Coverage from the distance to the outline, one pixel wide.
            let inside = (0.5 - shape.distance(x, y) * radius).clamp(0.0, 1.0);
            let (u, v) = rotate(dx / period, dy / period, texture_turn);
            // Concentric rings are centred on the object, so a phase would not be invisible.
            let (u, v) = if texture == Texture::Rings {
                (u, v)
            } else {
                (u + phase[0], v + phase[1])
            };
            let share = texture.share(u, v, 1.0 / period);
            let behind = backdrop.colour(px / size, py / size);
            for channel in 0..3 {
                let front = fill[channel] + share * (pattern[channel] - fill[channel]);
                let value = behind[channel] + inside * (front - behind[channel]);
                let grain = noise.map_or(0.0, |n| n.sample(rng));
                pixel[channel] = (value + grain).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
    image
}

/// Two random colours whose brightness differs enough for a texture to be seen.
pub(crate) fn contrasting(rng: &mut ChaCha8Rng) -> [[f32; 3]; 2] {
    loop {
        let colours = [0, 1].map(|_| colour(rng));
        let [one, other] = colours.map(brightness);
        if (one - other).abs() > 70.0 {
            return colours;
        }
    }
}

/// Two random colours of nearly the same hue, one a little brighter.
pub(crate) fn near(rng: &mut ChaCha8Rng) -> [[f32; 3]; 2] {
    let dark = [0, 1, 2].map(|_| rng.random_range(0.0..200.0_f32));
    let lift = rng.random_range(35.0..55.0_f32);
    [dark, dark.map(|v| v + lift)]
}

/// Two contrasting colours whose mean differs in brightness from what is behind them.
pub(crate) fn standing_out(behind: [f32; 3], rng: &mut ChaCha8Rng) -> [[f32; 3]; 2] {
    let behind = brightness(behind);
    loop {
        let colours = contrasting(rng);
        let mean = 0.5 * (brightness(colours[0]) + brightness(colours[1]));
        if (mean - behind).abs() > PLAIN_CONTRAST {
            return colours;
        }
    }
}

/// How bright a colour is, 0 to 255.
fn brightness([red, green, blue]: [f32; 3]) -> f32 {
    0.3 * red + 0.6 * green + 0.1 * blue
}

fn colour(rng: &mut ChaCha8Rng) -> [f32; 3] {
    [0, 1, 2].map(|_| rng.random_range(0.0..255.0_f32))
}

/// A slope between two colours with a few soft blobs.
pub(crate) struct Backdrop {
    ends: [[f32; 3]; 2],
    direction: [f32; 2],
    blobs: Vec<Blob>,
}

struct Blob {
    at: [f32; 2],
    radius: f32,
    colour: [f32; 3],
}

impl Backdrop {
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        let count = rng.random_range(2..6);
        let blobs = (0..count).map(|_| Blob {
            at: [rng.random(), rng.random()],
            radius: rng.random_range(0.08..0.3),
            colour: colour(rng),
        });
        let blobs = blobs.collect();
        Self {
            ends: [colour(rng), colour(rng)],
            direction: [angle.cos(), angle.sin()],
            blobs,
        }
    }

    /// The colour at a place, in shares of the picture's sides.
    pub(crate) fn colour(&self, x: f32, y: f32) -> [f32; 3] {
        let along = (0.5 + 0.7 * ((x - 0.5) * self.direction[0] + (y - 0.5) * self.direction[1]))
            .clamp(0.0, 1.0);
        let mut colour =
            [0, 1, 2].map(|c| self.ends[0][c] + along * (self.ends[1][c] - self.ends[0][c]));
        for blob in &self.blobs {
            let distance = (x - blob.at[0]).hypot(y - blob.at[1]) / blob.radius;
            let weight = 0.7 * (-distance * distance).exp();
            for (value, other) in colour.iter_mut().zip(blob.colour) {
                *value += weight * (other - *value);
            }
        }
        colour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_an_inside_and_an_outside() {
        for (shape, name) in Shape::ALL {
            let cells =
                (0..400).map(|i| ((i % 20) as f32 / 10.0 - 0.95, (i / 20) as f32 / 10.0 - 0.95));
            let inside = cells.filter(|&(x, y)| shape.distance(x, y) < 0.0).count();
            assert!((60..340).contains(&inside), "{name}: {inside} of 400");
        }
    }

    #[test]
    fn textures_show_both_colours() {
        for (texture, name) in Texture::ALL.into_iter().skip(1) {
            let cells = (0..900)
                .map(|i| texture.share((i % 30) as f32 / 10.0, (i / 30) as f32 / 10.0, 0.1));
            let mean = cells.sum::<f32>() / 900.0;
            assert!((0.1..0.9).contains(&mean), "{name}: {mean}");
        }
    }
}
