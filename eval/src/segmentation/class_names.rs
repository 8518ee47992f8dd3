//! Class names from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::label_spec::MAX_CLASSES;
use crate::error::EvalError;

/// Most bytes of a file of names.
const MAX_BYTES: u64 = 1 << 22;

/// Reads class names in class order: one a line, or ADE20K's `objectInfo150.csv` or `objectInfo150.txt` (a
/// `.csv` file, or one whose first line names columns between tabs, with a column `Name`, of which the first
/// synonym is taken, and an optional column `Idx` that must count from 1).
///
/// # Errors
/// When the file cannot be read, is not UTF-8, holds no name or an empty one, or its columns are
/// not as said.
pub fn read_class_names(path: &Path) -> Result<Vec<String>, EvalError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| EvalError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(EvalError::file(path, "too large for a list of class names"));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| EvalError::file(path, "the text is not UTF-8: save it as UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is_csv = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let is_tabbed = text.lines().next().is_some_and(|line| {
        let mut columns = line.split('\t');
        line.contains('\t') && columns.any(|name| name.trim().eq_ignore_ascii_case("name"))
    });
    let names = if is_tabbed {
        from_table(path, text, b'\t')?
    } else if is_csv {
        from_table(path, text, b',')?
    } else {
        text.trim_end()
            .lines()
            .map(|line| line.trim().to_owned())
            .collect()
    };
    if names.is_empty() {
        return Err(EvalError::file(path, "holds no class names"));
    }
    if names.len() > MAX_CLASSES {
        return Err(EvalError::ClassCount {
            classes: names.len(),
            most: MAX_CLASSES,
        });
    }
    if let Some(class) = names.iter().position(String::is_empty) {
        let problem = format!("the name of class {class} is empty: every class needs one");
        return Err(EvalError::file(path, problem));
    }
    Ok(names)
}

fn from_table(path: &Path, text: &str, delimiter: u8) -> Result<Vec<String>, EvalError> {
    let failed = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        EvalError::record(path, line, format!("not a record of the table ({error})"))
    };
    let mut table = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let headers = table.headers().map_err(failed)?;
    let column = |wanted: &str| {
        headers
            .iter()
            .position(|header| header.trim().eq_ignore_ascii_case(wanted))
    };
    let index = column("Idx");
    let Some(name) = column("Name") else {
        let problem = "no column \"Name\": the first line must name the columns, as in ADE20K's \
                       objectInfo150.csv; a plain list of names must not end in .csv";
        return Err(EvalError::record(path, 1, problem));
    };
    // "building;edifice" in objectInfo150.csv, "building, edifice" in objectInfo150.txt
    let between_synonyms = if delimiter == b'\t' { ',' } else { ';' };
    let mut names = Vec::new();
    for record in table.records() {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, csv::Position::line);
        let expected = names.len() + 1;
        if let Some(found) = index.and_then(|index| record.get(index))
            && found.trim().parse() != Ok(expected)
        {
            let problem = format!("Idx is \"{found}\" instead of {expected}: sort the lines by it");
            return Err(EvalError::record(path, line, problem));
        }
        let synonyms = record.get(name).unwrap_or_default();
        let first = synonyms.split(between_synonyms).next().unwrap_or("");
        names.push(first.trim().to_owned());
    }
    Ok(names)
}
