//! The passes over pictures, and what comes of them.

use std::path::Path;
use std::rc::Rc;

use data::{Dataset, LoadedSet};
use deepmim_cli::Failure;
use engine::{BatchSource, EngineError, EvaluateOptions, Progress, StopFlag, TaskError, World};
use leaderboard::{
    AnalysedCheckpoint, CheckpointFindings, HeadMeasures, LayerMeasure, Measured, Similarity,
    Values,
};
use pretraining::{Cka, FeatureStore, Observation, ObserveTask, Study, Subject, Teaching};
use tch::{Device, Tensor};

use super::recipe::AnalysisSection;
use crate::session::{Batches, evaluation_failed};

/// Features of training pictures, while probes are trained.
const FEATURES: &str = "features.tmp";

/// What passes are made with.
pub struct Passes<'a> {
    /// The trunks.
    pub subjects: &'a [Subject<'a>],
    /// What they go by.
    pub names: &'a [String],
    /// What is measured.
    pub settings: &'a AnalysisSection,
    /// Where.
    pub device: Device,
    /// Folder of the results, where features of training pictures lie meanwhile.
    pub folder: &'a Path,
    /// The processes.
    pub world: &'a Rc<World>,
}

/// What was found, a list for each checkpoint.
pub struct Findings {
    measured: Vec<Vec<Measured>>,
    probe_rates: Vec<Vec<f64>>,
    attention: Vec<Option<HeadMeasures>>,
    cka: Vec<Similarity>,
}

/// What pictures taught about one trunk, and the learning rates of its probes.
type Taught = (Vec<Measured>, Vec<f64>);

impl Findings {
    /// Beside what is recorded of the checkpoints, in the same order.
    pub fn with(
        self,
        records: Vec<AnalysedCheckpoint>,
    ) -> (Vec<CheckpointFindings>, Vec<Similarity>) {
        let findings = records
            .into_iter()
            .zip(self.measured)
            .zip(self.attention.into_iter().zip(self.probe_rates))
            .map(
                |((checkpoint, measured), (attention, probe_rates))| CheckpointFindings {
                    checkpoint: AnalysedCheckpoint {
                        attention,
                        probe_rates,
                        ..checkpoint
                    },
                    measured,
                },
            )
            .collect();
        (findings, self.cka)
    }
}

