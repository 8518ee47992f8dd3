//! How fast label maps are scored; prints JSON.
//!
//! ```text
//! segmentation_throughput                        the metric alone, on made-up maps in memory, beside
//!                                                the speed at which the same bytes can be read
//! segmentation_throughput GT PRED CLASSES        folders of PNG files, decoding included
//! ```
//! Options: `--threads N` (folders), `--rounds N`. `benches/score_segmentation.py` compares the second
//! form with mmsegmentation.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use deepmim_eval::Strictness;
use deepmim_eval::segmentation::{
    ImageCounter, LabelMap, LabelSpec, Labels, SegmentationMeter, SegmentationOptions,
    evaluate_label_folders,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const WIDTH: usize = 683;
const HEIGHT: usize = 512;
const CLASSES: usize = 150;
/// Together several times the last-level cache of most processors.
const MAPS: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut threads, mut rounds) = (None, 9);
    let mut positional = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            arguments
                .next()
                .ok_or("a number is missing")?
                .parse::<usize>()
                .map_err(Box::<dyn Error>::from)
        };
        match argument.as_str() {
            "--threads" => threads = Some(number()?),
            "--rounds" => rounds = number()?.max(1),
            _ => positional.push(argument),
        }
    }
    match positional.as_slice() {
        [] => metric(rounds),
        [labels, predictions, classes] => folders(
            Path::new(labels),
            Path::new(predictions),
            classes.parse()?,
            threads,
            rounds,
        ),
        _ => Err(
            "usage: segmentation_throughput [GT PRED CLASSES] [--threads N] [--rounds N]".into(),
        ),
    }
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

fn folders(
    labels: &Path,
    predictions: &Path,
    classes: usize,
    threads: Option<usize>,
    rounds: usize,
) -> Result<(), Box<dyn Error>> {
    let options = SegmentationOptions::new(LabelSpec::new(classes)?);
    if let Some(threads) = threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()?;
    }
    let mut seconds = Vec::new();
    let mut scores = None;
    for _ in 0..rounds {
        let start = Instant::now();
        let result = evaluate_label_folders(labels, predictions, &options, &|_, _| {})?;
        scores = Some((result.meter.scores(), result.meter.images()));
        seconds.push(start.elapsed().as_secs_f64());
    }
    if let Some((scores, images)) = scores {
        println!(
            "{{\"images\": {images}, \"mIoU\": {}, \"mAcc\": {}, \"aAcc\": {}, \"seconds\": {}}}",
            scores.mean_iou,
            scores.mean_accuracy,
            scores.pixel_accuracy,
            median(&mut seconds)
        );
    }
    Ok(())
}

/// One thread; the two measurements take turns and walk the same memory in the same order.
fn metric(rounds: usize) -> Result<(), Box<dyn Error>> {
    let maps = blobs(0);
    let bytes = 2 * WIDTH * HEIGHT * MAPS;
    let mut counter = ImageCounter::new(LabelSpec::new(CLASSES)?, Strictness::Strict);
    let (mut counting, mut reading) = (Vec::new(), Vec::new());
    // The fastest of each map: what the machine can do when nothing else runs on it.
    let mut fastest = vec![[f64::INFINITY; 2]; MAPS];
    for _ in 0..=rounds {
        let mut meter = SegmentationMeter::new(CLASSES);
        let mut sums = [0.0; 2];
        for ((label, prediction), fastest) in maps.iter().zip(&mut fastest) {
            let start = Instant::now();
            black_box(read(label) ^ read(prediction));
            let read_seconds = start.elapsed().as_secs_f64();
            sums[1] += read_seconds;
            fastest[1] = fastest[1].min(read_seconds);
        }
        for ((label, prediction), fastest) in maps.iter().zip(&mut fastest) {
            let start = Instant::now();
            meter.add(&counter.count(label, prediction)?)?;
            let count_seconds = start.elapsed().as_secs_f64();
            sums[0] += count_seconds;
            fastest[0] = fastest[0].min(count_seconds);
        }
        black_box(meter.scores().mean_iou);
        counting.push(sums[0]);
        reading.push(sums[1]);
    }
    // The first round warmed up.
    let (count, read) = (median(&mut counting[1..]), median(&mut reading[1..]));
    let least = |which: usize| fastest.iter().map(|times| times[which]).sum::<f64>();
    let rate = |seconds: f64| bytes as f64 / seconds / 1e9;
    println!(
        "{{\"maps\": {MAPS}, \"size\": \"{WIDTH}x{HEIGHT}\", \"classes\": {CLASSES}, \"rounds\": {rounds},\n \
         \"median\": {{\"metric_us_per_image\": {:.1}, \"metric_gb_per_s\": {:.2}, \"read_gb_per_s\": {:.2}, \"fraction\": {:.3}}},\n \
         \"fastest\": {{\"metric_us_per_image\": {:.1}, \"metric_gb_per_s\": {:.2}, \"read_gb_per_s\": {:.2}, \"fraction\": {:.3}}}}}",
        count / MAPS as f64 * 1e6,
        rate(count),
        rate(read),
        read / count,
        least(0) / MAPS as f64 * 1e6,
        rate(least(0)),
        rate(least(1)),
        least(1) / least(0),
    );
    Ok(())
}

