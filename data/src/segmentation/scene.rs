//! Made-up pictures in which every pixel has a class: a few wavy regions with objects in front of them.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::detection::Scene;
use crate::draw::{Shape, Texture, contrasting};
use crate::image::RgbImage;

/// Regions, each told by its texture: colours, scale and direction change from picture to picture.
pub(super) const REGIONS: [(Texture, &str); 4] = [
    (Texture::Plain, "sky"),
    (Texture::Waves, "water"),
    (Texture::Checks, "field"),
    (Texture::Dots, "sand"),
];

/// Most classes: all regions and all shapes.
pub(super) const MOST_CLASSES: usize = REGIONS.len() + Shape::ALL.len();

/// How many of so many classes are regions; the others are objects.
pub(super) fn region_count(classes: usize) -> usize {
    (classes / 2).clamp(1, REGIONS.len())
}

/// Class names in class order: regions, then objects.
pub(super) fn class_names(classes: usize) -> Vec<String> {
    let regions = region_count(classes);
    let things = Shape::ALL.iter().map(|(_, name)| name);
    let names = REGIONS[..regions].iter().map(|(_, name)| name);
    names
        .chain(things.take(classes - regions))
        .map(|name| (*name).to_owned())
        .collect()
}

/// A picture and its label map, which counts classes from 1; 0 is what has none.
pub(super) struct LabelledScene {
    pub image: RgbImage,
    pub labels: Vec<u8>,
}

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
    fn draw(class: usize, border: f32, side: f32, rng: &mut ChaCha8Rng) -> Self {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        Self {
            class: class as u8 + 1,
            texture: REGIONS[class].0,
            colours: contrasting(rng),
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

impl LabelledScene {
    /// Draws a picture of the first regions and shapes that make so many classes, with up to `objects` objects
    /// and a rim without a class where asked.
    pub(super) fn draw(
        (width, height): (usize, usize),
        classes: usize,
        objects: usize,
        rim: bool,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let regions = Self::draw_regions((width, height), region_count(classes), rng);
        let mut image = RgbImage::new(width, height);
        let mut labels = vec![0; width * height];
        for y in 0..height {
            let row = image.row_mut(y).as_chunks_mut::<3>().0;
            for x in 0..width {
                let [right, down] = [x, y].map(|v| v as f32 + 0.5);
                let place = [right / width as f32, down / height as f32];
                let region = regions
                    .iter()
                    .find(|region| place[1] < region.bottom(place[0]))
                    .unwrap_or(&regions[regions.len() - 1]);
                row[x] = region.colour(right, down).map(|v| v.round() as u8);
                labels[y * width + x] = region.class;
            }
        }
        let things = classes - region_count(classes);
        let mut scene = Scene::on(image);
        if things > 0 {
            for _ in 0..objects {
                scene.add_object(things, rng);
            }
        }
        let first = region_count(classes) as u8 + 1;
        for (label, &owner) in labels.iter_mut().zip(&scene.owner) {
            if owner > 0 {
                *label = first + scene.groups[usize::from(owner) - 1].class as u8;
            }
        }
        let mut drawn = Self {
            image: scene.image,
            labels,
        };
        if rim {
            drawn.cover_rim(rng);
        }
        drawn.add_grain(rng);
        drawn
    }

    /// Two or three regions from top to bottom, none twice; the only one where there is one.
    fn draw_regions(
        (width, height): (usize, usize),
        regions: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Region> {
        let mut order: Vec<usize> = (0..regions).collect();
        order.shuffle(rng);
        order.truncate(rng.random_range(2..=3));
        let share = 1.0 / order.len() as f32;
        let side = width.min(height) as f32;
        order
            .iter()
            .enumerate()
            .map(|(place, &class)| {
                let border = share * (place as f32 + rng.random_range(0.75..1.25_f32));
                Region::draw(class, border, side, rng)
            })
            .collect()
    }

    /// A dark bar without a class along one edge, as scanned pictures have.
    fn cover_rim(&mut self, rng: &mut ChaCha8Rng) {
        let (width, height) = (self.image.width, self.image.height);
        let thick = (width.min(height) as f32 * rng.random_range(0.02..0.08_f32)).ceil() as usize;
        let edge = rng.random_range(0..4);
        for y in 0..height {
            for x in 0..width {
                let depth = [x, y, width - 1 - x, height - 1 - y][edge];
                if depth < thick {
                    self.labels[y * width + x] = 0;
                    self.image.row_mut(y)[3 * x..3 * x + 3].fill(12);
                }
            }
        }
    }

    fn add_grain(&mut self, rng: &mut ChaCha8Rng) {
        if let Ok(noise) = Normal::new(0.0, rng.random_range(1.0..6.0_f32)) {
            for value in &mut self.image.pixels {
                let grain: f32 = noise.sample(rng);
                *value = (f32::from(*value) + grain).round().clamp(0.0, 255.0) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn regions_come_first_and_every_class_has_a_name_of_its_own() {
        assert_eq!(class_names(1), ["sky"]);
        assert_eq!(
            class_names(5),
            ["sky", "water", "disc", "square", "triangle"]
        );
        let all = class_names(MOST_CLASSES);
        assert_eq!(all.len(), 12);
        assert_eq!(
            all.iter().collect::<std::collections::HashSet<_>>().len(),
            12
        );
    }

    #[test]
    fn all_classes_appear_and_only_rims_have_none() {
        let mut pixels = [0_usize; 7];
        for seed in 0..30 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let scene = LabelledScene::draw((96, 72), 6, 5, seed % 3 == 0, &mut rng);
            let unlabelled = scene.labels.iter().filter(|&&label| label == 0).count();
            assert_eq!(unlabelled > 0, seed % 3 == 0, "{seed}");
            assert!(unlabelled * 8 < scene.labels.len());
            for &label in &scene.labels {
                pixels[usize::from(label)] += 1;
            }
        }
        let all: usize = pixels.iter().sum();
        for (class, &count) in pixels.iter().enumerate().skip(1) {
            assert!(
                count * 100 > all,
                "class {class} has {count} of {all} pixels"
            );
        }
    }

    #[test]
    fn labels_follow_what_is_drawn() {
        // With one region and no object there is one class.
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let scene = LabelledScene::draw((64, 64), 1, 4, false, &mut rng);
        assert!(scene.labels.iter().all(|&label| label == 1));
        assert_eq!(scene.image.pixels.len(), 3 * 64 * 64);
    }
}
