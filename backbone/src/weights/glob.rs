//! Patterns over parameter names: `*` stands for any run of letters, dots included.

/// True where the whole name fits the pattern.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty(); // no `*` at all
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// True where any of the patterns fits.
pub(super) fn any(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}

/// Renames by a pair of patterns, each with at most one `*`, which stands for the same letters in
/// both.
pub(super) fn rename(from: &str, to: &str, name: &str) -> Option<String> {
    match from.split_once('*') {
        None => (from == name).then(|| to.to_owned()),
        Some((head, tail)) => {
            let middle = name.strip_prefix(head)?.strip_suffix(tail)?;
            Some(to.replacen('*', middle, 1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{matches, rename};

    #[test]
    fn stars_stand_for_any_letters() {
        assert!(matches("decoder_*", "decoder_blocks.0.norm1.weight"));
        assert!(matches("head.*", "head.weight"));
        assert!(matches("blocks.*.ls*.gamma", "blocks.11.ls1.gamma"));
        assert!(matches("pos_embed", "pos_embed"));
        assert!(matches("*", ""));
        assert!(!matches("head.*", "decoder.head.weight"));
        assert!(!matches("head", "head.weight"));
        assert!(!matches("a*a", "a"));
    }

    #[test]
    fn renaming_keeps_the_block_number() {
        let renamed = rename(
            "resblocks.*.ln_1.weight",
            "blocks.*.norm1.weight",
            "resblocks.7.ln_1.weight",
        );
        assert_eq!(renamed.as_deref(), Some("blocks.7.norm1.weight"));
        assert_eq!(rename("conv1.weight", "proj.weight", "conv1.bias"), None);
    }
}
