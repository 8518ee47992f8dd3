//! Tables of relative position biases in files: one that all blocks share or one for each, beside
//! buffers that hold which row each pair of tokens takes.

use std::collections::{BTreeMap, BTreeSet};

use tch::Tensor;

use super::error::WeightsError;
use super::state::StateDict;
use crate::relative_bias::bias_grid;
use crate::relative_bias_index;

/// The table that all blocks share, by a bare trunk's name.
const SHARED: &str = "rel_pos_bias.relative_position_bias_table";
const TABLE: &str = "relative_position_bias_table";
const INDEX: &str = "relative_position_index";

/// Patches along a side above which no buffer is made: its size is the fourth power of that, 2 GB
/// here, and a small file could ask for any.
const LARGEST_SIDE: i64 = 128;

fn of_block(block: &str) -> String {
    format!("blocks.{block}.attn.{TABLE}")
}

/// The number of the block that a table belongs to.
fn block_of(name: &str) -> Option<&str> {
    name.strip_prefix("blocks.")?
        .strip_suffix(TABLE)?
        .strip_suffix(".attn.")
}

/// The state with its shared table given to every block, where those of the model (`own`, names of
/// its trunk) have tables and share none; `None` where nothing is to be done.
pub(super) fn for_blocks(state: &StateDict, own: &[String]) -> Option<StateDict> {
    let shared = state.get(SHARED)?;
    if own.iter().any(|name| name == SHARED) || state.names().any(|n| block_of(n).is_some()) {
        return None;
    }
    let blocks: Vec<&str> = own.iter().filter_map(|name| block_of(name)).collect();
    if blocks.is_empty() {
        return None;
    }
    let mut out = StateDict::new(state.origin());
    for (name, tensor) in state.iter().filter(|(name, _)| *name != SHARED) {
        out.insert(name, tensor.shallow_clone());
    }
    for block in blocks {
        out.insert(of_block(block), shared.shallow_clone());
    }
    Some(out)
}

/// Gives a table below `prefix` that all blocks share to each of them, for a project that knows no
/// shared ones.
///
/// # Errors
/// [`WeightsError::Duplicate`] where a block has one already.
pub(super) fn unshare(state: &mut StateDict, prefix: &str) -> Result<(), WeightsError> {
    let Some(shared) = state.remove(&format!("{prefix}{SHARED}")) else {
        return Ok(());
    };
    let block = |name: &str| {
        let rest = name.strip_prefix(prefix)?.strip_prefix("blocks.")?;
        Some(rest.split_once('.')?.0.to_owned())
    };
    let blocks: BTreeSet<String> = state.names().filter_map(block).collect();
    for block in blocks {
        let name = format!("{prefix}{}", of_block(&block));
        if state.get(&name).is_some() {
            let origin = state.origin().to_owned();
            return Err(WeightsError::Duplicate { origin, name });
        }
        state.insert(name, shared.shallow_clone());
    }
    Ok(())
}

/// Adds the buffer of indices beside every table below `prefix`, as PyTorch's modules save them, in
/// place of any that are there. The grid is told from the table, and must be that of the positions.
///
/// # Errors
/// [`WeightsError::BiasGrid`] where that is no square grid (an oblong one cannot be told from its
/// table) or one beyond all use.
pub(super) fn add_indices(state: &mut StateDict, prefix: &str) -> Result<(), WeightsError> {
    let ending = |state: &StateDict, ending| -> Vec<String> {
        let below = |name: &str| Some(name.strip_suffix(ending)?.to_owned());
        let names = state.names().filter(|name| name.starts_with(prefix));
        names.filter_map(below).collect()
    };
    for place in ending(state, INDEX) {
        state.remove(&format!("{place}{INDEX}"));
    }
    let positions = state
        .get(&format!("{prefix}pos_embed"))
        .and_then(|table| table.size().get(1).copied());
    let fits =
        |side: &i64| *side <= LARGEST_SIDE && positions.is_none_or(|rows| rows == 1 + side * side);
    let mut indices: BTreeMap<i64, Tensor> = BTreeMap::new();
    for place in ending(state, TABLE) {
        let name = format!("{place}{TABLE}");
        let rows = state
            .get(&name)
            .and_then(|table| table.size().first().copied());
        let rows = rows.unwrap_or(0);
        let Some(side) = bias_grid(rows).filter(fits) else {
            return Err(WeightsError::BiasGrid {
                origin: state.origin().to_owned(),
                name,
                rows,
            });
        };
        let index = indices
            .entry(side)
            .or_insert_with(|| relative_bias_index(side, side));
        state.insert(format!("{place}{INDEX}"), index.shallow_clone());
    }
    Ok(())
}
