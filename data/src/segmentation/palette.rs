//! A colour for each class in pictures of results.

use crate::detection::class_colour;

/// Colours of ADE20K's 150 classes, as its authors and mmsegmentation (`utils/class_names.py`) show them.
#[rustfmt::skip]
const ADE20K: [[u8; 3]; 150] = [
    [120, 120, 120], [180, 120, 120], [6, 230, 230], [80, 50, 50], [4, 200, 3], [120, 120, 80],
    [140, 140, 140], [204, 5, 255], [230, 230, 230], [4, 250, 7], [224, 5, 255], [235, 255, 7],
    [150, 5, 61], [120, 120, 70], [8, 255, 51], [255, 6, 82], [143, 255, 140], [204, 255, 4],
    [255, 51, 7], [204, 70, 3], [0, 102, 200], [61, 230, 250], [255, 6, 51], [11, 102, 255],
    [255, 7, 71], [255, 9, 224], [9, 7, 230], [220, 220, 220], [255, 9, 92], [112, 9, 255],
    [8, 255, 214], [7, 255, 224], [255, 184, 6], [10, 255, 71], [255, 41, 10], [7, 255, 255],
    [224, 255, 8], [102, 8, 255], [255, 61, 6], [255, 194, 7], [255, 122, 8], [0, 255, 20],
    [255, 8, 41], [255, 5, 153], [6, 51, 255], [235, 12, 255], [160, 150, 20], [0, 163, 255],
    [140, 140, 140], [250, 10, 15], [20, 255, 0], [31, 255, 0], [255, 31, 0], [255, 224, 0],
    [153, 255, 0], [0, 0, 255], [255, 71, 0], [0, 235, 255], [0, 173, 255], [31, 0, 255],
    [11, 200, 200], [255, 82, 0], [0, 255, 245], [0, 61, 255], [0, 255, 112], [0, 255, 133],
    [255, 0, 0], [255, 163, 0], [255, 102, 0], [194, 255, 0], [0, 143, 255], [51, 255, 0],
    [0, 82, 255], [0, 255, 41], [0, 255, 173], [10, 0, 255], [173, 255, 0], [0, 255, 153],
    [255, 92, 0], [255, 0, 255], [255, 0, 245], [255, 0, 102], [255, 173, 0], [255, 0, 20],
    [255, 184, 184], [0, 31, 255], [0, 255, 61], [0, 71, 255], [255, 0, 204], [0, 255, 194],
    [0, 255, 82], [0, 10, 255], [0, 112, 255], [51, 0, 255], [0, 194, 255], [0, 122, 255],
    [0, 255, 163], [255, 153, 0], [0, 255, 10], [255, 112, 0], [143, 255, 0], [82, 0, 255],
    [163, 255, 0], [255, 235, 0], [8, 184, 170], [133, 0, 255], [0, 255, 92], [184, 0, 255],
    [255, 0, 31], [0, 184, 255], [0, 214, 255], [255, 0, 112], [92, 255, 0], [0, 224, 255],
    [112, 224, 255], [70, 184, 160], [163, 0, 255], [153, 0, 255], [71, 255, 0], [255, 0, 163],
    [255, 204, 0], [255, 0, 143], [0, 255, 235], [133, 255, 0], [255, 0, 235], [245, 0, 255],
    [255, 0, 122], [255, 245, 0], [10, 190, 212], [214, 255, 0], [0, 204, 255], [20, 0, 255],
    [255, 255, 0], [0, 153, 255], [0, 41, 255], [0, 255, 204], [41, 0, 255], [41, 255, 0],
    [173, 0, 255], [0, 245, 255], [71, 0, 255], [122, 0, 255], [0, 255, 184], [0, 92, 255],
    [184, 255, 0], [0, 133, 255], [255, 214, 0], [25, 194, 194], [102, 255, 0], [92, 0, 255],
];

/// How ADE20K's list of classes begins and ends.
const ADE20K_ENDS: [&str; 2] = ["wall", "flag"];

/// A colour for each class, as red, green, blue: ADE20K's own for its 150 classes, which their names tell,
/// otherwise made up, no two equal.
pub fn class_palette(class_names: &[String]) -> Vec<[u8; 3]> {
    let ends = [class_names.first(), class_names.last()];
    if class_names.len() == ADE20K.len()
        && ends.map(|name| name.map(String::as_str)) == ADE20K_ENDS.map(Some)
    {
        return ADE20K.to_vec();
    }
    let mut palette: Vec<[u8; 3]> = Vec::with_capacity(class_names.len());
    for colour in (0..).map(class_colour) {
        if palette.len() == class_names.len() {
            break;
        }
        if !palette.contains(&colour) {
            palette.push(colour);
        }
    }
    palette
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|class| class.to_string()).collect()
    }

    #[test]
    fn made_up_colours_are_distinct() {
        for count in [0, 1, 19, 150, 255] {
            let palette = class_palette(&names(count));
            assert_eq!(palette.len(), count);
            assert_eq!(palette.iter().collect::<HashSet<_>>().len(), count);
        }
    }

    #[test]
    fn ade20k_has_its_own() {
        let mut named = names(150);
        named[0] = "wall".to_owned();
        named[149] = "flag".to_owned();
        let palette = class_palette(&named);
        assert_eq!(palette[0], [120, 120, 120]);
        assert_eq!(palette[2], [6, 230, 230]); // sky
        assert_eq!(palette[149], [92, 0, 255]);
        assert_ne!(class_palette(&names(150)), palette);
    }
}