impl Passes<'_> {
    /// All of them. None in a process that only helps.
    pub fn run(
        &self,
        val: &LoadedSet,
        train: Option<&LoadedSet>,
    ) -> Result<Option<Findings>, Failure> {
        let mut studies: Vec<Study> = (self.subjects.iter())
            .map(|subject| {
                let config = subject.config();
                let [depth, heads, width] =
                    [config.depth, config.heads, config.width].map(|number| number as usize);
                Study::new(depth, heads, width)
            })
            .collect();
        self.pass(val, "pictures", self.settings.attention, |picture| {
            for (study, trunk) in studies.iter_mut().zip(&picture.trunks) {
                study.add(picture.label, trunk);
            }
            Ok(())
        })?;
        let mut measured: Vec<Vec<Measured>> = studies.iter().map(of_study).collect();
        let mut probe_rates = vec![Vec::new(); studies.len()];
        for (study, name) in studies.iter().zip(self.names) {
            if !study.is_finite() {
                return Err(anyhow::anyhow!(
                    "{name}: its features are not all finite: the weights are damaged or diverged, or analysis.precision is too narrow for them"
                )
                .into());
            }
        }
        // Every process sees the same labels, and so makes the same passes.
        let labelled = (0..val.dataset.len()).any(|place| val.dataset.label(place) >= 0);
        if let Some(train) = train.filter(|_| labelled) {
            let taught = self.teach(&studies, train)?;
            for (place, (taught, rates)) in taught.into_iter().enumerate() {
                measured[place].extend(taught);
                probe_rates[place] = rates;
            }
        }
        if !self.world.is_main() {
            return Ok(None);
        }
        Ok(Some(Findings {
            attention: studies.iter().map(head_measures).collect(),
            cka: self.similarities(&studies),
            measured,
            probe_rates,
        }))
    }

    fn pass(
        &self,
        set: &LoadedSet,
        label: &str,
        attention: bool,
        mut each: impl FnMut(&Observation) -> Result<(), TaskError>,
    ) -> Result<(), Failure> {
        let failed = |error: EngineError| evaluation_failed(TaskError::from(error));
        let options = EvaluateOptions {
            device: self.device,
            precision: self.settings.precision,
            batches: set.loader.batches(),
            label: label.to_owned(),
            stop: StopFlag::on_signals()?,
            world: self.world.clone(),
        };
        let task = ObserveTask {
            subjects: self.subjects,
            pool: self.settings.pool,
            attention,
        };
        let batches = Batches(&set.loader);
        engine::evaluate(&task, batches.epoch(0, 0), &options, |picture| {
            each(&picture)
        })
        .map_err(failed)?;
        Ok(())
    }

    /// Votes and probes, for each trunk; none where no training picture has a known class.
    fn teach(&self, studies: &[Study], train: &LoadedSet) -> Result<Vec<Taught>, Failure> {
        let settings = self.settings;
        let linear = &settings.linear;
        let mut teachings: Vec<Teaching> = match self.world.is_main() {
            true => (studies.iter())
                .map(|study| {
                    let classes = train.dataset.classes().len();
                    Teaching::new(study, settings.neighbours as i64, linear, classes)
                })
                .collect(),
            false => Vec::new(),
        };
        let numbers = |study: &Study| study.layers() * study.width();
        let mut store = match self.world.is_main() {
            true => {
                let widths = studies.iter().map(numbers).collect();
                let store = FeatureStore::new(&self.folder.join(FEATURES), widths);
                Some(store.map_err(anyhow::Error::from)?)
            }
            false => None,
        };
        // A process that only helps has nothing to teach, and is done after this pass.
        self.pass(train, "features of training pictures", false, |picture| {
            if picture.label < 0 {
                return Ok(());
            }
            let mut trains = false;
            for (teaching, trunk) in teachings.iter_mut().zip(&picture.trunks) {
                trains = teaching.meet(&picture.name, picture.label, &trunk.features);
            }
            if let (true, Some(store)) = (trains, &mut store) {
                let features = picture.trunks.iter().map(|trunk| trunk.features.as_slice());
                store.add(picture.label, features)?;
            }
            Ok(())
        })?;
        let Some(mut store) = store.filter(|store| store.pictures() > 0) else {
            return Ok(Vec::new());
        };
        for teaching in &mut teachings {
            teaching.begin_training(store.pictures(), linear.epochs);
        }
        let mut progress = Progress::new("linear probes", linear.epochs as u64, 0);
        let stop = StopFlag::on_signals()?;
        for _ in 0..linear.epochs {
            if stop.raised() {
                return Err(evaluation_failed(EngineError::Stopped.into()));
            }
            let shown = store.each(|label, trunks| {
                for (teaching, features) in teachings.iter_mut().zip(trunks) {
                    teaching.teach(label, features);
                }
            });
            shown.map_err(anyhow::Error::from)?;
            teachings.iter_mut().for_each(Teaching::end_epoch);
            progress.step(store.pictures(), String::new);
        }
        let mut taught = Vec::new();
        for (teaching, study) in teachings.iter_mut().zip(studies) {
            let (right, places) = teaching.probes(study);
            let mut measured = vec![(LayerMeasure::Linear, right)];
            let votes = teaching.votes(study, self.settings.temperature);
            measured.extend(votes.map(|right| (LayerMeasure::Knn, right)));
            let measured = measured.into_iter().map(|(measure, right)| Measured {
                measure,
                values: Values::OfPictures(in_per_cent(right)),
            });
            let rates: Vec<f64> = places.iter().map(|place| linear.rates[*place]).collect();
            match teaching.held_out() {
                0 => eprintln!(
                    "note: no training picture was held out to choose the probes' learning rate, so the middle one of analysis.linear.rates was taken"
                ),
                _ => self.note_ends(&rates),
            }
            taught.push((measured.collect(), rates));
        }
        Ok(taught)
    }

    /// Tells where the best learning rate may lie beyond those that were tried.
    fn note_ends(&self, chosen: &[f64]) {
        let tried = &self.settings.linear.rates;
        let ends = [f64::min, f64::max].map(|end| tried.iter().copied().reduce(end));
        for end in ends.into_iter().flatten() {
            let there = chosen.iter().filter(|rate| **rate == end).count();
            if tried.len() > 1 && 2 * there > chosen.len() {
                eprintln!(
                    "note: {there} of {} layers probe best at the learning rate {end}, the end of analysis.linear.rates; widen them",
                    chosen.len()
                );
            }
        }
    }

    /// CKA of the layers of every pair of trunks, over batches of pictures in a random order.
    fn similarities(&self, studies: &[Study]) -> Vec<Similarity> {
        let pictures = studies.first().map_or(0, Study::pictures) as i64;
        tch::manual_seed(self.settings.seed.cast_signed());
        let order = Tensor::randperm(pictures, (tch::Kind::Int64, Device::Cpu));
        let layers: Vec<Tensor> = studies
            .iter()
            .flat_map(|study| study.features().index_select(1, &order).unbind(0))
            .collect();
        let mut cka = Cka::new(layers.len());
        let size = (self.settings.cka_batch as i64).min(pictures.max(1));
        // The last pictures that make no whole batch are left out: its estimate would weigh as much as others.
        for batch in 0..pictures / size {
            let part = |layer: &Tensor| layer.narrow(0, batch * size, size);
            cka.add(&layers.iter().map(part).collect::<Vec<_>>());
        }
        let Some(matrix) = cka.matrix() else {
            return Vec::new();
        };
        let starts: Vec<usize> = studies
            .iter()
            .scan(0, |start, study| {
                let own = *start;
                *start += study.layers();
                Some(own)
            })
            .collect();
        let block = |first: usize, second: usize| -> Vec<Vec<Option<f64>>> {
            let rows = starts[first]..starts[first] + studies[first].layers();
            let columns = starts[second]..starts[second] + studies[second].layers();
            rows.map(|row| {
                let values = &matrix[row][columns.clone()];
                let defined = |value: &f64| Some(*value).filter(|value| value.is_finite());
                values.iter().map(defined).collect()
            })
            .collect()
        };
        (0..studies.len())
            .flat_map(|first| (first..studies.len()).map(move |second| (first, second)))
            .map(|(first, second)| Similarity {
                first,
                second,
                values: block(first, second),
            })
            .collect()
    }
}

