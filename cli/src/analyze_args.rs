//! What can be typed after `deepmim analyze`.

use std::path::PathBuf;

use clap::Args;

use crate::args::DialectArg;

/// `analyze`.
#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Runs or checkpoint files; NAME=PATH gives a name, and one name to several
    #[arg(value_name = "[NAME=]CKPT")]
    pub checkpoints: Vec<String>,
    /// The recipe: pictures, what is measured, more checkpoints; default: the pictures of the first run
    #[arg(long, value_name = "RECIPE")]
    pub config: Option<PathBuf>,
    /// Folder of the data set; replaces data.root
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Naming scheme of the files on the command line; runs have their own
    #[arg(long, value_name = "DIALECT")]
    pub dialect: Option<DialectArg>,
    /// Replace one value of the recipe; may be given again
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Where to compute: auto, cpu, cuda or cuda:N; replaces run.device
    #[arg(long)]
    pub device: Option<String>,
    /// Folder of the results
    #[arg(long, value_name = "DIR", default_value = "analysis")]
    pub out: PathBuf,
    /// Print JSON instead of tables
    #[arg(long)]
    pub json: bool,
}
