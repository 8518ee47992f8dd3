//! The columns a predictions file may have.

use super::class_list::ClassList;
use super::files::COLUMNS;
use super::prediction::TOP_K;

/// Fewer columns than these are no row of scores.
const FEWEST_CLASSES: usize = 2;

/// Where a file keeps what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub file: usize,
    pub label: Option<usize>,
    pub values: Values,
}

/// How a file tells what the classifier said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// The best classes, in order.
    Ranking {
        /// Columns top1, top2, … as far as there are any.
        classes: Vec<usize>,
        /// Columns p1, p2, …, as many, or none.
        probabilities: Vec<usize>,
        loss: Option<usize>,
    },
    /// One number per class.
    Scores {
        /// Column of each class.
        columns: Vec<usize>,
    },
}

impl Layout {
    /// Reads the first line of a file.
    pub(super) fn of(header: &[&str], classes: Option<&ClassList>) -> Result<Self, String> {
        for (at, name) in header.iter().enumerate() {
            if header[..at].contains(name) {
                return Err(format!(
                    "two columns are called \"{name}\": name every column once"
                ));
            }
        }
        let find = |wanted: &str| header.iter().position(|name| *name == wanted);
        let Some(file) = find("file") else {
            return Err(format!(
                "not a predictions file: the first line must be {}, or name at least the columns \
                 file and top1, or file and one column per class",
                COLUMNS.join(",")
            ));
        };
        let values = if find("top1").is_some() {
            ranking(header)?
        } else {
            scores(header, classes)?
        };
        Ok(Self {
            file,
            label: find("label"),
            values,
        })
    }
}

fn ranking(header: &[&str]) -> Result<Values, String> {
    if let Some(unknown) = header.iter().find(|name| !COLUMNS.contains(name)) {
        return Err(format!(
            "column \"{unknown}\" is unknown beside top1: use {}",
            COLUMNS.join(",")
        ));
    }
    let numbered = |prefix: &str| -> Result<Vec<usize>, String> {
        let found: Vec<Option<usize>> = (1..=TOP_K)
            .map(|place| {
                let wanted = format!("{prefix}{place}");
                header.iter().position(|name| *name == wanted)
            })
            .collect();
        let count = found.iter().take_while(|column| column.is_some()).count();
        if found[count..].iter().any(Option::is_some) {
            return Err(format!(
                "there is no column {prefix}{}, but a later one: number them without gaps",
                count + 1
            ));
        }
        Ok(found.into_iter().flatten().collect())
    };
    let (classes, probabilities) = (numbered("top")?, numbered("p")?);
    if !probabilities.is_empty() && probabilities.len() != classes.len() {
        return Err(format!(
            "{} columns of classes (top1, …) but {} of probabilities (p1, …): give one for each, \
             or none",
            classes.len(),
            probabilities.len()
        ));
    }
    Ok(Values::Ranking {
        classes,
        probabilities,
        loss: header.iter().position(|name| *name == "loss"),
    })
}

fn scores(header: &[&str], classes: Option<&ClassList>) -> Result<Values, String> {
    let named: Vec<(usize, &str)> = header
        .iter()
        .enumerate()
        .filter(|(_, name)| !["file", "label", "label_name"].contains(name))
        .map(|(column, name)| (column, *name))
        .collect();
    let count = named.len();
    if count < FEWEST_CLASSES {
        return Err(
            "not a predictions file: there is neither a column top1 nor one column per class"
                .to_owned(),
        );
    }
    if let Some(list) = classes.filter(|list| list.len() != count) {
        return Err(format!(
            "there are {count} columns of classes, but {} classes: give each class one column",
            list.len()
        ));
    }
    let mut columns = vec![None; count];
    for (column, name) in named {
        let class = match classes {
            Some(list) => list.find(name),
            None => name.parse().ok().filter(|&class: &usize| class < count),
        };
        let Some(class) = class else {
            let wanted = match classes {
                Some(_) => "names no class of the class list".to_owned(),
                None => format!(
                    "is no class number from 0 to {}: number the columns, or give a list of \
                     class names",
                    count - 1
                ),
            };
            return Err(format!("column \"{name}\" {wanted}"));
        };
        if columns[class].replace(column).is_some() {
            return Err(format!(
                "column \"{name}\" is the second one of class {class}: give each class one column"
            ));
        }
    }
    // As many columns as classes and none twice: every class has one.
    Ok(Values::Scores {
        columns: columns.into_iter().flatten().collect(),
    })
}
