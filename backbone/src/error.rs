//! What can go wrong while a trunk is built from a user's configuration.

/// Errors of the trunk and of position tables.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackboneError {
    /// A value of the configuration, or a combination of values, that no trunk can have.
    #[error("trunk: {field} = {value} {problem}")]
    Config {
        /// The key in the trunk's table.
        field: &'static str,
        /// Its value as the user wrote it.
        value: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// A position table that does not hold a square grid of patches after its prefix tokens.
    #[error(
        "a position table of shape {shape:?} cannot be resampled: after {prefix} prefix token(s) it \
         must hold a square number of patch positions, as [1, {prefix} + side * side, width]"
    )]
    PositionTable {
        /// Shape found.
        shape: Vec<i64>,
        /// Tokens in front that are no patches.
        prefix: i64,
    },
    /// A table of relative position biases that cannot be brought to another grid.
    #[error(
        "a relative position bias table of shape {shape:?} cannot be resampled for a grid of side \
         {side}: it must be [(2 g - 1)² + 3, heads] of a square grid of side g, 3 or more"
    )]
    BiasTable {
        /// Shape found.
        shape: Vec<i64>,
        /// Side of the grid wanted.
        side: i64,
    },
}

impl BackboneError {
    pub(crate) fn config(
        field: &'static str,
        value: impl ToString,
        problem: impl Into<String>,
    ) -> Self {
        Self::Config {
            field,
            value: value.to_string(),
            problem: problem.into(),
        }
    }
}
