//! What numbers the label maps of a data set hold.

use std::path::Path;

use eval::segmentation::{LabelMap, Labels, read_label_png};

use super::label_file::label_png_palette;
use super::numbering::Numbering;

/// Numbers that fit a byte.
const BYTES: usize = 256;

/// One label map, looked at.
#[derive(Debug)]
pub(super) struct LabelLook {
    pub size: (usize, usize),
    /// Pixels of each number up to 255.
    pub pixels: Vec<u64>,
    /// Pixels of larger numbers, and the first of these.
    pub beyond: Option<(u16, u64)>,
    /// The colour of each index where it is a palette PNG.
    pub palette: Option<Vec<[u8; 3]>>,
}

impl LabelLook {
    /// Reads a label map; what is wrong with it as a sentence.
    pub(super) fn at(path: &Path) -> Result<Self, String> {
        let map = read_label_png(path).map_err(|error| error.to_string())?;
        Ok(Self {
            palette: label_png_palette(path),
            ..Self::of(&map)
        })
    }

    fn of(map: &LabelMap) -> Self {
        let mut look = Self {
            size: (map.width(), map.height()),
            pixels: vec![0; BYTES],
            beyond: None,
            palette: None,
        };
        match map.labels() {
            Labels::U8(labels) => {
                for &label in labels {
                    look.pixels[usize::from(label)] += 1;
                }
            }
            Labels::U16(labels) => {
                for &label in labels {
                    match look.pixels.get_mut(usize::from(label)) {
                        Some(pixels) => *pixels += 1,
                        None => look.beyond.get_or_insert((label, 0)).1 += 1,
                    }
                }
            }
        }
        look
    }
}

/// One number over all maps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NumberTally {
    pub pixels: u64,
    /// Maps that have it, and the first of them.
    pub maps: usize,
    pub first: usize,
}

/// All maps of a part together.
#[derive(Debug)]
pub(super) struct Tally {
    /// By number, up to 255.
    pub numbers: Vec<NumberTally>,
    /// Numbers above 255: pixels, maps, first map; and the first such number.
    pub beyond: Option<(u16, NumberTally)>,
    /// Maps that could be read.
    pub maps: usize,
    /// Two maps whose palettes show the same index in different colours.
    pub palettes_differ: Option<[usize; 2]>,
}

impl Tally {
    /// Sums up; maps that could not be read count for nothing.
    pub(super) fn of(looks: &[Result<LabelLook, String>]) -> Self {
        let mut tally = Self {
            numbers: vec![NumberTally::default(); BYTES],
            beyond: None,
            maps: 0,
            palettes_differ: None,
        };
        // The colour of each index, and the map that showed it first.
        let mut shown: Vec<Option<([u8; 3], usize)>> = vec![None; BYTES];
        for (map, look) in looks.iter().enumerate() {
            let Ok(look) = look else { continue };
            tally.maps += 1;
            for (number, &pixels) in look.pixels.iter().enumerate() {
                if pixels > 0 {
                    tally.numbers[number].add(pixels, map);
                }
            }
            if let Some((number, pixels)) = look.beyond {
                let (_, sum) = tally.beyond.get_or_insert((number, NumberTally::default()));
                sum.add(pixels, map);
            }
            for (index, &colour) in look.palette.iter().flatten().enumerate().take(BYTES) {
                if look.pixels[index] == 0 {
                    continue;
                }
                let (first, other) = *shown[index].get_or_insert((colour, map));
                if first != colour {
                    tally.palettes_differ.get_or_insert([other, map]);
                }
            }
        }
        tally
    }

    /// Pixels of all maps.
    pub(super) fn pixels(&self) -> u64 {
        let beyond = self.beyond.map_or(0, |(_, sum)| sum.pixels);
        self.numbers.iter().map(|sum| sum.pixels).sum::<u64>() + beyond
    }

    /// The largest number that is not 255, where there is one.
    pub(super) fn largest(&self) -> Option<usize> {
        self.numbers[..255].iter().rposition(|sum| sum.maps > 0)
    }

    /// The sums of each class, and those of ignored pixels.
    pub(super) fn classes(&self, numbering: Numbering) -> (Vec<NumberTally>, u64) {
        let mut classes = vec![NumberTally::default(); numbering.classes];
        let mut ignored = 0;
        for (number, sum) in self.numbers.iter().enumerate() {
            match numbering.class(number as u16).map(usize::from) {
                Some(class) if class < numbering.classes => classes[class] = *sum,
                Some(_) => ignored += sum.pixels,
                None => {}
            }
        }
        (classes, ignored)
    }

    /// Numbers up to 255 that are no class.
    pub(super) fn unknown(&self, numbering: Numbering) -> Vec<(usize, NumberTally)> {
        self.numbers
            .iter()
            .copied()
            .enumerate()
            .filter(|(number, sum)| sum.maps > 0 && numbering.class(*number as u16).is_none())
            .collect()
    }
}

impl NumberTally {
    fn add(&mut self, pixels: u64, map: usize) {
        if self.maps == 0 {
            self.first = map;
        }
        self.pixels += pixels;
        self.maps += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(labels: &[u16]) -> Result<LabelLook, String> {
        let map = LabelMap::new(labels.len(), 1, labels.to_vec()).unwrap();
        Ok(LabelLook::of(&map))
    }

    #[test]
    fn numbers_are_summed_by_class() {
        let looks = [
            look(&[0, 1, 1, 255]),
            Err("broken".to_owned()),
            look(&[3, 1, 700, 900]),
        ];
        let tally = Tally::of(&looks);
        assert_eq!(
            (tally.maps, tally.pixels(), tally.largest()),
            (2, 8, Some(3))
        );
        let beyond = NumberTally {
            pixels: 2,
            maps: 1,
            first: 2,
        };
        assert_eq!(tally.beyond, Some((700, beyond)));
        let numbering = Numbering {
            classes: 2,
            reduce_zero_label: true,
        };
        let (classes, ignored) = tally.classes(numbering);
        assert_eq!((classes[0].pixels, classes[0].maps, ignored), (3, 2, 2));
        assert_eq!(classes[1].maps, 0);
        let unknown = tally.unknown(numbering);
        assert_eq!((unknown.len(), unknown[0].0, unknown[0].1.first), (1, 3, 2));
    }

    #[test]
    fn palettes_are_compared_where_an_index_is_used() {
        let with = |labels: &[u16], palette: &[[u8; 3]]| {
            look(labels).map(|look| LabelLook {
                palette: Some(palette.to_vec()),
                ..look
            })
        };
        let (red, green) = ([9, 0, 0], [0, 9, 0]);
        let same = [with(&[0, 0], &[red, red]), with(&[0, 1], &[red, green])];
        assert_eq!(Tally::of(&same).palettes_differ, None);
        let differ = [with(&[0], &[red]), look(&[0]), with(&[0], &[green])];
        assert_eq!(Tally::of(&differ).palettes_differ, Some([0, 2]));
    }
}
