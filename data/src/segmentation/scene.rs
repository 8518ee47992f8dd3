//! Made-up pictures in which every pixel has a class: a few wavy regions with objects in front of them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::detection::Scene;
use crate::draw::{GRAIN, PLAIN_GRAIN, Shape};
use crate::image::RgbImage;
use crate::region::{REGIONS, Regions};

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

/// What a picture is to show.
#[derive(Clone, Copy)]
pub(super) struct LabelledContent {
    /// How many classes there are: the first regions and shapes.
    pub classes: usize,
    /// Objects at most.
    pub objects: usize,
    /// Whether there is a rim without a class.
    pub rim: bool,
    /// Whether the picture is an easy one.
    pub plain: bool,
}

impl LabelledScene {
    /// Draws a picture.
    pub(super) fn draw(
        (width, height): (usize, usize),
        content: LabelledContent,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let LabelledContent { classes, plain, .. } = content;
        let backdrop = Regions::draw((width, height), region_count(classes), plain, rng);
        let mut labels = vec![0; width * height];
        let image = backdrop.paint((width, height), &mut labels);
        let things = classes - region_count(classes);
        let mut scene = Scene::on(image, plain);
        if things > 0 {
            for _ in 0..content.objects {
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
        if content.rim {
            drawn.cover_rim(rng);
        }
        drawn.add_grain(if plain { PLAIN_GRAIN } else { GRAIN }, rng);
        drawn
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

    fn add_grain(&mut self, most: f32, rng: &mut ChaCha8Rng) {
        if let Ok(noise) = Normal::new(0.0, rng.random_range(1.0..most)) {
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
            let content = LabelledContent {
                classes: 6,
                objects: 5,
                rim: seed % 3 == 0,
                plain: false,
            };
            let scene = LabelledScene::draw((96, 72), content, &mut rng);
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
        let content = LabelledContent {
            classes: 1,
            objects: 4,
            rim: false,
            plain: false,
        };
        let scene = LabelledScene::draw((64, 64), content, &mut rng);
        assert!(scene.labels.iter().all(|&label| label == 1));
        assert_eq!(scene.image.pixels.len(), 3 * 64 * 64);
    }
}
