//! Finding weights: a checkpoint file of some dialect, or the folder of one of our own runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use backbone::weights::{
    Dialect, LoadOptions, LoadReport, SEGMENTOR_TRUNK_BELOW, StateDict, TRUNK_BELOW, Translated,
    WeightsError, inspect, load_into, load_trunk,
};
use deepmim_cli::{DialectArg, FinetuneArgs};
use engine::Checkpoint;
use tch::nn;

use crate::experiment::InitSection;
use crate::record::absolute;

/// A file of weights and the names in it.
#[derive(Debug, Clone)]
pub struct Weights {
    /// The file to read.
    pub file: PathBuf,
    /// Its naming scheme.
    pub dialect: Dialect,
    /// The run it belongs to, where it does.
    pub run: Option<PathBuf>,
}

/// The dialect that the command line names.
pub fn dialect(argument: DialectArg) -> Dialect {
    match argument {
        DialectArg::Native => Dialect::Native,
        DialectArg::Mae => Dialect::Mae,
        DialectArg::Timm => Dialect::Timm,
        DialectArg::Dino => Dialect::Dino,
        DialectArg::Clip => Dialect::Clip,
        DialectArg::Detectron2 => Dialect::Detectron2,
        DialectArg::Mmseg => Dialect::Mmseg,
        DialectArg::DeepmimSeg => Dialect::DeepmimSeg,
    }
}

/// The weights file behind a path: the path itself, or a run's newest whole checkpoint (its averaged
/// weights, where the run keeps them).
pub fn file(path: &Path) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    if !path.is_dir() {
        if !path.exists() {
            bail!(
                "{} is not there: give a checkpoint file or a run's folder",
                path.display()
            );
        }
        return Ok((path.to_owned(), None));
    }
    let (newest, warnings) = Checkpoint::latest(&path.join("checkpoints"))?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let newest = newest.with_context(|| {
        format!(
            "{} holds no checkpoint: give a run's folder or a checkpoint file",
            path.display()
        )
    })?;
    Ok((
        newest.ema().unwrap_or_else(|| newest.weights()),
        Some(path.to_owned()),
    ))
}

impl Weights {
    /// What `finetune` starts from, where it is told.
    pub fn initial(args: &FinetuneArgs, init: &InitSection) -> anyhow::Result<Option<Self>> {
        match &args.init {
            Some(path) => Ok(Some(Self::find(path, args.dialect, init)?)),
            None if args.dialect.is_some() => {
                bail!("--dialect names the scheme of --init: give both, or neither")
            }
            None => Ok(None),
        }
    }

    /// Resolves a path. The dialect is the one asked for; a run's folder is our own; else the recipe's.
    pub fn find(
        path: &Path,
        asked: Option<DialectArg>,
        init: &InitSection,
    ) -> anyhow::Result<Self> {
        let (file, run) = file(path)?;
        let dialect = match asked {
            Some(asked) => dialect(asked),
            None if run.is_some() => Dialect::Native,
            None => init.dialect,
        };
        Ok(Self { file, dialect, run })
    }

    /// What is recorded of the file.
    pub fn record(&self) -> anyhow::Result<leaderboard::Weights> {
        Ok(leaderboard::Weights {
            file: absolute(&self.file)?,
            dialect: self.dialect.to_string(),
            sha256: leaderboard::file_sha256(&self.file)?,
            run: self.run.as_deref().map(absolute).transpose()?,
        })
    }

    /// Does something with the file. Where its dialect finds no trunk in it, an error says which one the file seems
    /// to be of; nothing is loaded by that guess.
    pub fn hinting<R>(
        &self,
        part: Option<&str>,
        body: impl FnOnce() -> anyhow::Result<R>,
    ) -> anyhow::Result<R> {
        body().map_err(|error| match self.likelier_dialect(part) {
            Some((dialect, reason)) => anyhow!(
                "{error:#}; its dialect is probably {dialect}, for {reason}: --dialect {dialect}, or dialect = \"{dialect}\" where a recipe names the file"
            ),
            None => error,
        })
    }

    fn likelier_dialect(&self, part: Option<&str>) -> Option<(Dialect, String)> {
        let guess = inspect(&self.file, false).ok()?.guess?;
        let dialect = guess.dialect?;
        let finds_trunk = || {
            let read = self.dialect.read(&self.file, part).ok()?.into_trunk();
            read.state.get("patch_embed.proj.weight").map(drop)
        };
        (dialect != self.dialect && finds_trunk().is_none()).then_some((dialect, guess.reason))
    }

