//! The page of a leaderboard: whole, safe, readable without anything beside it.

#[path = "support/fixture.rs"]
mod fixture;

use std::path::Path;

use deepmim_leaderboard::{
    Board, Kind, LayerAnalysis, LayerMeasure, LayerScore, Score, SystemScores, TrainingCurve, html,
    layer_plots, layers_csv, markdown, table,
};
use fixture::{SYSTEMS, analysis, analysis_of_trainings, board};

fn page(change: impl FnOnce(&mut Board, &Path)) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut board = board(folder.path());
    change(&mut board, folder.path());
    let page = html(&board).expect("a page");
    assert_well_formed(&page);
    page
}

/// Every element that is opened is closed in its order, and no attribute value ends early.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 12] = [
        "meta", "link", "img", "br", "hr", "input", "line", "rect", "circle", "polyline",
        "polygon", "path",
    ];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') {
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        let name = tag.split([' ', '\n', '/']).find(|part| !part.is_empty());
        let name = name.expect("a tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed by </{name}>");
        } else if !VOID.contains(&name) {
            open.push(name);
            if name == "style" {
                rest = &rest[rest.find("</style>").expect("styles end")..];
            }
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

/// The page without the letters of its pictures, which may spell anything.
fn words(page: &str) -> String {
    let mut pieces = page.split("base64,");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |words, piece| {
        words + &piece[piece.find('"').expect("a quote")..]
    })
}

fn count(page: &str, part: &str) -> usize {
    page.matches(part).count()
}

/// The text of one section.
fn section<'a>(page: &'a str, id: &str) -> &'a str {
    let start = page.find(&format!("<section id=\"{id}\"")).expect(id);
    let rest = &page[start..];
    &rest[..rest.find("</section>").expect("its end")]
}

#[test]
fn a_page_needs_nothing_beside_it() {
    let page = page(|_, _| {});
    for asking in [
        "http://", "https://", "<script", "@import", "url(", "src=\"/", "file:",
    ] {
        assert!(!page.contains(asking), "{asking}");
    }
    // 3 truths without answers, 3 with three answers each, and 3 with one answer missing; reconstructions.
    assert_eq!(
        count(&page, "src=\"data:image/png;base64,"),
        3 + 12 + 11 + 4
    );
    assert_eq!(count(&page, "<img"), count(&page, " alt=\""));
    assert_eq!(count(&page, " alt=\"\""), 0);
}

#[test]
fn every_system_and_metric_is_there() {
    let page = page(|_, _| {});
    let leaderboard = section(&page, "leaderboard");
    for name in SYSTEMS {
        assert!(leaderboard.contains(&format!("<th scope=\"row\">{name}</th>")));
    }
    for title in ["top-1 %", "AP-box %", "AP-mask %", "mIoU %"] {
        assert!(
            leaderboard.contains(&format!("<th scope=\"col\">{title}")),
            "{title}"
        );
    }
    for (task, title) in [
        ("task-1", "negative log-likelihood"),
        ("task-2", "AP50-box %"),
    ] {
        assert!(section(&page, task).contains(title), "{title}");
    }
    assert_eq!(count(leaderboard, "<svg viewBox"), 4);
    assert_eq!(
        count(section(&page, "task-2"), "<svg viewBox"),
        2 + 2 + 2 * 3
    );
    assert_eq!(count(section(&page, "runs"), "<details>"), 2 + 3 * 5);
    assert_eq!(count(&page, "<h1>"), 1);
}

#[test]
fn the_best_is_bold_and_what_chance_explains_is_marked() {
    let page = page(|_, _| {});
    let leaderboard = section(&page, "leaderboard");
    assert_eq!(count(leaderboard, "<td class=\"best\">"), 4);
    assert_eq!(
        count(
            leaderboard,
            "title=\"not significantly different from the best\""
        ),
        4
    );
    assert!(leaderboard.contains("SD 0.82 over 3 seeds"));
    // Less is better: the system with the smallest loss.
    let losses = &page[page.find("negative log-likelihood").expect("losses")..];
    let losses = &losses[..losses.find("</tr>").expect("a row's end")];
    assert!(losses.contains("<td class=\"best\"><span class=\"value\">1.311</span>"));
    let differences = section(&page, "differences");
    assert_eq!(count(differences, ">better</td>"), 8);
    assert_eq!(count(differences, ">not significant</td>"), 4);
    assert!(differences.contains("[−0.80, +3.30]") && differences.contains("&#60; 0.001"));
}

