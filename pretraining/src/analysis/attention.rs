//! How far the heads of a trunk look, how sharply, and how much they differ.
//!
//! All of it is about patches: the class token's row and column of a map are left out, and what remains of each row
//! is divided by its sum. Of rows `p`, `q` over the same patches:
//!
//! - **distance** in pixels, `Σ_j p_j |i - j|` of the query's patch `i`: "mean attention distance", Dosovitskiy et
//!   al. (arXiv 2010.11929), appendix D.7, and Raghu et al. (arXiv 2108.08810), section 3;
//! - **entropy** in nats, `-Σ p ln p`, and **divergence** of two heads, the Kullback-Leibler divergence
//!   `Σ p ln (p / q)`: Xie et al., "Revealing the Dark Secrets of Masked Image Modeling" (arXiv 2205.13543),
//!   section 3;
//! - **cosine** `p q / (|p| |q|)` of two heads of a layer, or of one head's place in two layers: after Zhou et al.,
//!   "DeepViT" (arXiv 2103.11886), section 3.2, who take the columns of maps where rows are taken here. The divergence of two layers is that of their maps averaged over
//!   heads, since heads of different layers do not correspond.
//!
//! Each is averaged over the queries of a picture. Parity: `analysis` (numpy and torch), relative 1e-4.

use backbone::VitConfig;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, TchError, Tensor};

/// Shares of attention below this count as this much in a logarithm: a softmax in float32 can underflow to zero.
const LEAST: f64 = 1e-12;

/// What is measured on one picture. Matrices are row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionMeasures {
    /// Mean attention distance in pixels, `[layers, heads]`.
    pub distance: Vec<f32>,
    /// Entropy in nats, `[layers, heads]`.
    pub entropy: Vec<f32>,
    /// Divergence of the first head from the second in nats, `[layers, heads, heads]`.
    pub head_divergence: Vec<f32>,
    /// Cosine of two heads, `[layers, heads, heads]`.
    pub head_cosine: Vec<f32>,
    /// Divergence of the first layer's mean map from the second's in nats, `[layers, layers]`.
    pub layer_divergence: Vec<f32>,
    /// Cosine of two layers, head by head, `[layers, layers]`.
    pub layer_cosine: Vec<f32>,
}

/// Measures maps of attention, one `[B, heads, 1 + N, 1 + N]` for each layer of a trunk, picture by picture.
///
/// # Errors
/// Where libtorch refuses to hand out numbers.
pub fn attention_measures(
    maps: &[Tensor],
    config: &VitConfig,
) -> Result<Vec<AttentionMeasures>, TchError> {
    let distances = patch_distances(config).to_device(maps[0].device());
    let mut sums: [Vec<Tensor>; 4] = Default::default();
    let (mut mean_maps, mut directions) = (Vec::new(), Vec::new());
    for map in maps {
        // In float64 autocast leaves the products below alone, and differences of sums keep their digits.
        let rows = among_patches(map).to_kind(Kind::Double); // [B, heads, N, N]
        let logs = rows.clamp_min(LEAST).log();
        let queries = rows.size()[2] as f64;
        let lengths = rows.norm_scalaropt_dim(2.0, [-1i64].as_slice(), true);
        let directed = &rows / lengths.clamp_min(f64::MIN_POSITIVE);
        let flat = |x: &Tensor| x.flatten(2, 3); // [B, heads, N * N]
        let cross = flat(&rows).matmul(&flat(&logs).transpose(1, 2)) / queries; // Σ p_h ln p_g
        let own = cross.diagonal(0, 1, 2).unsqueeze(-1); // [B, heads, 1]
        let cosine = flat(&directed).matmul(&flat(&directed).transpose(1, 2)) / queries;
        let last_two = [-1i64, -2];
        let far = (&rows * &distances).sum_dim_intlist(last_two.as_slice(), false, Kind::Double);
        for (list, values) in
            sums.iter_mut()
                .zip([far / queries, -own.squeeze_dim(-1), &own - &cross, cosine])
        {
            list.push(values);
        }
        mean_maps.push(
            rows.mean_dim([1i64].as_slice(), false, Kind::Double)
                .flatten(1, 2),
        );
        directions.push(directed.flatten(1, 3));
    }
    let [distance, entropy, head_divergence, head_cosine] =
        sums.map(|layers| Tensor::stack(&layers, 1));
    let (queries, heads) = (distances.size()[0] as f64, maps[0].size()[1] as f64);
    let mean_maps = Tensor::stack(&mean_maps, 1); // [B, layers, N * N]
    let logs = mean_maps.clamp_min(LEAST).log();
    let cross = mean_maps.matmul(&logs.transpose(1, 2)) / queries;
    let layer_divergence = cross.diagonal(0, 1, 2).unsqueeze(-1) - &cross;
    let directions = Tensor::stack(&directions, 1); // [B, layers, heads * N * N]
    let layer_cosine = directions.matmul(&directions.transpose(1, 2)) / (queries * heads);
    let of_pictures = |tensor: &Tensor| pictures(tensor);
    let columns = [
        of_pictures(&distance)?,
        of_pictures(&entropy)?,
        of_pictures(&head_divergence)?,
        of_pictures(&head_cosine)?,
        of_pictures(&layer_divergence)?,
        of_pictures(&layer_cosine)?,
    ];
    let [
        distance,
        entropy,
        head_divergence,
        head_cosine,
        layer_divergence,
        layer_cosine,
    ] = columns.map(IntoIterator::into_iter);
    Ok(distance
        .zip(entropy)
        .zip(head_divergence.zip(head_cosine))
        .zip(layer_divergence.zip(layer_cosine))
        .map(|(((distance, entropy), heads), layers)| AttentionMeasures {
            distance,
            entropy,
            head_divergence: heads.0,
            head_cosine: heads.1,
            layer_divergence: layers.0,
            layer_cosine: layers.1,
        })
        .collect())
}

