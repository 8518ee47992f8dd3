//! What the process that writes a run has open.

use std::path::{Path, PathBuf};

use crate::checkpoint::{CheckpointStore, TrainingState};
use crate::metrics::Metrics;
use crate::tensorboard::EventWriter;
use crate::{Checkpoint, EngineError, Environment, RunDir, TrainerConfig};

/// A run's folder with its open files. Only one process of a training has it.
#[derive(Debug)]
pub(super) struct Journal {
    pub run: RunDir,
    pub store: CheckpointStore,
    pub metrics: Metrics,
    pub events: EventWriter,
    pub last_checkpoint: Option<PathBuf>,
}

/// A run as it is found: its folder, and where it goes on.
pub(super) struct Found {
    run: RunDir,
    store: CheckpointStore,
    /// The state of a run without a checkpoint.
    pub fresh: TrainingState,
    pub newest: Option<Checkpoint>,
}

impl Found {
    /// Looks for the newest whole checkpoint of a run that is continued.
    pub fn look(run: RunDir, config: &TrainerConfig) -> Result<Self, EngineError> {
        let store = CheckpointStore::open(run.checkpoints(), config.keep)?;
        let fresh = TrainingState::fresh(config.seed, run.config_sha256());
        let mut newest = None;
        if run.resuming() {
            let (found, warnings) = Checkpoint::latest(&run.checkpoints())?;
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            newest = found;
        }
        Ok(Self {
            run,
            store,
            fresh,
            newest,
        })
    }

    /// Opens the run's files for what comes after `state`.
    pub fn open(
        self,
        state: &TrainingState,
        environment: &Environment,
    ) -> Result<Journal, EngineError> {
        let metrics = Metrics::open(&self.run.metrics(), state.metrics_bytes)?;
        let restart = self.run.resuming().then_some(state.step);
        let events = EventWriter::create(&self.run.tensorboard(), restart)?;
        self.run.write_environment(environment)?;
        Ok(Journal {
            run: self.run,
            store: self.store,
            metrics,
            events,
            last_checkpoint: self.newest.map(|checkpoint| checkpoint.path),
        })
    }
}

impl Journal {
    pub fn log(
        &mut self,
        step: u64,
        epoch: f64,
        values: &[(String, f64)],
    ) -> Result<(), EngineError> {
        self.metrics.write(step, epoch, values)?;
        self.events.scalars(step, values)
    }

    /// Path within the run's folder.
    pub fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.run.path())
            .unwrap_or(path)
            .to_owned()
    }
}