#[test]
fn a_smaller_loss_is_better_and_a_significant_one_says_so() {
    let page = page(|board, _| {
        let task = &mut board.tasks[0];
        task.metrics[0].higher_is_better = false;
    });
    assert_eq!(count(section(&page, "differences"), ">worse</td>"), 2);
}

#[test]
fn published_rows_are_told_from_measured_ones() {
    let page = page(|_, _| {});
    let published = &page[page
        .find("<tbody class=\"published\">")
        .expect("published rows")..];
    let published = &published[..published.find("</tbody>").expect("their end")];
    assert_eq!(count(published, "<span class=\"tag\">published</span>"), 2);
    assert!(published.contains("Li et al. 2022, table 7") && published.contains("51.6"));
    assert!(!published.contains("best"));
}

#[test]
fn numbers_that_are_not_defined_are_dashes() {
    let page = page(|board, _| {
        let nothing = Score {
            value: f64::NAN,
            low: f64::NAN,
            high: f64::NAN,
            seed_deviation: None,
        };
        for task in &mut board.tasks {
            task.systems[0].scores.fill(nothing);
            task.differences[0].difference = nothing;
            task.differences[0].p_value = f64::NAN;
            task.classes.values[0].fill(f64::NAN);
        }
    });
    assert!(!words(&page).contains("NaN"));
    assert!(section(&page, "leaderboard").contains("<span class=\"value\">–</span>"));
    assert_eq!(count(section(&page, "differences"), ">not defined</td>"), 3);
}

#[test]
fn what_users_name_stays_text() {
    let page = page(|board, _| {
        let hostile = "<b>x</b>\"'&";
        board.title = hostile.into();
        board.notes.push(hostile.into());
        board.systems[0] = hostile.into();
        board.runs[0].recipe = "a = \"</pre><script>alert(1)</script>\"".into();
        board.runs[0].facts.push((hostile.into(), hostile.into()));
        for task in &mut board.tasks {
            task.name = hostile.into();
            task.data = hostile.into();
            task.systems[0].system = hostile.into();
            task.metrics[0].title = hostile.into();
            task.classes.names[0] = hostile.into();
            task.examples[0].name = hostile.into();
            task.examples[0].truth_caption = hostile.into();
            if let Some(answer) = &mut task.examples[0].answers[0] {
                answer.caption = hostile.into();
            }
        }
    });
    assert!(!page.contains("<b>x") && !page.contains("<script") && page.contains("&#60;b&#62;x"));
    assert_eq!(count(&page, "</pre>"), count(&page, "<pre"));
}

#[test]
fn many_classes_stay_legible() {
    let page = page(|_, _| {});
    let segmentation = section(&page, "task-3");
    assert!(segmentation.contains("The 20 of 150 classes"));
    assert!(segmentation.contains("All 150 classes as a table"));
    let table = &segmentation[segmentation.find("<details>").expect("the table")..];
    assert_eq!(
        count(&table[..table.find("</table>").expect("its end")], "<tr>"),
        151
    );
    assert!(section(&page, "task-1").contains("All 10 classes, the most frequent first"));
}

#[test]
fn parts_without_content_do_not_show() {
    let page = page(|board, _| {
        board.systems.truncate(1);
        board.notes.clear();
        board.runs.clear();
        for task in &mut board.tasks {
            task.systems.truncate(1);
            task.systems[0].seeds = 1;
            task.systems[0]
                .scores
                .iter_mut()
                .for_each(|score| score.seed_deviation = None);
            task.classes.values.truncate(1);
            task.differences.clear();
            task.published.clear();
            task.precision_recall.clear();
            task.examples.clear();
        }
    });
    for absent in ["differences", "notes", "curves", "runs"] {
        assert!(!page.contains(&format!("id=\"{absent}\"")), "{absent}");
        assert!(!page.contains(&format!("href=\"#{absent}\"")), "{absent}");
    }
    for absent in [
        "published</span>",
        "Precision and recall",
        "Examples",
        "class=\"best\"",
        "significant",
    ] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("each system was trained with one seed"));
    assert!(page.contains("The 20 most frequent of 80 classes"));
}

