//! Folders of label maps: kinds of PNG, pairing, and every way in which a file can be bad.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use deepmim_eval::Strictness;
use deepmim_eval::segmentation::{
    LabelMap, LabelSpec, Labels, SegmentationOptions, SegmentationResult, evaluate_label_folders,
    read_class_names, read_label_png,
};
use flate2::Compression;
use flate2::write::ZlibEncoder;

const GRAY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;
const GRAY_ALPHA: u8 = 4;
const RGBA: u8 = 6;

/// A PNG file made of given rows (samples packed as the format says, without filter bytes).
struct Png {
    width: u32,
    height: u32,
    depth: u8,
    color: u8,
    interlaced: bool,
    /// Rows of the picture, or of its seven interlaced passes one after the other.
    rows: Vec<Vec<u8>>,
}

impl Png {
    fn gray(width: u32, labels: &[u8]) -> Self {
        Self {
            width,
            height: labels.len() as u32 / width,
            depth: 8,
            color: GRAY,
            interlaced: false,
            rows: labels.chunks(width as usize).map(<[u8]>::to_vec).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let chunk = |kind: &[u8; 4], data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(kind);
            crc.update(data);
            let length = (data.len() as u32).to_be_bytes();
            [&length[..], kind, data, &crc.sum().to_be_bytes()].concat()
        };
        let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        header.extend([self.depth, self.color, 0, 0, u8::from(self.interlaced)]);
        let mut data = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in &self.rows {
            data.write_all(&[0]).unwrap();
            data.write_all(row).unwrap();
        }
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        file.extend(chunk(b"IHDR", &header));
        if self.color == PALETTE {
            // All colours alike: they must not matter.
            file.extend(chunk(b"PLTE", &vec![9; 3 << self.depth.min(8)]));
        }
        file.extend(chunk(b"IDAT", &data.finish().unwrap()));
        file.extend(chunk(b"IEND", &[]));
        file
    }

    fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.bytes()).unwrap();
    }
}

/// Samples of a row packed into bytes, leftmost highest.
fn packed(labels: &[u8], depth: u8) -> Vec<u8> {
    labels
        .chunks(8 / usize::from(depth))
        .map(|labels| {
            let place = |(i, label): (usize, &u8)| label << (8 - depth * (i as u8 + 1));
            labels.iter().enumerate().map(place).sum()
        })
        .collect()
}

fn read(png: &Png) -> Result<LabelMap, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.png");
    png.write(&path);
    let prefix = format!("{}: ", path.display());
    read_label_png(&path).map_err(|error| {
        let text = error.to_string();
        text.strip_prefix(&prefix)
            .expect("the file is named")
            .to_owned()
    })
}

#[test]
fn every_bit_depth_gray_and_palette_plain_and_interlaced() {
    // Widths that leave bytes unfilled; every number of the depth occurs.
    for depth in [1, 2, 4, 8] {
        let (width, height) = (13usize, 11usize);
        let most = ((1u16 << depth) - 1) as u8;
        let labels: Vec<u8> = (0..width * height)
            .map(|i| {
                if i == 0 {
                    most
                } else {
                    (i * 7 % 256) as u8 & most
                }
            })
            .collect();
        let at = |x: usize, y: usize| labels[y * width + x];
        let row = |xs: &mut dyn Iterator<Item = usize>, y: usize| {
            let labels: Vec<u8> = xs.map(|x| at(x, y)).collect();
            packed(&labels, depth)
        };
        let plain = (0..height).map(|y| row(&mut (0..width), y)).collect();
        // The format's seven passes: first column and row, distance of columns and rows.
        let mut passes = Vec::new();
        for (x, y, dx, dy) in [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ] {
            for y in (y..height).step_by(dy) {
                passes.push(row(&mut (x..width).step_by(dx), y));
            }
        }
        for (interlaced, rows) in [(false, plain), (true, passes)] {
            for color in [GRAY, PALETTE] {
                let png = Png {
                    width: width as u32,
                    height: height as u32,
                    depth,
                    color,
                    interlaced,
                    rows: rows.clone(),
                };
                let expected = LabelMap::new(width, height, labels.clone()).unwrap();
                assert_eq!(
                    read(&png).unwrap(),
                    expected,
                    "{depth} bits, colour type {color}"
                );
            }
        }
    }
}

