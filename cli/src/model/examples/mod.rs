//! A few pictures of every evaluation with ground truth and prediction drawn in, which a leaderboard's page
//! shows side by side.

mod classes;
mod objects;
mod regions;

use std::path::{Path, PathBuf};

use anyhow::Context;
use data::{Filter, RgbImage, resize, write_jpeg};
use leaderboard::ExampleRecord;

pub use classes::ClassExamples;
pub use objects::ObjectExamples;
pub use regions::RegionExamples;

/// Pictures shown of an evaluation.
const SHOWN: usize = 8;
/// Folder of the pictures, in an evaluation's folder.
const FOLDER: &str = "examples";
/// Longer side that small pictures are enlarged to before anything is drawn in, in pixels.
const SMALL: usize = 256;
/// Longer side that large ones are reduced to when all is drawn.
const LARGE: usize = 640;
/// Of JPEG.
const QUALITY: u8 = 88;

/// Which of a set's pictures are shown: spread evenly, the same for every model.
fn chosen(pictures: usize) -> Vec<usize> {
    let shown = pictures.min(SHOWN);
    (0..shown).map(|at| at * pictures / shown).collect()
}

/// The written examples of one evaluation.
struct Album {
    folder: PathBuf,
    records: Vec<ExampleRecord>,
}

impl Album {
    /// Starts anew: pictures of an earlier evaluation are removed.
    fn start(evaluation: &Path) -> anyhow::Result<Self> {
        let pictures = evaluation.join(FOLDER);
        if pictures.is_dir() {
            std::fs::remove_dir_all(&pictures)
                .with_context(|| format!("cannot empty {}", pictures.display()))?;
        }
        std::fs::create_dir_all(&pictures)
            .with_context(|| format!("cannot make {}", pictures.display()))?;
        Ok(Self {
            folder: evaluation.to_owned(),
            records: Vec::new(),
        })
    }

    /// Writes one picture; its path within the evaluation's folder.
    fn write(&self, image: &RgbImage, what: &str) -> anyhow::Result<PathBuf> {
        let path = Path::new(FOLDER).join(format!("{:02}_{what}.jpg", self.records.len()));
        let long = image.width.max(image.height);
        let file = self.folder.join(&path);
        if long > LARGE {
            let [width, height] =
                [image.width, image.height].map(|side| (side * LARGE / long).max(1));
            let reduced = resize(image, width, height, Filter::Bicubic);
            write_jpeg(&reduced, &file, QUALITY)?;
        } else {
            write_jpeg(image, &file, QUALITY)?;
        }
        Ok(path)
    }
}

/// By how much a small picture is enlarged, so that lines and letters on it can be read.
fn enlargement(image: &RgbImage) -> usize {
    let long = image.width.max(image.height).max(1);
    SMALL.div_ceil(long).max(1)
}

/// Each pixel as a square of `factor` pixels.
fn enlarged(image: &RgbImage, factor: usize) -> RgbImage {
    let (width, height) = (image.width * factor, image.height * factor);
    let mut out = RgbImage::new(width, height);
    for y in 0..height {
        for x in 0..width {
            let pixel = image.pixel(x / factor, y / factor);
            out.row_mut(y)[3 * x..3 * x + 3].copy_from_slice(&pixel);
        }
    }
    out
}

/// The same for one byte a pixel.
fn enlarged_map(map: &[u8], width: usize, factor: usize) -> Vec<u8> {
    if factor == 1 || width == 0 {
        return map.to_vec();
    }
    let mut out = Vec::with_capacity(map.len() * factor * factor);
    for row in map.chunks_exact(width) {
        let wide: Vec<u8> = row
            .iter()
            .flat_map(|value| std::iter::repeat_n(*value, factor))
            .collect();
        for _ in 0..factor {
            out.extend_from_slice(&wide);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_spread_over_the_set() {
        assert_eq!(chosen(80), [0, 10, 20, 30, 40, 50, 60, 70]);
        assert_eq!(chosen(3), [0, 1, 2]);
        assert!(chosen(0).is_empty());
    }

    #[test]
    fn small_pictures_grow_by_whole_pixels() {
        let mut image = RgbImage::new(2, 1);
        image.row_mut(0).copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(enlargement(&image), 128);
        let twice = enlarged(&image, 2);
        assert_eq!((twice.width, twice.height), (4, 2));
        assert_eq!(twice.pixel(1, 1), [1, 2, 3]);
        assert_eq!(twice.pixel(2, 0), [4, 5, 6]);
        assert_eq!(enlarged_map(&[7, 9], 2, 2), [7, 7, 9, 9, 7, 7, 9, 9]);
    }
}