#[test]
fn empty_boards_make_a_page() {
    let empty = page(|board, _| {
        board.tasks.clear();
        board.runs.clear();
        board.systems.clear();
        board.notes.clear();
    });
    assert_eq!(count(&empty, "<section"), 0);
    let bare = page(|board, _| {
        for task in &mut board.tasks {
            task.metrics.clear();
            task.systems.clear();
            task.differences.clear();
            task.classes = Default::default();
        }
    });
    assert!(bare.contains("Task: detection") && !bare.contains("id=\"leaderboard\""));
}

#[test]
fn a_system_may_lack_a_task_and_runs_may_lack_points() {
    let page = page(|board, _| {
        board.tasks[1].systems.remove(0);
        board.tasks[1].classes.values.remove(0);
        for run in &mut board.runs {
            run.curves[0].points.truncate(1);
            run.curves[0]
                .points
                .extend([[2.0, f64::NAN], [3.0, f64::INFINITY]]);
        }
    });
    assert!(section(&page, "leaderboard").contains(SYSTEMS[0]));
    assert!(!words(&page).contains("NaN") && !words(&page).contains("inf"));
}

#[test]
fn many_systems_differ_in_more_than_colour() {
    let page = page(|board, folder| {
        let mut task = fixture::task(folder, Kind::Classify);
        for place in 0..9 {
            let system = format!("system {place}");
            board.systems.push(system.clone());
            let scores = task.systems[0].scores.clone();
            task.systems.push(SystemScores {
                system,
                seeds: 1,
                runs: Vec::new(),
                scores,
            });
        }
        board.tasks.push(task);
    });
    let start = page.find("<ul class=\"legend\">").expect("a legend");
    assert!(page[start..].contains("polygon") && page[start..].contains("rect"));
    // Their differences to the best are not among the board's.
    assert!(page.contains("?: difference to the best not tested"));
}

#[test]
fn a_picture_that_cannot_be_shown_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut board = board(folder.path());
    board.tasks[0].examples[0].truth = folder.path().join("absent.png");
    let told = html(&board).expect_err("no picture").to_string();
    assert!(
        told.contains("absent.png: the picture cannot be read"),
        "{told}"
    );
    let text = folder.path().join("text.png");
    std::fs::write(&text, "text").expect("a file");
    board.tasks[0].examples[0].truth = text;
    let told = html(&board).expect_err("no picture").to_string();
    assert!(
        told.contains("text.png: neither a JPEG nor a PNG"),
        "{told}"
    );
}

#[test]
fn a_board_always_makes_the_same_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let board = board(folder.path());
    assert_eq!(html(&board).expect("a page"), html(&board).expect("a page"));
}

