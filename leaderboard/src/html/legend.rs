//! Which mark stands for which system, the same in every plot.

use super::{HtmlError, plots};
use crate::board::Board;

/// A system with its mark.
#[derive(Clone)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its mark, an SVG element.
    pub swatch: String,
}

/// All systems.
pub struct Legend {
    keys: Vec<Key>,
}

impl Legend {
    /// Systems in the board's order, then those that only a run names.
    pub fn new(board: &Board) -> Result<Self, HtmlError> {
        let scored = board.tasks.iter().flat_map(|task| &task.systems);
        let curves = board.tasks.iter().flat_map(|task| &task.precision_recall);
        let names = (board.systems.iter())
            .chain(scored.map(|scores| &scores.system))
            .chain(curves.map(|curve| &curve.system))
            .chain(board.runs.iter().map(|run| &run.system));
        let analysed = board.analyses.iter().flat_map(|analysis| &analysis.systems);
        Self::of(names.chain(analysed))
    }

    /// Of these systems, each once.
    pub fn of<'a>(names: impl Iterator<Item = &'a String>) -> Result<Self, HtmlError> {
        let mut keys: Vec<Key> = Vec::new();
        for name in names {
            if keys.iter().all(|key| key.name != *name) {
                let swatch = plots::swatch(keys.len())?;
                let name = name.clone();
                keys.push(Key { name, swatch });
            }
        }
        Ok(Self { keys })
    }

    /// Place of a system, which is its colour and shape.
    pub fn series(&self, system: &str) -> usize {
        let place = self.keys.iter().position(|key| key.name == system);
        place.unwrap_or_default()
    }

    /// The keys of these places, each once, in the legend's order.
    pub fn keys(&self, series: impl Iterator<Item = usize>) -> Vec<Key> {
        let mut places: Vec<usize> = series.collect();
        places.sort_unstable();
        places.dedup();
        let keys = places.into_iter().filter_map(|place| self.keys.get(place));
        keys.cloned().collect()
    }
}
