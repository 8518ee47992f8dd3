//! Label files of data sets whose pictures lie in one folder.

use std::collections::HashMap;
use std::path::Path;

use crate::classes::{Class, is_synset, line_error, read_classes};
use crate::error::DataError;

/// Pictures (paths relative to their folder) with class indices, and the classes.
pub(crate) struct Labelled {
    pub(crate) items: Vec<(String, u32)>,
    pub(crate) classes: Vec<Class>,
}

/// ILSVRC 2012 validation: line `i` of `ground_truth` is the 1-based ILSVRC id of picture `i`, and line
/// `id` of `synsets` is that id's WordNet synset (the order of the development kit's meta.mat, which is
/// not sorted). A class's index is the rank of its synset among the sorted synsets, as in class folders.
pub(crate) fn ilsvrc(
    folder: &Path,
    mut pictures: Vec<String>,
    ground_truth: &Path,
    synsets: &Path,
) -> Result<Labelled, DataError> {
    let by_id = read_classes(synsets)?;
    if let Some(at) = by_id.iter().position(|class| !is_synset(&class.key)) {
        let problem = format!("{} is no WordNet synset such as n01440764", by_id[at].key);
        return Err(line_error(
            synsets,
            at,
            problem,
            "list the synsets in the order of their ILSVRC ids",
        ));
    }
    let mut classes = by_id.clone();
    classes.sort_by(|a, b| a.key.cmp(&b.key));
    let rank: HashMap<&str, u32> = classes
        .iter()
        .enumerate()
        .map(|(i, c)| (c.key.as_str(), i as u32))
        .collect();

    let text = std::fs::read_to_string(ground_truth)
        .map_err(|source| DataError::read(ground_truth, source))?;
    let ids: Vec<&str> = text.trim_end().lines().collect();
    if ids.len() != pictures.len() {
        return Err(DataError::layout(
            ground_truth,
            format!(
                "it labels {} pictures, but {} holds {}",
                ids.len(),
                folder.display(),
                pictures.len()
            ),
            "unpack the whole picture archive into the folder and nothing else",
        ));
    }
    pictures.sort_unstable();
    let mut items = Vec::with_capacity(ids.len());
    for (line, (id, picture)) in ids.iter().zip(pictures).enumerate() {
        let number = trailing_number(&picture);
        if number.is_some_and(|number| number != line as u64 + 1) {
            return Err(line_error(
                ground_truth,
                line,
                format!(
                    "it would label {picture}, which is not picture number {}",
                    line + 1
                ),
                "restore the missing pictures and their names",
            ));
        }
        let class = id
            .trim()
            .parse::<usize>()
            .ok()
            .filter(|id| (1..=by_id.len()).contains(id));
        let Some(class) = class else {
            let problem = format!("{:?} is no ILSVRC id from 1 to {}", id.trim(), by_id.len());
            return Err(line_error(
                ground_truth,
                line,
                problem,
                "use the development kit's own file",
            ));
        };
        items.push((picture, rank[by_id[class - 1].key.as_str()]));
    }
    Ok(Labelled { items, classes })
}

/// The number a file name ends with: 12 of `ILSVRC2012_val_00000012.JPEG`.
fn trailing_number(name: &str) -> Option<u64> {
    let stem = Path::new(name).file_stem()?.to_str()?;
    let digits = stem.len() - stem.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    stem[stem.len() - digits..].parse().ok()
}

/// A CSV of `file,label`; a first row whose second field reads label, class or target is a heading. Labels
/// are class keys or names of the list where there is one, else indices where all are numbers, else names,
/// numbered in sorted order.
pub(crate) fn csv(path: &Path, list: Option<&Path>) -> Result<Labelled, DataError> {
    let failed = |source| DataError::read(path, source);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(file);
    let mut rows: Vec<(usize, String, String)> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error
                .position()
                .map_or(0, |p| p.line().saturating_sub(1) as usize);
            line_error(
                path,
                line,
                error.to_string(),
                "write UTF-8 rows of file,label",
            )
        })?;
        let line = record
            .position()
            .map_or(0, |p| p.line().saturating_sub(1) as usize);
        let (Some(file), Some(label), None) = (record.get(0), record.get(1), record.get(2)) else {
            let problem = format!("{} fields instead of 2", record.len());
            return Err(line_error(path, line, problem, "write rows of file,label"));
        };
        let heading = rows.is_empty()
            && ["label", "class", "target"].contains(&label.to_ascii_lowercase().as_str());
        if !heading {
            rows.push((line, file.to_owned(), label.to_owned()));
        }
    }
    if rows.is_empty() {
        return Err(DataError::layout(
            path,
            "no picture is listed in it",
            "write rows of file,label",
        ));
    }
    let classes = match list {
        Some(list) => read_classes(list)?,
        None => classes_of(&rows),
    };
    let mut index: HashMap<&str, u32> = HashMap::new();
    for (i, class) in classes.iter().enumerate() {
        index.entry(&class.name).or_insert(i as u32);
    }
    index.extend(
        classes
            .iter()
            .enumerate()
            .map(|(i, c)| (c.key.as_str(), i as u32)),
    );
    let mut items = Vec::with_capacity(rows.len());
    for (line, file, label) in &rows {
        let by_number = || {
            label
                .parse::<u32>()
                .ok()
                .filter(|&i| (i as usize) < classes.len())
        };
        let Some(class) = index.get(label.as_str()).copied().or_else(by_number) else {
            let problem = format!("label {label:?} is none of the {} classes", classes.len());
            return Err(line_error(
                path,
                *line,
                problem,
                "correct it or add it to the class list",
            ));
        };
        items.push((file.clone(), class));
    }
    Ok(Labelled { items, classes })
}