#[test]
fn sixteen_bits_are_class_numbers_too() {
    let png = |labels: &[u16]| Png {
        width: labels.len() as u32,
        height: 1,
        depth: 16,
        color: GRAY,
        interlaced: false,
        rows: vec![
            labels
                .iter()
                .flat_map(|label| label.to_be_bytes())
                .collect(),
        ],
    };
    let map = read(&png(&[0, 255, 256, 65535])).unwrap();
    assert_eq!(*map.labels(), Labels::U16(vec![0, 255, 256, 65535]));
    // Small numbers are counted as bytes.
    let map = read(&png(&[0, 149, 255])).unwrap();
    assert_eq!(*map.labels(), Labels::U8(vec![0, 149, 255]));
}

#[test]
fn colours_are_no_class_numbers() {
    for (color, channels, expected) in [
        (RGB, 3, "a colour picture, not a label map"),
        (RGBA, 4, "a colour picture, not a label map"),
        (GRAY_ALPHA, 2, "has a transparency channel"),
    ] {
        let mut png = Png::gray(2, &[0; 4]);
        png.color = color;
        png.rows = vec![vec![0; 2 * channels]; 2];
        let error = read(&png).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert!(
            error.contains("save class numbers as one channel"),
            "{error}"
        );
    }
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

/// The second read of a reader goes into the memory of the first.
#[test]
fn memory_used_again_shows_nothing_of_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (gt, pred) = (folder.path().join("gt"), folder.path().join("pred"));
    for (i, label) in [1, 0, 1, 0].into_iter().enumerate() {
        let mut png = Png::gray(9, &[label; 9]);
        if i > 0 {
            png.depth = 1;
            png.rows = vec![packed(&[label; 9], 1)];
        }
        png.write(&gt.join(format!("{i}.png")));
        png.write(&pred.join(format!("{i}.png")));
    }
    let options = SegmentationOptions::new(LabelSpec::new(2).unwrap());
    let result = with_threads(1, || {
        evaluate_label_folders(&gt, &pred, &options, &|_, _| {})
    })
    .unwrap();
    let rows: Vec<&[u64]> = result.meter.matrix().collect();
    assert_eq!(rows, [[18, 0, 0], [0, 18, 0]]);
}

#[test]
fn headers_are_not_believed() {
    let mut png = Png::gray(4, &[0; 16]);
    (png.width, png.height) = (i32::MAX as u32, i32::MAX as u32);
    let error = read(&png).unwrap_err();
    assert_eq!(
        error,
        "its header says 2147483647 x 2147483647 pixels: at most 268435456 are read"
    );
    (png.width, png.height) = (16384, 16384);
    let error = read(&png).unwrap_err();
    assert!(
        error.contains("16384 x 16384 pixels, more than") && error.contains("damaged or cut off"),
        "{error}"
    );
    (png.width, png.height) = (0, 4);
    assert!(read(&png).unwrap_err().starts_with("not a readable PNG"));
}

#[test]
fn a_file_cut_anywhere_or_changed_is_an_error_or_the_same_map() {
    let labels: Vec<u8> = (0..400u32).map(|i| (i * i / 37 % 150) as u8).collect();
    let whole = Png::gray(20, &labels).bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.png");
    let expected = LabelMap::new(20, 20, labels).unwrap();
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match read_label_png(&path) {
            Ok(map) => assert_eq!(map, expected),
            Err(error) => assert!(error.to_string().contains("map.png: ")),
        }
    };
    for length in 0..whole.len() {
        check(&whole[..length]);
    }
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x55;
        check(&changed);
    }
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = read_label_png(&path).unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    fs::write(&path, b"\xff\xd8\xff\xe0 a JPEG").unwrap();
    let error = read_label_png(&path).unwrap_err().to_string();
    assert!(error.contains("not a readable PNG"), "{error}");
    let error = read_label_png(Path::new("no/such.png"))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("no/such.png: cannot be read"), "{error}");
}

/// Two folders in a temporary one.
struct Folders {
    _temporary: tempfile::TempDir,
    gt: PathBuf,
    pred: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let [gt, pred] = ["gt", "pred"].map(|name| temporary.path().join(name));
        for folder in [&gt, &pred] {
            fs::create_dir(folder).unwrap();
        }
        Self {
            _temporary: temporary,
            gt,
            pred,
        }
    }

    fn add(&self, label: &str, prediction: &str, labels: &[u8], predictions: &[u8]) {
        Png::gray(2, labels).write(&self.gt.join(label));
        Png::gray(2, predictions).write(&self.pred.join(prediction));
    }

    fn score(&self, strictness: Strictness) -> Result<SegmentationResult, String> {
        let mut options = SegmentationOptions::new(LabelSpec::new(3).unwrap());
        options.strictness = strictness;
        let shown = |path: &Path| format!("{}/", path.display());
        evaluate_label_folders(&self.gt, &self.pred, &options, &|_, _| {}).map_err(|error| {
            let text = error.to_string();
            text.replace(&shown(&self.gt), "GT/")
                .replace(&shown(&self.pred), "PRED/")
        })
    }

    fn strict_error(&self) -> String {
        self.score(Strictness::Strict).unwrap_err()
    }
}