/// Rows and columns of patches, each row of sum 1: `[B, heads, 1 + N, 1 + N] -> [B, heads, N, N]`.
fn among_patches(map: &Tensor) -> Tensor {
    let patches = map.size()[3] - 1;
    let rows = map.narrow(2, 1, patches).narrow(3, 1, patches);
    let sums = rows.sum_dim_intlist([-1i64].as_slice(), true, Kind::Float);
    rows / sums.clamp_min(f64::from(f32::MIN_POSITIVE))
}

/// Distances in pixels between the centres of patches, `[N, N]`.
fn patch_distances(config: &VitConfig) -> Tensor {
    let grid = config.grid();
    let places: Vec<[f64; 2]> = (0..grid * grid)
        .map(|patch| [(patch / grid) as f64, (patch % grid) as f64])
        .collect();
    let distance = |a: &[f64; 2], b: &[f64; 2]| {
        ((a[0] - b[0]).hypot(a[1] - b[1]) * config.patch_size as f64) as f32
    };
    let all: Vec<f32> = places
        .iter()
        .flat_map(|a| places.iter().map(move |b| distance(a, b)))
        .collect();
    Tensor::from_slice(&all).view([grid * grid, grid * grid])
}

/// The numbers of each picture, `[B, ..]`.
fn pictures(tensor: &Tensor) -> Result<Vec<Vec<f32>>, TchError> {
    let count = tensor.size()[0].max(1) as usize;
    let on_host = tensor.to_device(Device::Cpu).to_kind(Kind::Float);
    let numbers = Vec::<f32>::try_from(on_host.contiguous().view([-1]))?;
    Ok(numbers
        .chunks(numbers.len() / count)
        .map(<[f32]>::to_vec)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use backbone::VitPreset;

    fn config() -> VitConfig {
        VitConfig {
            heads: 2,
            ..VitConfig::preset(VitPreset::Tiny, 8, 4)
        }
    }

    /// One map of two heads over a class token and 2 x 2 patches of 4 pixels.
    fn measured(heads: [[[f32; 5]; 5]; 2]) -> AttentionMeasures {
        let all: Vec<f32> = heads.iter().flatten().flatten().copied().collect();
        let map = Tensor::from_slice(&all).view([1, 2, 5, 5]);
        attention_measures(&[map], &config()).unwrap().remove(0)
    }

    fn near(found: &[f32], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len());
        for (a, b) in found.iter().zip(wanted) {
            assert!((f64::from(*a) - b).abs() < 1e-5, "{found:?} {wanted:?}");
        }
    }

    /// By hand. The first head: half to the class token, half to the patch itself, so 0 pixels and no entropy. The
    /// second: evenly over everything, so (0 + 4 + 4 + 4 √2) / 4 pixels and ln 4 nats; a patch's row (1, 0, 0, 0)
    /// has divergence ln 4 from (1, 1, 1, 1) / 4, and cosine 1 / 2.
    #[test]
    fn heads_of_two_by_two_patches() {
        let mut own = [[0.0; 5]; 5];
        for (row, values) in own.iter_mut().enumerate() {
            values[0] = 0.5;
            values[row] = 0.5;
        }
        let found = measured([own, [[0.2; 5]; 5]]);
        let (ln4, far) = (4f64.ln(), 2.0 + 2f64.sqrt());
        near(&found.distance, &[0.0, far]);
        near(&found.entropy, &[0.0, ln4]);
        near(&found.head_cosine, &[1.0, 0.5, 0.5, 1.0]);
        let [_, from_own, from_even, _] = found.head_divergence[..] else {
            panic!("two heads have four pairs")
        };
        assert!((f64::from(from_own) - ln4).abs() < 1e-5);
        // Shares of nothing are taken as the least share.
        let floor = -(ln4 / 4.0) + 0.75 * (0.25f64.ln() - LEAST.ln());
        assert!(
            (f64::from(from_even) - floor).abs() < 1e-3,
            "{from_even} {floor}"
        );
    }

    /// By hand: every patch looks at its neighbour in the row, 4 pixels away; in the other layer at the one across,
    /// 4 √2 away. Rows share no patch, so their cosine is 0.
    #[test]
    fn layers_of_two_by_two_patches() {
        let to = |wanted: [usize; 4]| {
            let mut map = [0f32; 25];
            for (query, key) in wanted.into_iter().enumerate() {
                map[5 * (query + 1) + key + 1] = 1.0;
            }
            map[0] = 1.0;
            Tensor::from_slice(&[map, map].concat()).view([1, 2, 5, 5])
        };
        let maps = [to([1, 0, 3, 2]), to([3, 2, 1, 0])];
        let found = attention_measures(&maps, &config()).unwrap().remove(0);
        let across = 4.0 * 2f64.sqrt();
        near(&found.distance, &[4.0, 4.0, across, across]);
        near(&found.layer_cosine, &[1.0, 0.0, 0.0, 1.0]);
        near(&found.layer_divergence[..1], &[0.0]);
        assert!(found.layer_divergence[1] > 27.0, "-ln 1e-12");
    }
}
