//! Votes of nearest neighbours, with those that vote streaming by.
//!
//! Source: facebookresearch/dino `eval_knn.py` (arXiv 2104.14294, appendix): cosine similarity, the `k` most
//! similar, weights `exp(similarity / temperature)`.

use tch::{Device, Kind, Tensor};

/// Pictures that vote are compared so many at a time.
const AT_ONCE: i64 = 1024;
/// Pictures that are voted on, likewise.
const QUERIES_AT_ONCE: i64 = 512;

/// Pictures that are voted on, and the most similar ones seen so far of those that vote.
#[derive(Debug)]
pub struct Neighbours {
    /// `[n, C]`, of length 1.
    queries: Tensor,
    most: i64,
    /// `[n, up to most]`: similarities, and classes of those that have them.
    nearest: Option<[Tensor; 2]>,
    waiting: Vec<[Tensor; 2]>,
    waiting_pictures: i64,
}

impl Neighbours {
    /// Of queries `[n, C]`, each to be voted on by `most` neighbours.
    pub fn new(queries: &Tensor, most: i64) -> Self {
        Self {
            queries: unit(queries),
            most,
            nearest: None,
            waiting: Vec::new(),
            waiting_pictures: 0,
        }
    }

    /// Shows pictures that may vote: features `[m, C]` and classes `[m]`.
    pub fn add(&mut self, features: &Tensor, labels: &Tensor) {
        self.waiting_pictures += features.size()[0];
        self.waiting.push([unit(features), labels.shallow_clone()]);
        if self.waiting_pictures >= AT_ONCE {
            self.compare();
        }
    }

    fn compare(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_pictures = 0;
        if waiting.is_empty() {
            return;
        }
        let _no_grad = tch::no_grad_guard();
        let all = |part: usize| {
            let parts: Vec<&Tensor> = waiting.iter().map(|pair| &pair[part]).collect();
            Tensor::cat(&parts, 0)
        };
        let (features, labels) = (all(0).transpose(0, 1), all(1));
        let mut kept: [Vec<Tensor>; 2] = Default::default();
        let count = self.queries.size()[0];
        for start in (0..count).step_by(QUERIES_AT_ONCE as usize) {
            let length = QUERIES_AT_ONCE.min(count - start);
            let similar = self.queries.narrow(0, start, length).matmul(&features);
            let classes = labels.unsqueeze(0).expand([length, -1], false);
            let (similar, classes) = match &self.nearest {
                None => (similar, classes),
                Some([before, of]) => (
                    Tensor::cat(&[before.narrow(0, start, length), similar], 1),
                    Tensor::cat(&[of.narrow(0, start, length), classes], 1),
                ),
            };
            let most = self.most.min(similar.size()[1]);
            let (similar, places) = similar.topk(most, 1, true, true);
            kept[0].push(similar);
            kept[1].push(classes.gather(1, &places, false));
        }
        self.nearest = Some(kept.map(|parts| Tensor::cat(&parts, 0)));
    }

    /// The class that each query is voted into, `[n]`; the lowest of equal ones. None where nothing voted.
    pub fn vote(&mut self, temperature: f64) -> Option<Tensor> {
        self.compare();
        let _no_grad = tch::no_grad_guard();
        let [similar, labels] = self.nearest.as_ref()?;
        let classes = 1 + labels.max().int64_value(&[]);
        let votes = Tensor::zeros([similar.size()[0], classes], (Kind::Float, Device::Cpu));
        let votes = votes.scatter_add(1, labels, &(similar / temperature).exp());
        Some(votes.argmax(1, false))
    }
}

fn unit(features: &Tensor) -> Tensor {
    let features = features.to_device(Device::Cpu).to_kind(Kind::Float);
    let length = features.norm_scalaropt_dim(2.0, [1i64].as_slice(), true);
    features / length.clamp_min(f64::from(f32::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[[f32; 2]]) -> Tensor {
        Tensor::from_slice(of.as_flattened()).view([-1, 2])
    }

    fn voted(known: &[[f32; 2]], labels: &[i64], most: i64, temperature: f64) -> i64 {
        let mut neighbours = Neighbours::new(&rows(&[[1.0, 0.0]]), most);
        neighbours.add(&rows(known), &Tensor::from_slice(labels));
        neighbours.vote(temperature).unwrap().int64_value(&[0])
    }

    /// By hand: of the three neighbours of (1, 0) the nearest is of class 0, the two others of class 1, at cosines
    /// 1, 0.8 and 0.8. With temperature 0.1 exp(10) beats 2 exp(8); with temperature 1 e loses to 2 exp(0.8).
    #[test]
    fn near_neighbours_weigh_more_the_lower_the_temperature() {
        let known = [[2.0, 0.0], [0.8, 0.6], [4.0, -3.0]];
        assert_eq!(voted(&known, &[0, 1, 1], 3, 0.1), 0);
        assert_eq!(voted(&known, &[0, 1, 1], 3, 1.0), 1);
        assert_eq!(voted(&known, &[0, 1, 1], 1, 1.0), 0);
    }

    #[test]
    fn how_the_voters_come_makes_no_difference() {
        tch::manual_seed(7);
        let random = |rows: i64| Tensor::randn([rows, 8], (Kind::Float, Device::Cpu));
        let (queries, known) = (random(700), random(3000));
        let labels = Tensor::randint(10, [3000], (Kind::Int64, Device::Cpu));
        let voted = |batch: i64| {
            let mut neighbours = Neighbours::new(&queries, 20);
            for (features, labels) in known.split(batch, 0).iter().zip(labels.split(batch, 0)) {
                neighbours.add(features, &labels);
            }
            neighbours.vote(0.07).unwrap()
        };
        let at_once = voted(3000);
        assert!(at_once.equal(&voted(37)) && at_once.equal(&voted(2000)));
        assert!(Neighbours::new(&queries, 20).vote(0.07).is_none());
    }
}
