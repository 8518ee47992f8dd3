//! Writes the page of a made-up board, for looking at it:
//! `cargo run -p deepmim-leaderboard --example report_fixture PAGE.html`

#[path = "../tests/support/fixture.rs"]
mod fixture;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let page = std::env::args_os().nth(1).map(PathBuf::from);
    let page = page.ok_or("usage: report_fixture PAGE.html")?;
    let pictures = tempfile::tempdir()?;
    let mut board = fixture::board(pictures.path());
    board.analyses.push(fixture::analysis());
    let html = deepmim_leaderboard::html(&board)?;
    std::fs::write(&page, &html)?;
    println!("{}: {} bytes", page.display(), html.len());
    Ok(())
}
