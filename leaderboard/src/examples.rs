//! The same pictures under every system.

use std::path::Path;

use crate::board::{Answer, Example};
use crate::record::{EvaluationRecord, ExampleRecord};

/// Lines pictures up by name; each system's are those of its first evaluation that has any. Pictures that a
/// single system has are shown too; those whose files were deleted are not.
pub(crate) fn line_up(systems: &[Vec<(&Path, &EvaluationRecord)>]) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for (place, evaluations) in systems.iter().enumerate() {
        let shown = evaluations
            .iter()
            .find(|(_, record)| !record.examples.is_empty());
        let Some((folder, record)) = shown else {
            continue;
        };
        let kept = |example: &&ExampleRecord| folder.join(&example.truth).is_file();
        for example in record.examples.iter().filter(kept) {
            let at = match examples.iter().position(|known| known.name == example.name) {
                Some(at) => at,
                None => {
                    examples.push(Example {
                        name: example.name.clone(),
                        truth: folder.join(&example.truth),
                        truth_caption: example.truth_caption.clone(),
                        answers: vec![None; systems.len()],
                    });
                    examples.len() - 1
                }
            };
            examples[at].answers[place] = Some(answer(folder, example));
        }
    }
    examples
}

fn answer(folder: &Path, example: &ExampleRecord) -> Answer {
    Answer {
        picture: example
            .prediction
            .as_ref()
            .map(|file| folder.join(file))
            .filter(|path| path.is_file()),
        caption: example.caption.clone(),
        right: example.right,
    }
}
