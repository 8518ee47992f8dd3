//! Masks from any bytes: strings, runs and polygons. What is accepted must be consistent.
#![no_main]

use deepmim_eval::{PreparedMask, Rle, mask_iou};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, u16, u8, Vec<u8>, Vec<f32>)| {
    let (height, width, kind, bytes, numbers) = input;
    let (height, width) = (u32::from(height), u32::from(width));
    let mask = match kind % 3 {
        0 => Rle::from_string(height, width, &bytes),
        1 => {
            let counts = bytes.as_chunks::<4>().0;
            let counts = counts.iter().map(|bytes| u32::from_le_bytes(*bytes));
            Rle::from_counts(height, width, counts.collect())
        }
        _ => {
            let numbers: Vec<f64> = numbers.iter().map(|&number| f64::from(number)).collect();
            Rle::from_polygon(height, width, &numbers)
        }
    };
    let Ok(mask) = mask else {
        return;
    };
    let pixels = u64::from(height) * u64::from(width);
    assert_eq!(mask.counts().iter().map(|&run| u64::from(run)).sum::<u64>(), pixels);
    assert!(mask.area() <= pixels);
    let text = mask.to_compressed();
    let again = Rle::from_string(height, width, text.as_bytes()).expect("our own string is read");
    assert_eq!(again, mask);
    let iou = mask_iou(&mask, &again, false);
    assert!(iou == if mask.area() == 0 { 0.0 } else { 1.0 });
    let prepared = PreparedMask::from(&mask);
    assert_eq!((prepared.area(), prepared.bounding_box()), (mask.area(), mask.bounding_box()));
    if pixels <= 1 << 16 {
        let bitmap = mask.decode();
        assert_eq!(bitmap.iter().map(|&inside| u64::from(inside)).sum::<u64>(), mask.area());
        assert_eq!(Rle::from_bitmap(height, width, &bitmap).expect("it fits").area(), mask.area());
    }
});
