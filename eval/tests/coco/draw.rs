//! Small random data sets full of what evaluators stumble over.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// A drawn data set.
pub struct Drawn {
    pub truth: Value,
    pub results: Value,
    /// Identifiers of the pictures, ascending.
    pub images: Vec<i64>,
}

const SIDE: u32 = 40;

/// Draws ground truth and results of boxes with masks: crowds, ties, ignored objects, gaps in
/// identifiers, empty pictures, more detections than the limit.
pub fn draw(seed: u64, masks: bool) -> Drawn {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut next = 0;
    let mut ids = |count: usize, rng: &mut StdRng| -> Vec<i64> {
        next = 0;
        (0..count)
            .map(|_| {
                next += rng.random_range(1..40);
                next
            })
            .collect()
    };
    let images = {
        let n = rng.random_range(1..6);
        ids(n, &mut rng)
    };
    let categories = {
        let n = rng.random_range(1..4);
        ids(n, &mut rng)
    };
    let mut annotations = Vec::new();
    let mut objects = Vec::new();
    for &image in &images {
        for _ in 0..rng.random_range(0..6) {
            let category = categories[rng.random_range(0..categories.len())];
            let bounds = bounds(&mut rng);
            objects.push((image, category, bounds));
            let crowd = rng.random_bool(0.15);
            // Areas need not be those of the boxes, and lie on the limits at times.
            let area = [
                1024.0,
                9216.0,
                500.0,
                5000.0,
                20_000.0,
                bounds[2] * bounds[3],
            ][rng.random_range(0..6)];
            let mut annotation = json!({
                "id": annotations.len() + 1, "image_id": image, "category_id": category,
                "bbox": bounds, "area": area, "iscrowd": i32::from(crowd),
            });
            if rng.random_bool(0.1) {
                annotation["ignore"] = json!(1);
            }
            if masks {
                annotation["segmentation"] = segmentation(bounds, &mut rng, crowd);
            }
            annotations.push(annotation);
        }
    }
    let mut results = Vec::new();
    let many = rng.random_bool(0.1);
    for _ in 0..if many {
        rng.random_range(100..260)
    } else {
        rng.random_range(1..30)
    } {
        let score = if rng.random_bool(0.5) {
            f64::from(rng.random_range(0..4)) / 4.0
        } else {
            rng.random_range(0.0..1.0)
        };
        let (image, category, bounds) = match objects.is_empty() || rng.random_bool(0.3) {
            true => (
                images[rng.random_range(0..images.len())],
                categories[rng.random_range(0..categories.len())],
                bounds(&mut rng),
            ),
            false => {
                let (image, category, mut bounds) = objects[rng.random_range(0..objects.len())];
                if rng.random_bool(0.7) {
                    let place = rng.random_range(0..4);
                    bounds[place] =
                        (bounds[place] + rng.random_range(-3.0..3.0f64).round()).max(0.0);
                }
                (image, category, bounds)
            }
        };
        let mut result = json!({"image_id": image, "category_id": category, "score": score});
        if masks {
            result["segmentation"] = rle(bounds);
        } else {
            result["bbox"] = json!(bounds);
        }
        results.push(result);
    }
    let shuffled = |ids: &[i64]| ids.iter().rev().copied().collect::<Vec<_>>();
    Drawn {
        truth: json!({
            "images": shuffled(&images).iter()
                .map(|id| json!({"id": id, "height": SIDE, "width": SIDE})).collect::<Vec<_>>(),
            "categories": shuffled(&categories).iter()
                .map(|id| json!({"id": id, "name": format!("c{id}")})).collect::<Vec<_>>(),
            "annotations": annotations,
        }),
        results: json!(results),
        images,
    }
}

fn bounds(rng: &mut StdRng) -> [f64; 4] {
    let mut side = |low: u32, high: u32| f64::from(rng.random_range(low..high));
    [side(0, 25), side(0, 25), side(0, 15), side(1, 15)]
}

fn segmentation(bounds: [f64; 4], rng: &mut StdRng, crowd: bool) -> Value {
    let [x, y, w, h] = bounds;
    if crowd || w < 1.0 {
        return rle(bounds);
    }
    let triangle = json!([x, y, x + w, y, x, y + h]);
    let square = json!([x, y, x + w, y, x + w, y + h, x, y + h]);
    match rng.random_range(0..3) {
        0 => json!([square]),
        1 => json!([triangle, square]),
        _ => rle(bounds),
    }
}

fn rle(bounds: [f64; 4]) -> Value {
    let mask = deepmim_eval::Rle::from_box(SIDE, SIDE, bounds).unwrap();
    json!({"size": [SIDE, SIDE], "counts": mask.to_compressed()})
}
