//! What the three programs of this package share: the command line, recipes, how a failure is shown.
//!
//! `deepmim` is what users start. It is linked against neither libtorch nor OpenCV, which take longer
//! to map than a small command takes to run. For commands that need pictures it becomes
//! `deepmim-data`, for those that need a model `deepmim-model`; both lie beside it.

/// Environment variable: the program stops and saves when its standard input ends. A suite sets it, so that
/// its cells end with it, however it ends.
pub const STOP_WITH_STDIN: &str = "DEEPMIM_STOP_WITH_STDIN";

mod analyze_args;
mod args;
mod compare_args;
mod data_args;
mod failure;
mod print;
mod recipe;
mod score_args;

pub use analyze_args::AnalyzeArgs;
pub use args::{
    CheckpointCommand, Cli, Command, DemoArgs, DialectArg, DtypeArg, EvalArgs, FinetuneArgs,
    LaunchArgs, PredictArgs, PretrainArgs, RecipeArgs, RunArgs, TestTimeArgs, WeightsArgs,
};
pub use compare_args::{CompareArgs, FormatArg, ResampleArgs, SuiteArgs};
pub use data_args::{CheckArgs, DataCommand, LabelsArgs, SynthCommand, TokensArgs};
pub use failure::{Failure, finish, one_sentence};
pub use print::{print_json, print_text};
pub use recipe::RecipeText;
pub use score_args::{IouTypeArg, ScoreAde20kArgs, ScoreCocoArgs, ScoreCommand, ScoreImagenetArgs};
