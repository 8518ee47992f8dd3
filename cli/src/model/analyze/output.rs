//! The files of an analysis, and what is printed of it.

use std::path::Path;

use anyhow::{Context, bail};
use deepmim_cli::{print_json, print_text};
use leaderboard::{
    ANALYSIS_FILE, Board, LayerAnalysis, cka_csv, heads_csv, html, layer_pairs_csv, layer_plots,
    layers_csv, table,
};

/// Folder of the plots, in that of the results.
const PLOTS: &str = "plots";

/// Makes the folder of the results, or clears it of an earlier analysis, whose plots may be of other systems.
pub fn prepare(folder: &Path) -> anyhow::Result<()> {
    if folder.join("config.toml").exists() {
        bail!(
            "--out {}: this is a run's folder; give another one, since an analysis is of several",
            folder.display()
        );
    }
    let record = folder.join(ANALYSIS_FILE);
    let plots = folder.join(PLOTS);
    if !record.is_file() && plots.exists() {
        bail!(
            "--out {}: its folder plots is not of an analysis: give another folder",
            folder.display()
        );
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    if plots.is_dir() {
        std::fs::remove_dir_all(&plots)
            .with_context(|| format!("cannot empty {}", plots.display()))?;
    }
    // From now on nothing there is a whole analysis, until the new record is written at the end.
    match std::fs::remove_file(&record) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", record.display()))
        }
        _ => Ok(()),
    }
}

/// Writes record, CSV files, plots and page into a folder.
pub fn write(folder: &Path, analysis: &LayerAnalysis) -> anyhow::Result<()> {
    let plots = folder.join(PLOTS);
    std::fs::create_dir_all(&plots).with_context(|| format!("cannot make {}", plots.display()))?;
    let put = |path: &Path, text: String| {
        std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    for (name, text) in [
        ("layers.csv", layers_csv(analysis)?),
        ("heads.csv", heads_csv(analysis)?),
        ("attention_of_layers.csv", layer_pairs_csv(analysis)?),
        ("cka.csv", cka_csv(analysis)?),
        ("report.html", html(&board(analysis.clone()))?),
        ("tables.md", leaderboard::markdown(&board(analysis.clone()))),
    ] {
        put(&folder.join(name), text)?;
    }
    for (name, text) in layer_plots(analysis)? {
        put(&plots.join(name), text)?;
    }
    analysis.write(folder)?;
    Ok(())
}

/// Prints tables, or everything as JSON.
pub fn print(folder: &Path, analysis: LayerAnalysis, json: bool) -> anyhow::Result<()> {
    match json {
        true => print_json(&analysis)?,
        false => print_text(&table(&board(analysis)).trim_end())?,
    }
    eprintln!(
        "page, plots and CSV files: {}",
        folder.join("report.html").display()
    );
    Ok(())
}

/// A page of nothing but the analysis.
fn board(analysis: LayerAnalysis) -> Board {
    Board::of_analysis("Layers".to_owned(), analysis)
}