/// What the pictures alone say of a trunk.
fn of_study(study: &Study) -> Vec<Measured> {
    if study.pictures() == 0 {
        return Vec::new();
    }
    let mut measured = vec![Measured {
        measure: LayerMeasure::Rank,
        values: Values::OfLayers((1..).zip(study.ranks()).collect()),
    }];
    if let Some(attention) = study.attention() {
        let kinds = [
            LayerMeasure::Distance,
            LayerMeasure::Entropy,
            LayerMeasure::HeadDivergence,
            LayerMeasure::HeadCosine,
        ];
        let each = kinds.into_iter().zip(attention.of_pictures());
        measured.extend(each.map(|(measure, values)| Measured {
            measure,
            values: Values::OfPictures(values),
        }));
    }
    measured
}

fn head_measures(study: &Study) -> Option<HeadMeasures> {
    let attention = study.attention()?;
    Some(HeadMeasures {
        distance: attention.distance(),
        entropy: attention.entropy(),
        head_divergence: attention.head_divergence(),
        head_cosine: attention.head_cosine(),
        layer_divergence: attention.layer_divergence(),
        layer_cosine: attention.layer_cosine(),
    })
}

fn in_per_cent(right: Vec<Vec<bool>>) -> Vec<Vec<f64>> {
    let of = |right: bool| if right { 100.0 } else { 0.0 };
    right
        .into_iter()
        .map(|layer| layer.into_iter().map(of).collect())
        .collect()
}