/// More would be a mistaken column.
const MAX_NUMBERED_CLASSES: u32 = 1_000_000;

fn classes_of(rows: &[(usize, String, String)]) -> Vec<Class> {
    let numbers: Option<Vec<u32>> = rows
        .iter()
        .map(|(_, _, label)| label.parse().ok().filter(|&n| n < MAX_NUMBERED_CLASSES))
        .collect();
    if let Some(numbers) = numbers {
        let count = numbers.into_iter().max().map_or(0, |max| max + 1);
        return (0..count).map(|i| Class::plain(i.to_string())).collect();
    }
    let mut names: Vec<&String> = rows.iter().map(|(_, _, label)| label).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(Class::plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn pictures(count: usize) -> Vec<String> {
        (1..=count)
            .map(|i| format!("ILSVRC2012_val_{i:08}.JPEG"))
            .collect()
    }

    /// By hand: id 1 is n03…, whose rank among the sorted synsets is 2.
    #[test]
    fn ilsvrc_ids_become_ranks_of_synsets() {
        let dir = tempfile::tempdir().unwrap();
        let synsets = write(
            dir.path(),
            "synsets.txt",
            "n03000000\nn01000000 tench\nn02000000\n",
        );
        let truth = write(dir.path(), "truth.txt", "1\n2\n3\n2\n");
        let mut shuffled = pictures(4);
        shuffled.reverse();
        let labelled = ilsvrc(dir.path(), shuffled, &truth, &synsets).unwrap();
        let labels: Vec<u32> = labelled.items.iter().map(|i| i.1).collect();
        assert_eq!(labels, [2, 0, 1, 0]);
        assert_eq!(labelled.items[0].0, "ILSVRC2012_val_00000001.JPEG");
        assert_eq!(labelled.classes[0].name, "tench");
    }

    #[test]
    fn ilsvrc_mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let synsets = write(dir.path(), "synsets.txt", "n03000000\nn01000000\n");
        let problem = |text: &str, pictures: Vec<String>| {
            let truth = write(dir.path(), "truth.txt", text);
            ilsvrc(dir.path(), pictures, &truth, &synsets)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(problem("1\n2\n", pictures(3)).contains("labels 2 pictures"));
        assert!(problem("1\n0\n", pictures(2)).contains("line 2: \"0\" is no ILSVRC id"));
        assert!(problem("1\n3\n", pictures(2)).contains("line 2"));
        let gap = vec![pictures(1).remove(0), pictures(3).remove(2)];
        assert!(problem("1\n2\n", gap).contains("ILSVRC2012_val_00000003.JPEG"));
        let unordered = write(dir.path(), "names.txt", "tench\n");
        let truth = write(dir.path(), "truth.txt", "1\n");
        assert!(ilsvrc(dir.path(), pictures(1), &truth, &unordered).is_err());
    }

    #[test]
    fn csv_labels_are_names_numbers_or_listed() {
        let dir = tempfile::tempdir().unwrap();
        let labels = |text: &str, list: Option<&Path>| {
            let labelled = csv(&write(dir.path(), "l.csv", text), list).unwrap();
            let labels: Vec<u32> = labelled.items.iter().map(|i| i.1).collect();
            (labels, labelled.classes.len())
        };
        assert_eq!(
            labels("file,label\na.jpg,dog\nb.jpg,cat\nc.jpg,dog\n", None),
            (vec![1, 0, 1], 2)
        );
        assert_eq!(labels("a.jpg,3\nb.jpg,0\n", None), (vec![3, 0], 4));
        let list = write(dir.path(), "classes.txt", "d\tdog\nc\tcat\n");
        assert_eq!(
            labels("a.jpg, cat\n\"b,1.jpg\",d\nx.jpg,1\n", Some(&list)),
            (vec![1, 0, 1], 2)
        );
        let bad = |text: &str| {
            csv(&write(dir.path(), "l.csv", text), Some(&list))
                .err()
                .unwrap()
                .to_string()
        };
        assert!(bad("a.jpg,dog\nb.jpg,bird\n").contains("line 2: label \"bird\""));
        assert!(bad("a.jpg,dog\nb.jpg\n").contains("line 2: 1 fields"));
        assert!(bad("file,label\n").contains("no picture"));
    }
}
