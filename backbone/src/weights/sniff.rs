//! Telling a file's format from its first bytes, and naming what is no checkpoint.

/// What a file looks like.
pub(super) enum Sniffed {
    Zip,
    Legacy,
    Pickle,
    Safetensors,
    Else { what: String, remedy: &'static str },
}

/// PyTorch's magic number 0x1950a86a20f9469cfc6c, pickled.
const LEGACY_MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Looks at the first bytes (a few hundred are enough) of a file of `length` bytes.
pub(super) fn sniff(head: &[u8], length: u64) -> Sniffed {
    let other = |what: &str, remedy| Sniffed::Else {
        what: what.to_owned(),
        remedy,
    };
    let again = "download it again and check that the address leads to the file itself";
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start().to_ascii_lowercase();
    if head.is_empty() {
        return other("an empty file", "copy or download it again");
    }
    if head.starts_with(b"PK\x03\x04") {
        return Sniffed::Zip;
    }
    // Before pickles: a header's length may begin with a pickle's first byte, while no pickle that
    // opens with a header has a zero in its eighth byte.
    if let (Some(size), Some(b'{')) = (head.first_chunk::<8>(), head.get(8))
        && u64::from_le_bytes(*size) <= length
    {
        return Sniffed::Safetensors;
    }
    if head.first() == Some(&0x80) {
        return match head.get(2..) {
            Some(rest) if rest.starts_with(LEGACY_MAGIC) => Sniffed::Legacy,
            _ => Sniffed::Pickle,
        };
    }
    if text.starts_with("<!doctype") || text.starts_with("<html") || text.starts_with("<?xml") {
        return other("a web page", again);
    }
    if text.starts_with("version https://git-lfs") {
        return other(
            "a Git LFS pointer",
            "fetch the file itself with `git lfs pull`",
        );
    }
    if head.get(257..262) == Some(b"ustar") {
        return other(
            "a tar archive, perhaps of PyTorch before 0.2",
            "unpack it, or save its weights again with a current PyTorch",
        );
    }
    for (magic, what) in [
        (&b"\x89HDF"[..], "an HDF5 file (Keras or old TensorFlow)"),
        (b"GGUF", "a GGUF file"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x93NUMPY", "a single numpy array"),
        (b"PK", "a damaged zip container"),
    ] {
        if head.starts_with(magic) {
            return other(what, "give a .pth, .pt, .pkl or .safetensors file");
        }
    }
    // Protocol 0 and 1 have no header; these instructions can open one.
    if matches!(head.first(), Some(b'(' | b'}' | b']' | b'c')) && !text.starts_with("{\"") {
        return Sniffed::Pickle;
    }
    let printable = head
        .iter()
        .all(|byte| !byte.is_ascii_control() || byte.is_ascii_whitespace());
    let what = if printable {
        "a text file"
    } else {
        "a file of an unknown format"
    };
    other(what, again)
}
