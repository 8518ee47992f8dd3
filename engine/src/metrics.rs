//! `metrics.csv`: one row per value, `step,epoch,name,value`, only ever appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::EngineError;

const HEADER: &str = "step,epoch,name,value\n";

/// The open metrics file of a run.
#[derive(Debug)]
pub(crate) struct Metrics {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Metrics {
    /// Opens the file, cut to its first `keep` bytes: a resumed run repeats the steps after its
    /// checkpoint, and a killed one may have left half a row.
    pub fn open(path: &Path, keep: u64) -> Result<Self, EngineError> {
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let bytes = file.metadata()?.len().min(keep);
            file.set_len(bytes)?;
            file.seek(SeekFrom::End(0))?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(EngineError::io("cannot write", path))?;
        let mut metrics = Self {
            path: path.to_owned(),
            file,
            bytes,
        };
        if bytes == 0 {
            metrics.append(HEADER.as_bytes())?;
        }
        Ok(metrics)
    }

    /// Appends one row per value. `step` counts the optimiser steps done, `epoch` is where they
    /// ended, as a fraction.
    pub fn write(
        &mut self,
        step: u64,
        epoch: f64,
        values: &[(String, f64)],
    ) -> Result<(), EngineError> {
        let mut rows = csv::Writer::from_writer(Vec::new());
        for (name, value) in values {
            let row = [
                step.to_string(),
                epoch.to_string(),
                name.clone(),
                value.to_string(),
            ];
            rows.write_record(&row)
                .map_err(|error| EngineError::Config(error.to_string()))?;
        }
        let rows = rows
            .into_inner()
            .map_err(|error| EngineError::Config(error.to_string()))?;
        self.append(&rows)
    }

    fn append(&mut self, rows: &[u8]) -> Result<(), EngineError> {
        self.file
            .write_all(rows)
            .map_err(EngineError::io("cannot write", &self.path))?;
        self.bytes += rows.len() as u64;
        Ok(())
    }

    /// Waits until all rows are on the disk and says how long the file is.
    pub fn sync(&mut self) -> Result<u64, EngineError> {
        self.file
            .sync_all()
            .map_err(EngineError::io("cannot write", &self.path))?;
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_after_the_checkpoint_and_half_rows_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let mut metrics = Metrics::open(&path, u64::MAX).unwrap();
        metrics.write(1, 0.5, &[("loss".into(), 2.5)]).unwrap();
        let keep = metrics.sync().unwrap();
        metrics.write(2, 1.0, &[("loss".into(), 2.25)]).unwrap();
        metrics.append(b"3,1.5,lo").unwrap();
        drop(metrics);

        let mut metrics = Metrics::open(&path, keep).unwrap();
        metrics
            .write(2, 1.0, &[("loss".into(), 2.25), ("a,b".into(), 1e-7)])
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "step,epoch,name,value\n1,0.5,loss,2.5\n2,1,loss,2.25\n2,1,\"a,b\",0.0000001\n"
        );
    }
}