/// An analysis of layers is a section of a leaderboard's page, or a page alone; what is not defined stays grey.
#[test]
fn layers_have_a_section_with_tables_plots_and_definitions() {
    let page = page(|board, _| board.analyses.push(analysis()));
    assert_eq!(count(&page, "<section id=\"layers-1\""), 1);
    assert_eq!(count(&page, "href=\"#layers-1\""), 1);
    for part in [
        "Linear probe, top-1 %",
        "k-NN of layer 2 during pre-training",
        "CKA of MAE &#60;b&#62; and DeepMIM",
        "Attention distance of the heads of DeepMIM",
        "Definitions",
        "runs/3/model.safetensors",
        "fill=\"#DDDDDE\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!words(&page).contains("NaN") && !page.contains("MAE <b>"));

    let alone = html(&Board::of_analysis("Layers".into(), analysis())).expect("a page");
    assert_well_formed(&alone);
    assert!(!alone.contains("id=\"leaderboard\"") && !alone.contains("paired bootstrap"));

    let plots = layer_plots(&analysis()).expect("plots");
    assert_eq!(plots.len(), 3 + 1 + 2 + 3 + 2);
    for (name, plot) in &plots {
        assert!(
            name.ends_with(".svg") && !name.contains(['<', ' ', '/']),
            "{name}"
        );
        assert_well_formed(plot);
        assert!(plot.contains("xmlns=\"http://www.w3.org/2000/svg\""));
    }
}

/// What is written is read again, and says the same in every form.
#[test]
fn an_analysis_is_kept_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = analysis();
    assert!(
        LayerAnalysis::read(folder.path())
            .expect("nothing")
            .is_none()
    );
    found.write(folder.path()).expect("written");
    let again = LayerAnalysis::read(folder.path())
        .expect("sound")
        .expect("there");
    assert_eq!(again, found);
    // Between systems CKA is the mean over pairs of checkpoints, within one that of each with itself.
    let between = found
        .similarity("MAE <b>", "DeepMIM")
        .expect("both are there");
    assert!((between[0][0] - (0.5 + 0.1 * 3.0)).abs() < 1e-12);
    let within = found.similarity("DeepMIM", "DeepMIM").expect("there");
    assert!((within[0][0] - (0.5 + 0.1 * 5.0)).abs() < 1e-12 && within[0][1].is_nan());
    let text = table(&Board::of_analysis(String::new(), again));
    assert!(
        text.contains("Effective rank") && text.contains("shallower half"),
        "{text}"
    );
    // Ranks are 1 to 4, one more for each checkpoint: 3 and 5 over all layers.
    let csv = layers_csv(&found).expect("CSV");
    assert!(csv.contains("DeepMIM,,rank,all,5,"), "{csv}");
    assert!(csv.contains("DeepMIM,MAE <b>,rank,all,2,"), "{csv}");

    std::fs::write(folder.path().join("analysis.json"), "{").expect("damaged");
    let error = LayerAnalysis::read(folder.path())
        .expect_err("damaged")
        .to_string();
    assert!(
        error.contains("analysis.json") && error.contains("damaged"),
        "{error}"
    );
}

/// Several differences of a measure stand side by side, with a verdict where chance does not explain them.
#[test]
fn differences_of_several_systems_are_one_row() {
    let mut found = analysis();
    found.systems.push("third".into());
    let of_third: Vec<LayerScore> = (found.differences.iter())
        .map(|gap| LayerScore {
            system: "third".into(),
            value: -1.5,
            interval: match gap.measure {
                LayerMeasure::Linear => Some([-2.5, -0.5]),
                LayerMeasure::HeadDivergence => Some([-2.5, 0.5]),
                _ => None,
            },
            ..gap.clone()
        })
        .collect();
    found.differences.extend(of_third);
    let text = markdown(&Board::of_analysis(String::new(), found));
    let row = |title: &str| {
        let (_, table) = text.split_once("against MAE").expect("a table");
        let rows: Vec<&str> = (table.lines())
            .filter(|line| line.contains(title) && line.contains(" all "))
            .collect();
        assert_eq!(rows.len(), 1, "{table}");
        rows[0]
            .split('|')
            .nth_back(1)
            .expect("a cell")
            .trim()
            .to_owned()
    };
    assert_eq!(row("Linear probe"), "lower -1.50 (-2.50 to -0.50)");
    assert_eq!(row("Divergence of heads"), "-1.500 (-2.500 to +0.500)");
    assert_eq!(row("Effective rank"), "-1.50");
}

/// Only layers and epochs that all trainings logged are averaged.
#[test]
fn trainings_are_compared_where_all_of_them_were_looked_at() {
    let curve = |layer: usize, points: &[[f64; 2]]| TrainingCurve {
        layer,
        points: points.to_vec(),
    };
    let analysis = analysis_of_trainings([
        vec![curve(4, &[[1.0, 10.0], [2.0, 20.0], [3.0, 90.0]])],
        vec![
            curve(2, &[[1.0, 70.0], [2.0, 70.0]]),
            curve(4, &[[1.0, 14.0], [2.0, 26.0]]),
        ],
        vec![curve(4, &[[2.0, 30.0], [3.0, 1.0], [1.0, 12.0]])],
        vec![],
    ]);
    let of = |place: usize| {
        let measures = &analysis.checkpoints[place].measures;
        let found = measures
            .iter()
            .find(|one| one.measure == LayerMeasure::KnnInTraining);
        found.map(|one| one.values.clone())
    };
    assert_eq!(of(0), Some(vec![(4, 15.0)]));
    assert_eq!(of(1), Some(vec![(4, 20.0)]));
    assert_eq!(of(2), Some(vec![(4, 21.0)]));
    assert_eq!(of(3), None);
}
