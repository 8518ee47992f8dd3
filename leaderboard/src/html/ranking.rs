//! Which values of a column are best, and which are not told apart from the best.

use crate::board::TaskBoard;

/// What a value is among those of the other systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Neither of the others, or there is nothing to compare with.
    #[default]
    Plain,
    /// No other value is better.
    Best,
    /// Its difference to the best is not significant.
    Near,
    /// Its difference to the best was not tested.
    Untested,
}

/// One standing per system of the task, for one of its metrics.
pub fn standings(task: &TaskBoard, metric: usize) -> Vec<Standing> {
    let sign = match task.metrics[metric].higher_is_better {
        true => 1.0,
        false => -1.0,
    };
    let values: Vec<f64> = task
        .systems
        .iter()
        .map(|system| {
            system
                .scores
                .get(metric)
                .map_or(f64::NAN, |score| sign * score.value)
        })
        .collect();
    let defined = || values.iter().filter(|value| !value.is_nan());
    if defined().count() < 2 {
        return vec![Standing::Plain; values.len()];
    }
    let best = defined().copied().fold(f64::NEG_INFINITY, f64::max);
    let leader = values.iter().position(|value| *value == best);
    let leader = leader.map_or("", |place| task.systems[place].system.as_str());
    let standing = |(place, value): (usize, &f64)| {
        if value.is_nan() {
            return Standing::Plain;
        }
        if *value == best {
            return Standing::Best;
        }
        let name = task.systems[place].system.as_str();
        let pair = [leader, name];
        let tested = task.differences.iter().find(|gap| {
            gap.metric == metric
                && pair.contains(&gap.system.as_str())
                && pair.contains(&gap.base.as_str())
        });
        match tested {
            Some(gap) if gap.significant => Standing::Plain,
            Some(_) => Standing::Near,
            None if task.metrics[metric].headline => Standing::Untested,
            None => Standing::Plain,
        }
    };
    values.iter().enumerate().map(standing).collect()
}
