//! Made-up pictures with several objects, and which pixels show which of them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};

use crate::draw::{
    Backdrop, GRAIN, PLAIN_GRAIN, PLAIN_TURN, Shape, Texture, contrasting, standing_out,
};
use crate::image::RgbImage;
use crate::region::{REGIONS, Regions};

/// No object shows less than this share of itself.
const LEAST_VISIBLE: f64 = 0.5;
/// Places tried for each object.
const TRIES: usize = 12;
/// Smallest radius of an object, in pixels.
const SMALLEST: f32 = 5.0;

/// In plain pictures: least and greatest radius, in shares of the shorter side.
const PLAIN_RADIUS: [f32; 2] = [0.15, 0.28];
/// In plain pictures: no object shows less than this share of itself.
const PLAIN_LEAST_VISIBLE: f64 = 0.7;

/// What one annotation describes: an object, or a crowd of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Index of the shape, which is the class.
    pub class: usize,
    pub crowd: bool,
    /// Pixels before anything hid some.
    pub whole: usize,
    /// Pixels that show.
    pub visible: usize,
}

/// A picture and its objects.
#[derive(Debug)]
pub(crate) struct Scene {
    pub image: RgbImage,
    pub groups: Vec<Group>,
    /// For each pixel the group it shows, plus one; 0 for the background.
    pub owner: Vec<u16>,
    plain: bool,
}

/// What a picture is to show.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content {
    /// How many of the shapes there are to choose from.
    pub classes: usize,
    /// Objects at most.
    pub objects: usize,
    /// Whether there is a crowd.
    pub crowd: bool,
    /// Whether the picture is an easy one.
    pub plain: bool,
}

/// One shape in its place.
struct Figure {
    shape: Shape,
    texture: Texture,
    colours: [[f32; 3]; 2],
    centre: [f32; 2],
    radius: f32,
    turn: f32,
    period: f32,
    phase: [f32; 2],
}

impl Figure {
    fn draw(class: usize, centre: [f32; 2], radius: f32, rng: &mut ChaCha8Rng) -> Self {
        Self {
            shape: Shape::ALL[class].0,
            texture: Texture::ALL[rng.random_range(0..Texture::ALL.len())].0,
            colours: contrasting(rng),
            centre,
            radius,
            turn: rng.random_range(0.0..std::f32::consts::TAU),
            period: (radius * rng.random_range(0.25..0.5_f32)).max(3.5),
            phase: [rng.random(), rng.random()],
        }
    }

    /// A figure that is easy to see and to tell: it is almost upright and differs in brightness from
    /// what is behind it.
    fn draw_plain(
        (shape, texture): (Shape, Texture),
        centre: [f32; 2],
        radius: f32,
        behind: [f32; 3],
        rng: &mut ChaCha8Rng,
    ) -> Self {
        Self {
            shape,
            texture,
            colours: standing_out(behind, rng),
            centre,
            radius,
            turn: rng.random_range(-PLAIN_TURN..PLAIN_TURN),
            period: (radius * rng.random_range(0.35..0.5_f32)).max(3.5),
            phase: [rng.random(), rng.random()],
        }
    }

    /// Distance of a place to the outline in pixels, negative inside.
    fn distance(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (
            (x - self.centre[0]) / self.radius,
            (y - self.centre[1]) / self.radius,
        );
        let (sin, cos) = self.turn.sin_cos();
        self.shape
            .distance(dx * cos + dy * sin, dy * cos - dx * sin)
            * self.radius
    }

    fn colour(&self, x: f32, y: f32) -> [f32; 3] {
        let (u, v) = (
            (x - self.centre[0]) / self.period + self.phase[0],
            (y - self.centre[1]) / self.period + self.phase[1],
        );
        let share = self.texture.share(u, v, 1.0 / self.period);
        let [fill, pattern] = self.colours;
        [0, 1, 2].map(|c| fill[c] + share * (pattern[c] - fill[c]))
    }

    /// Pixels inside the picture that the shape may touch: columns and rows.
    fn reach(&self, width: usize, height: usize) -> [std::ops::Range<usize>; 2] {
        let range = |centre: f32, side: usize| {
            let low = (centre - 1.1 * self.radius - 1.0).max(0.0) as usize;
            let high = (centre + 1.1 * self.radius + 2.0).max(0.0) as usize;
            low.min(side)..high.min(side)
        };
        [range(self.centre[0], width), range(self.centre[1], height)]
    }

