//! What several prediction files or folders are called in tables, and the folders of their results.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// A short name for each path: its last part, or as many of its last parts as tell all apart.
pub fn distinct_names(paths: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = paths.iter().map(|path| parts(path)).collect();
    let deepest = parts.iter().map(Vec::len).max().unwrap_or(0);
    for depth in 1..=deepest {
        let names: Vec<String> = parts
            .iter()
            .map(|parts| parts[parts.len().saturating_sub(depth)..].join("-"))
            .collect();
        let distinct: HashSet<&String> = names.iter().filter(|name| !name.is_empty()).collect();
        if distinct.len() == names.len() {
            return names;
        }
    }
    // The same path twice, or no named one at all.
    (1..=paths.len())
        .map(|i| format!("predictions-{i}"))
        .collect()
}

/// The named parts of a path, a file's without its endings.
fn parts(path: &Path) -> Vec<String> {
    if path == Path::new("-") {
        return vec!["standard input".to_owned()];
    }
    let mut path = path.to_owned();
    for ending in ["gz", "json", "csv"] {
        if path.extension().is_some_and(|found| found == ending) {
            path.set_extension("");
        }
    }
    let named = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    });
    named.collect()
}

/// Where results go: a single one's lie in `out` itself, those of several in folders called by name.
pub fn result_folders(out: &Path, names: &[String]) -> Vec<PathBuf> {
    match names {
        [_] => vec![out.to_owned()],
        several => several.iter().map(|name| out.join(name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_by_as_little_as_it_takes() {
        let names =
            |paths: &[&str]| distinct_names(&paths.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["out/mae/", "out/deepmim"]), ["mae", "deepmim"]);
        assert_eq!(
            names(&["/a/mae/pred.json", "/a/deepmim/pred.json.gz"]),
            ["mae-pred", "deepmim-pred"]
        );
        assert_eq!(names(&["a.csv", "-"]), ["a", "standard input"]);
        assert_eq!(names(&["a/b", "a/b"]), ["predictions-1", "predictions-2"]);
        assert_eq!(names(&["v1.5", "v1.6"]), ["v1.5", "v1.6"]);
    }

    #[test]
    fn results_of_one_need_no_folder_of_their_own() {
        let folders = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
            result_folders(Path::new("out"), &names)
        };
        assert_eq!(folders(&["a"]), [PathBuf::from("out")]);
        assert_eq!(
            folders(&["a", "b"]),
            [PathBuf::from("out/a"), PathBuf::from("out/b")]
        );
    }
}
