//! Thousands of damaged files: never a panic, never a runaway allocation.

use std::io::Write;

use deepmim_backbone::weights::{Checkpoint, inspect};
use rand::{Rng, SeedableRng};

use super::fixture;

/// Largest memory this process ever had, in KiB; 0 where the system does not tell.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Bit flips, overwritten lengths, cuts and doubled stretches in every format.
#[test]
fn damaged_files_are_errors_at_worst() {
    let files: Vec<Vec<u8>> = [
        "strided_shared.pth",
        "strided_shared_legacy.pth",
        "dtypes.pth",
        "odd_values.pth",
        "parameters.pth",
        "detectron2_p2.pkl",
        "detectron2_p4.pkl",
        "clip_torchscript.pt",
        "legacy.pth",
        "rezipped_deflate.pth",
        "malicious_memo_bomb.pkl",
        "expected/strided_shared_pth.safetensors",
    ]
    .iter()
    .map(|name| std::fs::read(fixture(name)).unwrap())
    .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pth");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let before = peak_kib();
    let (mut good, mut bad) = (0, 0);
    for round in 0..4000 {
        let mut bytes = files[round % files.len()].clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..6) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes[at] = rng.random(),
                2 => {
                    // Lengths and counts are little-endian numbers of 1 to 8 bytes.
                    let end = (at + rng.random_range(1..9)).min(bytes.len());
                    bytes[at..end].fill(if rng.random() { 0xff } else { 0x7f });
                }
                3 => bytes.truncate(at.max(1)),
                4 => {
                    let end = (at + rng.random_range(1..64)).min(bytes.len());
                    let stretch = bytes[at..end].to_vec();
                    bytes.splice(at..at, stretch);
                }
                _ => {
                    let end = (at + rng.random_range(1..16)).min(bytes.len());
                    if bytes.len() > end - at {
                        bytes.drain(at..end);
                    }
                }
            }
        }
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&bytes).unwrap();
        drop(file);
        match Checkpoint::open(&path).and_then(|checkpoint| checkpoint.read_all()) {
            Ok(_) => {
                good += 1;
                let _ = inspect(&path, false).map(|found| found.to_string());
            }
            Err(error) => {
                bad += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(good > 100 && bad > 1000, "{good} read, {bad} refused");
    // The largest file has 20 KiB; other tests share the process.
    assert!(
        peak_kib() - before < 512 * 1024,
        "{} KiB more",
        peak_kib() - before
    );
}

fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crafted.pkl");
    std::fs::write(&path, bytes).unwrap();
    match Checkpoint::open(&path).and_then(|checkpoint| checkpoint.read_all()) {
        Ok(state) => panic!("{} tensors were read", state.len()),
        Err(error) => error.to_string(),
    }
}

/// A pickled array over shared lists: 2^40 paths to one tensor.
#[test]
fn a_bomb_around_a_tensor_is_refused() {
    let array = b"cnumpy._core.multiarray\n_reconstruct\n)R(K\x01(K\x01tcnumpy\ndtype\n(U\x02f4tRI00\nU\x04\0\0\0\0tb";
    let mut program = b"\x80\x02".to_vec();
    program.extend_from_slice(array);
    for level in 0..40_u8 {
        program.extend_from_slice(&[b'q', level, b'0', b'(', b'h', level, b'h', level, b'l']);
    }
    program.push(b'.');
    assert!(refused(&program).contains("hold each other"));
}

/// The same array alone is fine: the bomb's parts are not what is refused.
#[test]
fn the_array_of_the_bomb_is_harmless() {
    let array = b"\x80\x02}U\x01wcnumpy._core.multiarray\n_reconstruct\n)R(K\x01(K\x01tcnumpy\ndtype\n(U\x02f4tRI00\nU\x04\0\0\x80?tbs.";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("array.pkl");
    std::fs::write(&path, array).unwrap();
    let state = Checkpoint::open(&path).unwrap().read_all().unwrap();
    assert_eq!(state.get("w").unwrap().double_value(&[0]), 1.0);
}

/// A list that holds itself.
#[test]
fn endless_nesting_is_refused() {
    assert!(refused(b"\x80\x02]q\x00h\x00a.").contains("hundred deep"));
}

/// Three rows that are all the same four numbers become two thousand million of them.
#[test]
fn an_expanded_giant_is_refused() {
    let bytes = std::fs::read(fixture("strided_shared_legacy.pth")).unwrap();
    let find = |part: &[u8], from: usize| {
        from + bytes[from..]
            .windows(part.len())
            .position(|window| window == part)
            .unwrap()
    };
    let expanded = find(b"expanded", 0);
    let rows = find(b"K\x03K\x04", expanded); // its shape (3, 4); a stride of 0 follows
    let mut giant = bytes[..rows].to_vec();
    giant.extend_from_slice(b"J\xff\xff\xff\x7f");
    giant.extend_from_slice(&bytes[rows + 2..]);
    let message = refused(&giant);
    assert!(message.contains("damaged or hostile"), "{message}");
}

#[test]
fn a_safetensors_shape_must_fit_its_bytes() {
    let mut bytes = std::fs::read(fixture("expected/strided_shared_pth.safetensors")).unwrap();
    let at = bytes.windows(5).position(|part| part == b"[6,8]").unwrap();
    bytes[at..at + 5].copy_from_slice(b"[9,9]");
    assert!(refused(&bytes).contains("has 192 bytes"));
}
