//! From requests to a leaderboard.

use std::collections::BTreeMap;
use std::path::PathBuf;

use eval::{Bootstrap, BootstrapConfig, Interval};

use crate::board::{Board, ClassScores, Gap, Kind, RunFacts, Score, SystemScores, TaskBoard};
use crate::differences::differing_recipes;
use crate::entry::{Entry, GivenTruth, Request};
use crate::error::LeaderboardError;
use crate::examples::line_up;
use crate::layers::LayerAnalysis;
use crate::published::published;
use crate::record::Start;
use crate::run_facts::PRETRAINING;
use crate::scores::{Column, Scored, score};

/// How a leaderboard is made.
#[derive(Debug, Clone, Default)]
pub struct BoardOptions {
    /// What stands on top.
    pub title: String,
    /// Ground truth that is given rather than found.
    pub truth: GivenTruth,
    /// How pictures are resampled.
    pub bootstrap: BootstrapConfig,
    /// Show published rows of other data sets, too.
    pub all_published: bool,
}

/// Entries of one kind, task and ground truth.
struct Group {
    kind: Kind,
    task: Option<String>,
    sha256: String,
    entries: Vec<Entry>,
}

/// Scores and compares everything that was asked for. `progress(task, done, all)` counts resamples.
///
/// # Errors
/// When something asked for cannot be read, its ground truth is not what it was, or nothing can be compared
/// because every system has another ground truth.
pub fn build(
    requests: &[Request],
    options: &BoardOptions,
    progress: &(dyn Fn(&str, u64, u64) + Sync),
) -> Result<Board, LeaderboardError> {
    let mut systems: Vec<String> = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut analyses = Vec::new();
    for request in requests {
        if let Some(analysis) = LayerAnalysis::read(&request.path)? {
            if let Some(name) = &request.system {
                return Err(LeaderboardError::file(
                    &request.path,
                    format!("an analysis's checkpoints have names of their own: leave {name}= out"),
                ));
            }
            analyses.push(analysis);
            continue;
        }
        let entry = Entry::find(request, &options.truth)?;
        if !systems.contains(&entry.system) {
            systems.push(entry.system.clone());
        }
        let same = |group: &&mut Group| {
            group.kind == entry.kind
                && group.task == entry.task
                && group.sha256 == entry.truth.sha256()
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group {
                kind: entry.kind,
                task: entry.task.clone(),
                sha256: entry.truth.sha256().to_owned(),
                entries: vec![entry],
            }),
        }
    }
    comparable(&groups, &systems)?;
    groups.sort_by_key(|group| group.kind);
    let mut board = Board {
        title: options.title.clone(),
        systems,
        resamples: options.bootstrap.resamples,
        confidence: options.bootstrap.confidence,
        tasks: Vec::new(),
        runs: Vec::new(),
        analyses,
        notes: Vec::new(),
    };
    let names = task_names(&groups);
    for (group, name) in groups.iter().zip(&names) {
        add_task(&mut board, group, name, options, progress)?;
    }
    Ok(board)
}

/// Refuses systems that share no ground truth: their scores say nothing about each other.
fn comparable(groups: &[Group], systems: &[String]) -> Result<(), LeaderboardError> {
    let alone = |group: &Group| {
        let first = &group.entries[0].system;
        group.entries.iter().all(|entry| entry.system == *first)
    };
    if systems.len() < 2 || !groups.iter().all(alone) {
        return Ok(());
    }
    let mut seen: BTreeMap<Kind, &Entry> = BTreeMap::new();
    for entry in groups.iter().flat_map(|group| &group.entries) {
        if let Some(other) = seen.get(&entry.kind)
            && other.system != entry.system
        {
            return Err(LeaderboardError::Compare(format!(
                "{} and {} cannot be compared: they were held against different ground truths (SHA-256 {} and {}); evaluate both on the same data",
                other.predictions.display(),
                entry.predictions.display(),
                start_of(other.truth.sha256()),
                start_of(entry.truth.sha256())
            )));
        }
        seen.entry(entry.kind).or_insert(entry);
    }
    Ok(())
}

fn start_of(sha256: &str) -> String {
    format!("{}…", &sha256[..sha256.len().min(12)])
}

/// What the tasks are called: as asked for, else by kind, numbered where one kind has several.
fn task_names(groups: &[Group]) -> Vec<String> {
    let word = |kind: Kind| match kind {
        Kind::Classify => "classification",
        Kind::Detect => "detection",
        Kind::Segment => "segmentation",
    };
    let mut names: Vec<String> = Vec::new();
    for group in groups {
        let name = group
            .task
            .clone()
            .unwrap_or_else(|| word(group.kind).to_owned());
        let mut free = name.clone();
        let mut number = 1;
        while names.contains(&free) {
            number += 1;
            free = format!("{name} {number}");
        }
        names.push(free);
    }
    names
}