    fn read(&self, part: Option<&str>) -> anyhow::Result<StateDict> {
        let translated = self.dialect.read(&self.file, part)?;
        Ok(self.kept(translated, "the model"))
    }

    /// The trunk alone: of a detector or a segmentor what is below its pyramid and heads.
    fn read_trunk(&self, part: Option<&str>) -> anyhow::Result<StateDict> {
        let translated = self.dialect.read(&self.file, part)?;
        Ok(self.kept(translated.into_trunk(), "a vision trunk"))
    }

    fn kept(&self, translated: Translated, of: &str) -> StateDict {
        let dropped = translated.dropped.len();
        if dropped > 0 {
            let file = self.file.display();
            eprintln!("{file}: {dropped} entries are no part of {of} and were left out");
        }
        translated.state
    }

    /// Pre-trained weights into a new model: names may miss and be left over as the recipe says.
    /// Of a detector's or a segmentor's file its trunk is taken.
    pub fn initialise(&self, vs: &nn::VarStore, init: &InitSection) -> anyhow::Result<LoadReport> {
        self.hinting(init.part.as_deref(), || {
            let state = self.read_trunk(init.part.as_deref())?;
            copied(state, |state| load_into(vs, "", state, &allowed(init)))
        })
    }

    /// Pre-trained weights into a new detector: a trunk's go into its trunk, a whole detector's into all
    /// of it, with what the recipe lets miss (heads for other classes).
    pub fn initialise_detector(
        &self,
        vs: &nn::VarStore,
        init: &InitSection,
    ) -> anyhow::Result<LoadReport> {
        self.hinting(init.part.as_deref(), || {
            let read = self.dialect.read(&self.file, init.part.as_deref())?;
            if read.state.names().any(|name| name.starts_with(TRUNK_BELOW)) {
                let state = self.kept(read, "the model");
                return copied(state, |state| load_into(vs, "", state, &allowed(init)));
            }
            let state = self.kept(read.into_trunk(), "a vision trunk");
            let prefix = TRUNK_BELOW.trim_end_matches('.');
            copied(state, |state| load_trunk(vs, prefix, state, &allowed(init)))
        })
    }

    /// Pre-trained weights into a new segmentor: a trunk's go into its trunk, a whole segmentor's into all of
    /// it, with what the recipe lets miss (heads for other classes). Of a detector its trunk is taken.
    pub fn initialise_segmentor(
        &self,
        vs: &nn::VarStore,
        init: &InitSection,
    ) -> anyhow::Result<LoadReport> {
        self.hinting(init.part.as_deref(), || {
            let translated = self.dialect.read(&self.file, init.part.as_deref())?;
            if translated
                .state
                .names()
                .any(|name| name.starts_with("decode_head."))
            {
                let state = self.kept(translated, "the model");
                return copied(state, |state| load_into(vs, "", state, &allowed(init)));
            }
            let state = self.kept(translated.into_trunk(), "a vision trunk");
            let prefix = SEGMENTOR_TRUNK_BELOW.trim_end_matches('.');
            copied(state, |state| load_trunk(vs, prefix, state, &allowed(init)))
        })
    }

    /// Trained weights into the same model: nothing may miss.
    pub fn restore(&self, vs: &nn::VarStore, init: &InitSection) -> anyhow::Result<LoadReport> {
        self.hinting(init.part.as_deref(), || {
            let options = LoadOptions {
                resample_positions: true,
                ..LoadOptions::default()
            };
            let state = self.read(init.part.as_deref())?;
            copied(state, |state| load_into(vs, "", state, &options))
        })
    }
}

/// Copies a file's tensors into a model and gives their memory back.
fn copied(
    state: StateDict,
    load: impl FnOnce(&StateDict) -> Result<LoadReport, WeightsError>,
) -> anyhow::Result<LoadReport> {
    let report = load(&state)?;
    drop(state);
    native::return_freed_memory();
    Ok(report)
}

/// What the recipe lets differ between pre-trained weights and the model.
fn allowed(init: &InitSection) -> LoadOptions {
    LoadOptions {
        may_miss: init.may_miss.clone(),
        may_ignore: init.may_ignore.clone(),
        resample_positions: true,
    }
}
