//! How many directions features really use.

use tch::{Device, Kind, Tensor};

/// Added to each share, as in the source.
const EPSILON: f64 = 1e-7;

/// The effective rank of features `[n, C]`: `exp` of the entropy of their singular values' shares.
///
/// Source: RankMe (Garrido et al., arXiv 2210.02885, equation 1), which is Roy and Vetterli's effective rank
/// (EUSIPCO 2007) of features that are not centred. Between 1 and the smaller of `n` and `C`. Parity: `analysis` (numpy), relative 1e-6.
pub fn effective_rank(features: &Tensor) -> f64 {
    let _no_grad = tch::no_grad_guard();
    let x = features.to_device(Device::Cpu).to_kind(Kind::Double);
    let squares = x.transpose(0, 1).matmul(&x).linalg_eigvalsh("L");
    let values = squares.clamp_min(0.0).sqrt();
    let shares = &values / values.sum(Kind::Double) + EPSILON;
    let entropy = -(&shares * shares.log()).sum(Kind::Double);
    entropy.exp().double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: one direction is rank 1; `k` orthogonal directions of equal length are rank `k`.
    #[test]
    fn equal_directions_count_as_many_as_they_are() {
        let line = Tensor::ones([9, 4], (Kind::Double, Device::Cpu));
        assert!((effective_rank(&line) - 1.0).abs() < 1e-4);
        let square = Tensor::eye(5, (Kind::Double, Device::Cpu));
        assert!((effective_rank(&square) - 5.0).abs() < 1e-4);
        let two = square.narrow(0, 0, 2);
        assert!((effective_rank(&two) - 2.0).abs() < 1e-4);
    }
}