    /// Indices of the pixels whose middle lies inside.
    fn pixels(&self, width: usize, height: usize) -> Vec<usize> {
        let [columns, rows] = self.reach(width, height);
        let mut all = Vec::new();
        for y in rows {
            for x in columns.clone() {
                if self.distance(x as f32 + 0.5, y as f32 + 0.5) < 0.0 {
                    all.push(y * width + x);
                }
            }
        }
        all
    }
}

impl Scene {
    /// Draws a picture with up to `objects` objects of the first `classes` shapes, and a crowd where asked.
    pub(super) fn draw(
        width: usize,
        height: usize,
        content: Content,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let image = if content.plain {
            plain_background(width, height, rng)
        } else {
            background(width, height, rng)
        };
        let mut scene = Self::on(image, content.plain);
        if content.crowd {
            scene.add_crowd(content.classes, rng);
        }
        for _ in 0..content.objects {
            scene.add_object(content.classes, rng);
        }
        scene.add_grain(rng);
        scene.count_visible();
        scene
    }

    /// Nothing but a background.
    pub(crate) fn on(image: RgbImage, plain: bool) -> Self {
        Self {
            owner: vec![0; image.width * image.height],
            image,
            groups: Vec::new(),
            plain,
        }
    }

    /// Adds an object of one of the first `classes` shapes, where there is room for it.
    pub(crate) fn add_object(&mut self, classes: usize, rng: &mut ChaCha8Rng) {
        let (width, height) = (self.image.width, self.image.height);
        let class = rng.random_range(0..classes);
        let side = width.min(height) as f32;
        for _ in 0..TRIES {
            // Logarithmic, so that small objects are as frequent as large ones.
            let (radius, margin) = if self.plain {
                let [low, high] = PLAIN_RADIUS;
                let radius = (side * low * (high / low).powf(rng.random())).max(SMALLEST);
                (radius, 0.9 * radius)
            } else {
                let radius = (side * 0.07 * 5.0_f32.powf(rng.random())).max(SMALLEST);
                (radius, 0.7 * radius)
            };
            let centre = [width, height].map(|v| {
                let v = v as f32;
                margin + rng.random::<f32>() * (v - 2.0 * margin)
            });
            let figure = if self.plain {
                let shape = Shape::ALL[class].0;
                let look = (shape, shape.plain_texture());
                Figure::draw_plain(look, centre, radius, self.colour_at(centre), rng)
            } else {
                Figure::draw(class, centre, radius, rng)
            };
            if self.hides_too_much(&figure) {
                continue;
            }
            let whole = self.paint(&figure);
            self.groups.push(Group {
                class,
                crowd: false,
                whole,
                visible: whole,
            });
            return;
        }
    }

    fn colour_at(&self, place: [f32; 2]) -> [f32; 3] {
        let [x, y] = place.map(|v| v as usize);
        self.image.row(y).as_chunks::<3>().0[x].map(f32::from)
    }

    /// Many small objects of one class, too many to be told apart.
    fn add_crowd(&mut self, classes: usize, rng: &mut ChaCha8Rng) {
        let (width, height) = (self.image.width as f32, self.image.height as f32);
        let class = rng.random_range(0..classes);
        let radius = (0.05 * width.min(height)).max(SMALLEST);
        let middle = [
            width * rng.random_range(0.25..0.75_f32),
            height * rng.random_range(0.25..0.75_f32),
        ];
        for _ in 0..rng.random_range(10..16) {
            let centre = middle.map(|v| v + radius * rng.random_range(-3.0..3.0_f32));
            self.paint(&Figure::draw(class, centre, radius, rng));
        }
        let whole = self.owner.iter().filter(|&&owner| owner == 1).count();
        self.groups.push(Group {
            class,
            crowd: true,
            whole,
            visible: whole,
        });
    }

    fn hides_too_much(&self, figure: &Figure) -> bool {
        let mut visible = vec![0_usize; self.groups.len() + 1];
        for &owner in &self.owner {
            visible[usize::from(owner)] += 1;
        }
        for pixel in figure.pixels(self.image.width, self.image.height) {
            visible[usize::from(self.owner[pixel])] -= 1;
        }
        let least = if self.plain {
            PLAIN_LEAST_VISIBLE
        } else {
            LEAST_VISIBLE
        };
        self.groups
            .iter()
            .zip(&visible[1..])
            .any(|(group, &left)| (left as f64) < least * group.whole as f64)
    }