#[test]
fn files_are_paired_by_path_or_by_name() {
    let pairs = [
        ("val/a.png", "val/a.PNG"),
        ("val/deep/b.png", "b.png"),
        ("c.png", "val/c.png"),
    ];
    for (label, prediction) in pairs {
        let folders = Folders::new();
        folders.add(label, prediction, &[0, 1, 2, 255], &[0, 1, 1, 1]);
        // Not label maps.
        fs::write(folders.gt.join("readme.txt"), "x").unwrap();
        fs::write(folders.gt.join("._a.png"), "x").unwrap();
        let result = folders.score(Strictness::Strict).unwrap();
        assert_eq!(result.meter.scores().pixel_accuracy, 2.0 / 3.0);
        assert_eq!(result.images.len(), 1);
        assert_eq!(result.images[0].tally.classes().len(), 3);
    }
    let folders = Folders::new();
    folders.add("x/a.png", "a.png", &[0; 4], &[0; 4]);
    Png::gray(2, &[0; 4]).write(&folders.gt.join("y/a.png"));
    let error = folders.strict_error();
    assert_eq!(
        error,
        "GT/y/a.png: has the same name as GT/x/a.png: use the same subfolders for ground truth and \
         predictions"
    );
    let folders = Folders::new();
    folders.add("a.png", "a.png", &[0; 4], &[0; 4]);
    Png::gray(2, &[0; 4]).write(&folders.gt.join("a.PNG"));
    assert!(folders.strict_error().contains("has the same name as"));
}

#[cfg(unix)]
#[test]
fn a_link_back_up_does_not_go_on_for_ever() {
    let folders = Folders::new();
    folders.add("a.png", "a.png", &[0; 4], &[0; 4]);
    std::os::unix::fs::symlink(&folders.gt, folders.gt.join("again")).unwrap();
    assert_eq!(folders.score(Strictness::Strict).unwrap().images.len(), 1);
}

#[test]
fn bad_files_are_errors_that_name_them_or_are_left_out_and_counted() {
    type Spoil = fn(&Folders);
    let spoils: [(Spoil, &str); 7] = [
        (
            |f| fs::remove_file(f.pred.join("b.png")).unwrap(),
            "PRED/b.png: missing, the prediction for GT/b.png; 1 of 3 label maps have none",
        ),
        (
            |f| Png::gray(2, &[0; 4]).write(&f.pred.join("d.png")),
            "PRED/d.png: a prediction without ground truth in ",
        ),
        (
            |f| Png::gray(1, &[0; 4]).write(&f.pred.join("b.png")),
            "PRED/b.png: the prediction is 1 x 4 pixels, its ground truth 2 x 2: predict at the size \
             of the ground truth",
        ),
        (
            |f| Png::gray(2, &[0, 0, 7, 0]).write(&f.gt.join("b.png")),
            "GT/b.png: the ground truth is 7 at column 0, row 1, which is none of the 3 classes",
        ),
        (
            |f| fs::write(f.pred.join("b.png"), b"\x89PNG\r\n\x1a\n").unwrap(),
            "PRED/b.png: the PNG ends early: the file is cut off",
        ),
        (
            |f| {
                let mut png = Png::gray(2, &[0; 4]);
                png.color = RGB;
                png.rows = vec![vec![0; 6]; 2];
                png.write(&f.gt.join("b.png"));
            },
            "GT/b.png: a colour picture, not a label map",
        ),
        (
            |f| {
                let mut bytes = Png::gray(2, &[0; 4]).bytes();
                let end = bytes.len() - 20;
                bytes[end] ^= 1;
                fs::write(f.gt.join("b.png"), bytes).unwrap();
            },
            "GT/b.png: not a readable PNG",
        ),
    ];
    for (spoil, expected) in spoils {
        let folders = Folders::new();
        for name in ["a.png", "b.png", "c.png"] {
            folders.add(name, name, &[0, 1, 2, 255], &[0, 1, 1, 1]);
        }
        spoil(&folders);
        let error = folders.strict_error();
        assert!(
            error.starts_with(expected),
            "{error}\ninstead of {expected}"
        );
        let result = folders.score(Strictness::Lenient).unwrap();
        assert_eq!(result.skipped.count(), 1, "{expected}");
        let extra = expected.contains("without ground truth");
        assert_eq!(result.images.len(), if extra { 3 } else { 2 });
        assert_eq!(result.meter.images(), result.images.len() as u64);
    }
}