/// Touches every byte as fast as this compiler's plain code does.
fn read(map: &LabelMap) -> u64 {
    let Labels::U8(labels) = map.labels() else {
        return 0;
    };
    let words = labels.as_chunks::<8>().0;
    words
        .iter()
        .fold(0, |sum, &word| sum ^ u64::from_le_bytes(word))
}

/// Label maps of about thirty regions with wavy borders, and predictions of them: shifted borders,
/// and patches of other classes.
fn blobs(seed: u64) -> Vec<(LabelMap, LabelMap)> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..MAPS)
        .map(|_| {
            let centres: Vec<(f32, f32, u8)> = (0..30)
                .map(|_| {
                    let x = random.random_range(0.0..WIDTH as f32);
                    let y = random.random_range(0.0..HEIGHT as f32);
                    (x, y, random.random_range(0..CLASSES as u8))
                })
                .collect();
            let mut labels = vec![0; WIDTH * HEIGHT];
            for (pixel, label) in labels.iter_mut().enumerate() {
                let (x, y) = ((pixel % WIDTH) as f32, (pixel / WIDTH) as f32);
                let wavy = (
                    x + 6.0 * (0.13 * y).sin() + 3.0 * (0.31 * x).cos(),
                    y + 6.0 * (0.11 * x).sin(),
                );
                let distance = |centre: &(f32, f32, u8)| {
                    (centre.0 - wavy.0).powi(2) + (centre.1 - wavy.1).powi(2)
                };
                let nearest = centres
                    .iter()
                    .min_by(|a, b| distance(a).total_cmp(&distance(b)));
                *label = nearest.map_or(0, |centre| centre.2);
            }
            let mut predictions: Vec<u8> = (0..WIDTH * HEIGHT)
                .map(|pixel| {
                    let (x, y) = (pixel % WIDTH, pixel / WIDTH);
                    let shift = (4.0 * (0.2 * y as f32).sin()) as isize;
                    labels[y * WIDTH + x.saturating_add_signed(shift).min(WIDTH - 1)]
                })
                .collect();
            for _ in 0..60 {
                let (x, y) = (
                    random.random_range(0..WIDTH),
                    random.random_range(0..HEIGHT),
                );
                let radius = random.random_range(2..27usize);
                let class = random.random_range(0..CLASSES as u8);
                for row in y.saturating_sub(radius)..(y + radius).min(HEIGHT) {
                    for column in x.saturating_sub(radius)..(x + radius).min(WIDTH) {
                        if row.abs_diff(y).pow(2) + column.abs_diff(x).pow(2) < radius * radius {
                            predictions[row * WIDTH + column] = class;
                        }
                    }
                }
            }
            let map = |labels: Vec<u8>| LabelMap::new(WIDTH, HEIGHT, labels);
            map(labels).zip(map(predictions))
        })
        .map(|maps| maps.unwrap_or_else(|| unreachable!("each map has {WIDTH} x {HEIGHT} pixels")))
        .collect()
}