    /// Paints a shape over what is there, as the group after the last one; tells its pixels.
    fn paint(&mut self, figure: &Figure) -> usize {
        let (width, height) = (self.image.width, self.image.height);
        let [columns, rows] = figure.reach(width, height);
        for row in rows {
            let pixels = self.image.row_mut(row).as_chunks_mut::<3>().0;
            for column in columns.clone() {
                let (x, y) = (column as f32 + 0.5, row as f32 + 0.5);
                // Coverage from the distance to the outline, one pixel wide.
                let inside = (0.5 - figure.distance(x, y)).clamp(0.0, 1.0);
                if inside > 0.0 {
                    let front = figure.colour(x, y);
                    for (value, front) in pixels[column].iter_mut().zip(front) {
                        let behind = f32::from(*value);
                        *value = (behind + inside * (front - behind)).round() as u8;
                    }
                }
            }
        }
        let own = self.groups.len() as u16 + 1;
        let pixels = figure.pixels(width, height);
        for &pixel in &pixels {
            self.owner[pixel] = own;
        }
        pixels.len()
    }

    fn add_grain(&mut self, rng: &mut ChaCha8Rng) {
        let most = if self.plain { PLAIN_GRAIN } else { GRAIN };
        if let Ok(noise) = Normal::new(0.0, rng.random_range(1.0..most)) {
            for value in &mut self.image.pixels {
                let grain: f32 = noise.sample(rng);
                *value = (f32::from(*value) + grain).round().clamp(0.0, 255.0) as u8;
            }
        }
    }

    fn count_visible(&mut self) {
        for group in &mut self.groups {
            group.visible = 0;
        }
        for &owner in self.owner.iter().filter(|&&owner| owner > 0) {
            self.groups[usize::from(owner) - 1].visible += 1;
        }
    }
}

/// A smooth background.
fn background(width: usize, height: usize, rng: &mut ChaCha8Rng) -> RgbImage {
    let backdrop = Backdrop::draw(rng);
    let mut image = RgbImage::new(width, height);
    for y in 0..height {
        let row = image.row_mut(y).as_chunks_mut::<3>().0;
        for (x, pixel) in row.iter_mut().enumerate() {
            let place = [(x, width), (y, height)].map(|(v, side)| (v as f32 + 0.5) / side as f32);
            *pixel = backdrop.colour(place[0], place[1]).map(|v| v.round() as u8);
        }
    }
    image
}

/// The wavy regions that plain pictures have behind their objects.
fn plain_background(width: usize, height: usize, rng: &mut ChaCha8Rng) -> RgbImage {
    let mut labels = vec![0; width * height];
    Regions::draw((width, height), REGIONS.len(), true, rng).paint((width, height), &mut labels)
}

/// The plain picture of one object: `side` pixels square.
pub(crate) fn plain_object(
    side: usize,
    shape: Shape,
    texture: Texture,
    rng: &mut ChaCha8Rng,
) -> RgbImage {
    let mut scene = Scene::on(plain_background(side, side, rng), true);
    let size = side as f32;
    let radius = size * rng.random_range(0.33..0.45_f32);
    let centre = [0, 1].map(|_| rng.random_range(0.8 * radius..size - 0.8 * radius));
    let figure = Figure::draw_plain(
        (shape, texture),
        centre,
        radius,
        scene.colour_at(centre),
        rng,
    );
    scene.paint(&figure);
    scene.add_grain(rng);
    scene.image
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_object_shows_and_some_are_hidden_in_part() {
        let mut hidden = 0;
        for seed in 0..20 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let content = Content {
                classes: 4,
                objects: 8,
                crowd: seed % 4 == 0,
                plain: false,
            };
            let scene = Scene::draw(96, 80, content, &mut rng);
            assert!(!scene.groups.is_empty());
            for group in &scene.groups {
                assert!(
                    2 * group.visible >= group.whole && group.whole > 0,
                    "{group:?}"
                );
                hidden += usize::from(!group.crowd && group.visible < group.whole);
            }
        }
        assert!(hidden > 5, "{hidden}");
    }

    #[test]
    fn plain_objects_are_large_and_show_for_the_most_part() {
        let content = Content {
            classes: 8,
            objects: 3,
            crowd: false,
            plain: true,
        };
        let mut objects = 0;
        for seed in 0..30 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let scene = Scene::draw(64, 64, content, &mut rng);
            assert!((1..=3).contains(&scene.groups.len()));
            objects += scene.groups.len();
            for group in &scene.groups {
                assert!(!group.crowd && group.visible > 60, "{group:?}");
                assert!(10 * group.visible >= 7 * group.whole, "{group:?}");
            }
        }
        assert!(objects > 75, "{objects} of 90 found a place");
    }
}
