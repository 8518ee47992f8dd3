//! Class lists: which index a class has and what it is called.

use std::collections::HashMap;
use std::path::Path;

use crate::error::DataError;

/// A class of a data set. Its index is its place in the data set's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Folder name, synset or label in a list file.
    pub key: String,
    /// What people call it; the key where no name is known.
    pub name: String,
}

impl Class {
    pub(crate) fn plain(key: impl Into<String>) -> Self {
        let key = key.into();
        Self {
            name: key.clone(),
            key,
        }
    }
}

/// Reads a class list: one class a line in index order, as `key`, `key<TAB>name` or, for ImageNet synsets,
/// `n01440764 tench, Tinca tinca`. Empty lines at the end are ignored.
///
/// # Errors
/// When the file cannot be read, is empty, or a key occurs twice.
pub fn read_classes(path: &Path) -> Result<Vec<Class>, DataError> {
    let text = std::fs::read_to_string(path).map_err(|source| DataError::read(path, source))?;
    let mut seen = HashMap::new();
    let mut classes = Vec::new();
    for (number, line) in text.trim_end().lines().enumerate() {
        let line = line.trim();
        let class = split(line);
        if class.key.is_empty() {
            return Err(line_error(
                path,
                number,
                "the line is empty",
                "write one class a line",
            ));
        }
        if let Some(first) = seen.insert(class.key.clone(), number + 1) {
            let problem = format!("class {} is listed already on line {first}", class.key);
            return Err(line_error(path, number, problem, "list every class once"));
        }
        classes.push(class);
    }
    if classes.is_empty() {
        return Err(DataError::layout(
            path,
            "no class is listed in it",
            "write one class a line",
        ));
    }
    Ok(classes)
}

fn split(line: &str) -> Class {
    let pair = line
        .split_once('\t')
        .or_else(|| line.split_once(' ').filter(|(key, _)| is_synset(key)));
    match pair {
        Some((key, name)) if !name.trim().is_empty() => Class {
            key: key.trim().to_owned(),
            name: name.trim().to_owned(),
        },
        _ => Class::plain(line),
    }
}

/// A WordNet id: `n` and eight digits.
pub(crate) fn is_synset(key: &str) -> bool {
    key.len() == 9 && key.starts_with('n') && key[1..].bytes().all(|b| b.is_ascii_digit())
}

/// A [`DataError::Line`]; `index` counts lines from 0.
pub(crate) fn line_error(
    path: &Path,
    index: usize,
    problem: impl Into<String>,
    remedy: impl Into<String>,
) -> DataError {
    DataError::Line {
        path: path.to_owned(),
        line: index + 1,
        problem: problem.into(),
        remedy: remedy.into(),
    }
}

/// The classes of a data set of class folders, and each folder's index.
///
/// Without a list, the sorted folder names are the classes. A list that names every folder decides the
/// indices (and may hold classes without a folder); a list that names none of them, of the same length,
/// gives display names in order.
pub(crate) fn for_folders(
    root: &Path,
    folders: &[String],
    list: Option<&Path>,
) -> Result<(Vec<Class>, Vec<usize>), DataError> {
    let Some(list) = list else {
        return Ok((
            folders.iter().map(Class::plain).collect(),
            (0..folders.len()).collect(),
        ));
    };
    let classes = read_classes(list)?;
    let index: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(i, c)| (c.key.as_str(), i))
        .collect();
    let found: Vec<Option<usize>> = folders
        .iter()
        .map(|f| index.get(f.as_str()).copied())
        .collect();
    if found.iter().all(Option::is_some) {
        let indices = found.into_iter().flatten().collect();
        return Ok((classes, indices));
    }
    if found.iter().all(Option::is_none) && classes.len() == folders.len() {
        let named = folders
            .iter()
            .zip(&classes)
            .map(|(f, c)| Class {
                key: f.clone(),
                name: c.name.clone(),
            })
            .collect();
        return Ok((named, (0..folders.len()).collect()));
    }
    let missing = folders
        .iter()
        .zip(&found)
        .find(|(_, found)| found.is_none())
        .map_or("", |(f, _)| f.as_str());
    Err(DataError::layout(
        list,
        format!(
            "it lists {} classes but not folder {missing} of {} ({} folders)",
            classes.len(),
            root.display(),
            folders.len()
        ),
        "list every class folder by its name, one a line in class order",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn the_three_ways_of_writing_a_line() {
        let file = list("n01440764 tench, Tinca tinca\ncat\thouse cat\ngolden retriever\n\n");
        let classes = read_classes(file.path()).unwrap();
        let pairs: Vec<_> = classes
            .iter()
            .map(|c| (c.key.as_str(), c.name.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("n01440764", "tench, Tinca tinca"),
                ("cat", "house cat"),
                ("golden retriever", "golden retriever")
            ]
        );
    }

    #[test]
    fn repeated_and_empty_lists_are_errors() {
        let error = read_classes(list("a\nb\na\n").path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 3: class a is listed already on line 1"),
            "{error}"
        );
        assert!(read_classes(list("\n").path()).is_err());
        assert!(
            read_classes(list("a\n\nb").path())
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
    }

    #[test]
    fn a_list_orders_or_names_folders() {
        let root = Path::new("set");
        let folders = owned(&["b", "d"]);
        let by_key = list("d\nc\nb\n");
        let (classes, indices) = for_folders(root, &folders, Some(by_key.path())).unwrap();
        assert_eq!((classes.len(), indices), (3, vec![2, 0]));
        let by_order = list("bird\ndog\n");
        let (classes, indices) = for_folders(root, &folders, Some(by_order.path())).unwrap();
        assert_eq!(indices, [0, 1]);
        assert_eq!(
            (classes[1].key.as_str(), classes[1].name.as_str()),
            ("d", "dog")
        );
        let other = list("b\nx\n");
        let error = for_folders(root, &folders, Some(other.path()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("not folder d of set"), "{error}");
    }
}
