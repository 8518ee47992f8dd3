//! Writing a file so that there is always a whole one: under a temporary name in the same folder,
//! flushed to the disk, then renamed over the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::WeightsError;
use super::safetensors::WriteProblem;

/// Writes `path` through `fill`. A failure leaves an older file of that name untouched and no
/// temporary file behind.
pub(super) fn write(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), WriteProblem>,
) -> Result<(), WeightsError> {
    let temporary = temporary(path);
    let written = write_temporary(&temporary, fill).and_then(|()| {
        fs::rename(&temporary, path)?;
        Ok(())
    });
    if let Err(problem) = written {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(explain(path, problem));
    }
    // The rename itself must survive a power cut. Not every file system can flush a folder.
    if let Ok(folder) = File::open(folder(path)) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn write_temporary(
    temporary: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<(), WriteProblem>,
) -> Result<(), WriteProblem> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(temporary)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    fill(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(())
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// `.name.<process>.tmp` beside the file: two processes never share one.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder(path).join(format!(".{name}.{}.tmp", std::process::id()))
}

fn explain(path: &Path, problem: WriteProblem) -> WeightsError {
    let path = path.to_path_buf();
    let source = match problem {
        WriteProblem::Io(source) => source,
        WriteProblem::Torch(error) => io::Error::other(error),
        WriteProblem::Kind(what) => {
            return WeightsError::Write {
                path,
                source: io::Error::other(what.clone()),
                what: format!("cannot be written, because {what}"),
                remedy: "convert that tensor first".to_owned(),
            };
        }
    };
    let near = folder(&path).display().to_string();
    let (what, remedy) = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            "cannot be written, because the disk is full".to_owned(),
            format!("free space in {near} and run the command again"),
        ),
        io::ErrorKind::NotFound => (
            "cannot be written, because its folder does not exist".to_owned(),
            format!("make the folder {near} first"),
        ),
        _ => (
            format!("cannot be written ({source})"),
            format!("check that {near} can be written to"),
        ),
    };
    WeightsError::Write {
        path,
        what,
        remedy,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a full disk does, half-way through the file.
    #[test]
    fn a_full_disk_keeps_the_old_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("weights.safetensors");
        fs::write(&path, b"old").expect("write");
        let error = write(&path, |out| {
            out.write_all(&[0; 4096])?;
            Err(io::Error::from(io::ErrorKind::StorageFull).into())
        })
        .expect_err("the disk is full");
        let message = error.to_string();
        assert!(message.contains("weights.safetensors"), "{message}");
        assert!(message.contains("the disk is full"), "{message}");
        assert_eq!(fs::read(&path).expect("read"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let path = Path::new("no-such-folder-anywhere/weights.safetensors");
        let error = write(path, |_| Ok(())).expect_err("no folder");
        assert!(
            error
                .to_string()
                .contains("make the folder no-such-folder-anywhere first")
        );
    }
}
