//! JPEG of 500x375 pixels to an augmented tensor of 3x224x224, whole and by part. Pictures a second.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepmim_data::augment::RandomErasing;
use deepmim_data::{
    ClassificationDataset, CropBox, Dataset, EvalTransformConfig, Filter, RgbImage, TrainCrop,
    TrainTransformConfig, Transform, decode_into, resize, resize_crop_into, write_jpeg,
};

/// A photograph-like picture: smooth colours, edges and grain.
fn picture() -> RgbImage {
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut coarse = RgbImage::new(16, 12);
    coarse.pixels.fill_with(&mut random);
    let mut image = resize(&coarse, 500, 375, Filter::Bicubic);
    for (at, value) in image.pixels.iter_mut().enumerate() {
        let (x, y) = (at / 3 % 500, at / 1500);
        let edge = if (x / 40 + y / 50) % 3 == 0 { 60 } else { 0 };
        *value = value.saturating_add(edge).saturating_add(random() / 16);
    }
    image
}

fn finetune() -> TrainTransformConfig {
    let mut config = TrainTransformConfig::new(224, TrainCrop::random_resized(0.08));
    config.rand_augment = "rand-m9-mstd0.5-inc1".parse().ok();
    config.random_erasing = Some(RandomErasing::default());
    config
}

fn whole(c: &mut Criterion, path: &Path) {
    let pretrain = TrainTransformConfig::new(224, TrainCrop::random_resized(0.2));
    let transforms = [
        ("pretrain", Transform::train(&pretrain)),
        ("finetune", Transform::train(&finetune())),
        ("eval", Transform::eval(&EvalTransformConfig::new(224))),
    ];
    let mut group = c.benchmark_group("pipeline_500x375_to_224");
    group.throughput(Throughput::Elements(1)); // pictures
    for (name, transform) in transforms {
        let transform = transform.expect("the benchmark's configuration is valid");
        let dataset = ClassificationDataset::of_files([path.to_owned()], transform);
        let mut seed = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                seed += 1;
                dataset
                    .sample(0, seed)
                    .expect("the benchmark's picture is readable")
            });
        });
    }
    group.finish();
}

fn parts(c: &mut Criterion, path: &Path) {
    let bytes = std::fs::read(path).expect("the benchmark's picture is readable");
    let mut image = RgbImage::default();
    let mut group = c.benchmark_group("pipeline_parts");
    group.throughput(Throughput::Elements(1)); // pictures
    group.bench_function("decode_500x375", |b| {
        b.iter(|| decode_into(black_box(&bytes), "bench", &mut image).expect("readable"));
    });
    let crop = CropBox {
        x: 60,
        y: 50,
        width: 380,
        height: 280,
    };
    let mut out = RgbImage::default();
    group.bench_function("bicubic_crop_380x280_to_224", |b| {
        b.iter(|| resize_crop_into(black_box(&image), crop, 224, 224, Filter::Bicubic, &mut out));
    });
    group.bench_function("flip_224", |b| b.iter(|| out.flip()));
    let mut config = EvalTransformConfig::new(224);
    config.resize = false;
    let plain = Transform::eval(&config).expect("the benchmark's configuration is valid");
    group.bench_function("normalise_224", |b| {
        b.iter(|| plain.apply(black_box(&out), 0))
    });
    group.finish();
}

fn pipeline(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("picture.jpg");
    write_jpeg(&picture(), &path, 85).expect("the picture can be written");
    whole(c, &path);
    parts(c, &path);
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