/// Predicted numbers that are no class: an error, or wrong pixels of an image that is scored.
#[test]
fn predictions_beyond_the_classes() {
    let folders = Folders::new();
    folders.add("a.png", "a.png", &[0, 1, 2, 255], &[0, 1, 3, 9]);
    let error = folders.strict_error();
    assert!(
        error.starts_with("PRED/a.png: the prediction is 3 at column 0, row 1"),
        "{error}"
    );
    let result = folders.score(Strictness::Lenient).unwrap();
    assert_eq!(
        (result.skipped.count(), result.meter.unclassified()),
        (0, 1)
    );
}

#[test]
fn folders_without_anything_to_score() {
    let folders = Folders::new();
    let empty = format!("{}: holds no PNG label maps", folders.gt.display());
    assert!(folders.strict_error().starts_with(&empty));
    fs::remove_dir(&folders.pred).unwrap();
    Png::gray(2, &[0; 4]).write(&folders.gt.join("a.png"));
    assert!(folders.strict_error().contains("cannot be read"));
    Png::gray(2, &[0; 4]).write(&folders.pred.join("other.png"));
    let error = folders.score(Strictness::Lenient).unwrap_err();
    assert!(
        error.contains("no label map could be scored, 1 were left out, and the first one because: PRED/a.png: missing"),
        "{error}"
    );
}

/// Neither the sums, the images' order, what was left out nor the error depend on threads.
#[test]
fn threads_change_nothing() {
    let folders = Folders::new();
    for i in 0..60u8 {
        let name = format!("{i:03}.png");
        let broken = if i % 17 == 9 { 200 } else { i % 3 };
        folders.add(&name, &name, &[i % 3, 1, broken, 255], &[0, i % 2, 1, 2]);
    }
    let run = |threads, strictness| {
        let mut options = SegmentationOptions::new(LabelSpec::new(3).unwrap());
        options.strictness = strictness;
        let calls = Mutex::new(Vec::new());
        let progress = |done, total| calls.lock().unwrap().push((done, total));
        let result = with_threads(threads, || {
            evaluate_label_folders(&folders.gt, &folders.pred, &options, &progress)
        });
        (result, calls.into_inner().unwrap())
    };
    let (one, mut calls) = run(1, Strictness::Lenient);
    let one = one.unwrap();
    calls.sort_unstable();
    assert_eq!(calls, (1..=60).map(|done| (done, 60)).collect::<Vec<_>>());
    assert_eq!(one.skipped.count(), 3);
    let first = one.skipped.first().unwrap().to_string();
    assert!(first.contains("009.png"), "{first}");
    for threads in [2, 5] {
        let many = run(threads, Strictness::Lenient).0.unwrap();
        assert_eq!((&one.meter, &one.images), (&many.meter, &many.images));
        assert_eq!(many.skipped.first().unwrap().to_string(), first);
        for _ in 0..20 {
            let error = run(threads, Strictness::Strict).0.unwrap_err();
            assert_eq!(error.to_string(), first);
        }
    }
}

/// Real files, where they are: the ground truth against itself is perfect.
#[test]
fn ade20k_s_own_files() {
    let Some(root) = std::env::var_os("DEEPMIM_REAL_DATA") else {
        eprintln!("skipped: DEEPMIM_REAL_DATA is not set");
        return;
    };
    let ade = Path::new(&root).join("ade20k-sample");
    let names = read_class_names(&ade.join("objectInfo150.csv")).unwrap();
    assert_eq!((names.len(), names[1].as_str()), (150, "building"));
    let folder = ade.join("annotations/validation");
    let mut labels = LabelSpec::new(names.len()).unwrap();
    labels.reduce_zero_label = true;
    labels.one_based_predictions = true;
    let options = SegmentationOptions::new(labels);
    let result = evaluate_label_folders(&folder, &folder, &options, &|_, _| {}).unwrap();
    assert_eq!(result.images.len(), 3);
    assert_eq!(result.images[0].name, "ADE_val_00000001");
    assert_eq!(result.meter.scores().mean_iou, 1.0);
}