fn add_task(
    board: &mut Board,
    group: &Group,
    name: &str,
    options: &BoardOptions,
    progress: &(dyn Fn(&str, u64, u64) + Sync),
) -> Result<(), LeaderboardError> {
    let entries: Vec<&Entry> = group.entries.iter().collect();
    let scored = score(group.kind, &entries, &options.bootstrap, &|done, all| {
        progress(name, done, all);
    })?;
    // Rows in the order of the board, each with the places of its trainings.
    let rows: Vec<(String, Vec<usize>)> = board
        .systems
        .iter()
        .map(|system| {
            let places = (0..entries.len()).filter(|at| entries[*at].system == *system);
            (system.clone(), places.collect())
        })
        .filter(|(_, places): &(String, Vec<usize>)| !places.is_empty())
        .collect();
    let members: Vec<Vec<usize>> = rows.iter().map(|(_, places)| places.clone()).collect();
    let means = scored.bootstrap.means_of(&members);

    let recipes: Vec<(&str, &str)> = entries
        .iter()
        .filter_map(|entry| {
            let (_, record) = entry.evaluation.as_ref()?;
            Some((entry.system.as_str(), record.recipe.as_str()))
        })
        .collect();
    board.notes.extend(differing_recipes(name, &recipes));
    board
        .notes
        .extend(scored.notes.iter().map(|note| format!("{name}: {note}")));
    let runs = add_runs(board, &entries, name)?;

    let evaluations: Vec<_> = members
        .iter()
        .map(|places| {
            let recorded = places
                .iter()
                .filter_map(|at| entries[*at].evaluation.as_ref());
            recorded
                .map(|(folder, record)| (folder.as_path(), record))
                .collect()
        })
        .collect();
    let shown: Vec<usize> = shown_columns(&scored);
    let class_count = scored.classes.names.len();
    board.tasks.push(TaskBoard {
        name: name.to_owned(),
        kind: group.kind,
        data: scored.data.clone(),
        truth_sha256: group.sha256.clone(),
        pictures: scored.pictures,
        metrics: shown
            .iter()
            .map(|at| scored.columns[*at].metric.clone())
            .collect(),
        systems: rows
            .iter()
            .enumerate()
            .map(|(row, (system, places))| SystemScores {
                system: system.clone(),
                seeds: places.len(),
                runs: places.iter().filter_map(|at| runs[*at]).collect(),
                scores: shown
                    .iter()
                    .map(|at| system_score(&scored, &means, row, places, *at))
                    .collect(),
            })
            .collect(),
        differences: gaps(&scored, &means, &rows, &shown),
        published: published(
            group.kind,
            scored.pictures,
            class_count,
            options.all_published,
        ),
        classes: ClassScores {
            values: members
                .iter()
                .map(|places| class_means(&scored.classes.values, places, class_count))
                .collect(),
            ..scored.classes.clone()
        },
        precision_recall: members
            .iter()
            .filter_map(|places| places.first())
            .flat_map(|first| scored.precision_recall[*first].clone())
            .collect(),
        examples: line_up(&evaluations),
    });
    Ok(())
}

/// Metrics that some entry has.
fn shown_columns(scored: &Scored) -> Vec<usize> {
    let systems = scored.bootstrap.size().systems;
    let defined = |metric: &usize| {
        (0..systems).any(|system| !scored.bootstrap.value(system, *metric).is_nan())
    };
    (0..scored.columns.len()).filter(defined).collect()
}

fn scaled(column: &Column, interval: Interval, seed_deviation: Option<f64>) -> Score {
    Score {
        value: column.factor * interval.value,
        low: column.factor * interval.low,
        high: column.factor * interval.high,
        seed_deviation: seed_deviation.map(|deviation| column.factor * deviation),
    }
}

fn system_score(
    scored: &Scored,
    means: &Bootstrap,
    row: usize,
    places: &[usize],
    metric: usize,
) -> Score {
    let values: Vec<f64> = places
        .iter()
        .map(|system| scored.bootstrap.value(*system, metric))
        .collect();
    scaled(
        &scored.columns[metric],
        means.interval(row, metric),
        deviation(&values),
    )
}

/// Sample standard deviation; none of a single value.
fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

fn gaps(
    scored: &Scored,
    means: &Bootstrap,
    rows: &[(String, Vec<usize>)],
    shown: &[usize],
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (place, metric) in shown.iter().enumerate() {
        let column = &scored.columns[*metric];
        if !column.metric.headline {
            continue;
        }
        gaps.extend(means.all_pairs(*metric).into_iter().map(|difference| Gap {
            metric: place,
            system: rows[difference.system].0.clone(),
            base: rows[difference.base].0.clone(),
            difference: scaled(column, difference.interval, None),
            p_value: difference.adjusted_p_value,
            significant: difference.significant,
        }));
    }
    gaps
}

fn class_means(values: &[Vec<f64>], places: &[usize], classes: usize) -> Vec<f64> {
    (0..classes)
        .map(|class| {
            let of = |at: &usize| values[*at].get(class).copied().unwrap_or(f64::NAN);
            places.iter().map(of).sum::<f64>() / places.len() as f64
        })
        .collect()
}

/// Adds the runs behind the entries, and the pre-training runs behind those; the place of each entry's run.
fn add_runs(
    board: &mut Board,
    entries: &[&Entry],
    task: &str,
) -> Result<Vec<Option<usize>>, LeaderboardError> {
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(run) = &entry.run else {
            places.push(None);
            continue;
        };
        if let Some(pretraining) = pretraining_run(run)?
            && !board.runs.iter().any(|known| known.path == pretraining)
        {
            board
                .runs
                .push(RunFacts::read(&pretraining, &entry.system, PRETRAINING)?);
        }
        places.push(Some(board.runs.len()));
        board.runs.push(RunFacts::read(run, &entry.system, task)?);
    }
    Ok(places)
}

/// The run whose weights a run started from, where that is still there.
fn pretraining_run(run: &std::path::Path) -> Result<Option<PathBuf>, LeaderboardError> {
    let start = Start::read(run)?;
    let before = start
        .and_then(|start| start.weights)
        .and_then(|weights| weights.run);
    Ok(before.filter(|path| path.join("config.toml").is_file()))
}
