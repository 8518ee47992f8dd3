//! Centred kernel alignment: how alike two sets of features of the same pictures are, from 0 to about 1, whatever
//! rotates or scales either.
//!
//! Source: Kornblith et al. (arXiv 1905.00414), with a linear kernel; in batches by the unbiased estimate of HSIC of
//! Nguyen et al. (arXiv 2010.15327), equation 3 (Song et al., JMLR 2012), averaged over batches before it is
//! normalised. That estimate is the inner product of U-centred kernels (Székely and Rizzo, arXiv 1310.2926), so all
//! pairs of a batch are one matrix product. Being unbiased it can fall a little below 0.
//! Parity: `analysis` (torch_cka), 1e-6.

use tch::{Device, Kind, Tensor};

/// Pictures that a batch needs for its estimate to exist.
const LEAST: i64 = 4;

/// Sums over batches, for all pairs of representations.
#[derive(Debug)]
pub struct Cka {
    /// `[M, M]`, float64.
    hsic: Tensor,
    batches: usize,
}

impl Cka {
    /// Of `count` representations, such as the layers of all trunks.
    pub fn new(count: usize) -> Self {
        let count = count as i64;
        Self {
            hsic: Tensor::zeros([count, count], (Kind::Double, Device::Cpu)),
            batches: 0,
        }
    }

    /// Adds a batch: the features of the same pictures in every representation, `[n, C]` each with its own `C`.
    /// Batches of fewer than four pictures tell nothing and are left out.
    ///
    /// # Panics
    /// Where their number is not the one of [`Cka::new`], or they have other numbers of pictures.
    pub fn add(&mut self, features: &[Tensor]) {
        assert_eq!(features.len() as i64, self.hsic.size()[0]);
        let _no_grad = tch::no_grad_guard();
        let pictures = features.first().map_or(0, |first| first.size()[0]);
        if pictures < LEAST {
            return;
        }
        let kernels: Vec<Tensor> = features
            .iter()
            .map(|features| {
                assert_eq!(features.size()[0], pictures);
                u_centred(features).view([-1])
            })
            .collect();
        let kernels = Tensor::stack(&kernels, 0); // [M, n * n]
        let pairs = pictures * (pictures - 3);
        self.hsic += kernels.matmul(&kernels.transpose(0, 1)) / pairs as f64;
        self.batches += 1;
    }

    /// The similarity of every pair, row by row; NaN for one that never varies. None before the first batch.
    pub fn matrix(&self) -> Option<Vec<Vec<f64>>> {
        if self.batches == 0 {
            return None;
        }
        let own = self.hsic.diagonal(0, 0, 1).sqrt();
        let scale = own.unsqueeze(1) * own.unsqueeze(0);
        Vec::<Vec<f64>>::try_from(&self.hsic / scale).ok()
    }
}

/// The linear kernel of `[n, C]` with its diagonal taken away and U-centred, `[n, n]`, float64.
fn u_centred(features: &Tensor) -> Tensor {
    let x = features.to_device(Device::Cpu).to_kind(Kind::Double);
    let n = x.size()[0];
    let off = Tensor::ones([n, n], (Kind::Double, Device::Cpu))
        - Tensor::eye(n, (Kind::Double, Device::Cpu));
    let kernel = x.matmul(&x.transpose(0, 1)) * &off;
    let n = n as f64;
    let rows = kernel.sum_dim_intlist([1i64].as_slice(), true, Kind::Double) / (n - 2.0);
    let all = kernel.sum(Kind::Double) / ((n - 1.0) * (n - 2.0));
    (kernel - &rows - rows.transpose(0, 1) + all) * off
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(shape: [i64; 2]) -> Tensor {
        Tensor::randn(shape, (Kind::Double, Device::Cpu))
    }

    #[test]
    fn rotated_scaled_and_moved_features_are_the_same() {
        tch::manual_seed(1);
        let x = random([40, 6]);
        let (rotation, _) = Tensor::linalg_qr(&random([6, 6]), "reduced");
        let other = x.matmul(&rotation) * 3.0 + 7.0;
        let mut cka = Cka::new(2);
        cka.add(&[x, other]);
        for value in cka.matrix().unwrap().into_iter().flatten() {
            assert!((value - 1.0).abs() < 1e-9, "{value}");
        }
    }

    /// The biased estimate would be 0.4 and more here: more channels than pictures.
    #[test]
    fn unrelated_features_are_unlike() {
        tch::manual_seed(2);
        let mut cka = Cka::new(2);
        for _ in 0..20 {
            cka.add(&[random([64, 100]), random([64, 100])]);
        }
        let matrix = cka.matrix().unwrap();
        assert!(matrix[0][1].abs() < 0.02, "{matrix:?}");
    }

    #[test]
    fn too_few_pictures_and_no_variation_are_no_numbers() {
        let mut cka = Cka::new(1);
        cka.add(&[random([3, 2])]);
        assert!(cka.matrix().is_none());
        cka.add(&[Tensor::zeros([5, 2], (Kind::Double, Device::Cpu))]);
        assert!(cka.matrix().unwrap()[0][0].is_nan());
    }
}
