//! Batch normalisation (arXiv 1502.03167), with the buffers of PyTorch's files, and its synchronised form.
//!
//! Parity: `upernet`, running statistics after a training pass.

use std::fmt;
use std::rc::Rc;

use tch::{Kind, Tensor, nn, nn::Init};

/// PyTorch's defaults, which mmsegmentation leaves as they are.
const EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// Adds a tensor up over the processes of a training, and its gradient, too; see
/// [`synchronised_batch_norm`].
#[derive(Clone)]
pub struct SumOverProcesses(Rc<dyn Fn(&Tensor) -> Tensor>);

impl SumOverProcesses {
    /// `sum` gives the sum of its argument over the processes.
    pub fn new(sum: impl Fn(&Tensor) -> Tensor + 'static) -> Self {
        Self(Rc::new(sum))
    }
}

impl fmt::Debug for SumOverProcesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SumOverProcesses")
    }
}

/// Normalises each channel of `[B, C, H, W]` over batch and places: parameters `weight` (ones) and `bias`
/// (zeros), buffers `running_mean`, `running_var` and `num_batches_tracked`.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    sum: Option<SumOverProcesses>,
}

impl BatchNorm {
    /// Adds parameters and buffers under `path`.
    pub fn new(path: &nn::Path, channels: i64) -> Self {
        let shape = [channels];
        let count = Tensor::zeros([], (Kind::Int64, path.device()));
        Self {
            weight: path.var("weight", &shape, Init::Const(1.0)),
            bias: path.var("bias", &shape, Init::Const(0.0)),
            running_mean: path.zeros_no_train("running_mean", &shape),
            running_var: path.ones_no_train("running_var", &shape),
            batches: path.add("num_batches_tracked", count, false),
            sum: None,
        }
    }

    /// From now on training takes statistics over the batches of all processes.
    pub fn synchronise(&mut self, sum: &SumOverProcesses) {
        self.sum = Some(sum.clone());
    }

    /// In training with the batch's own statistics (or, once synchronised, those of all processes'
    /// batches), which also move the running ones; else with the running ones.
    pub fn forward(&self, x: &Tensor, train: bool) -> Tensor {
        if let Some(SumOverProcesses(sum)) = &self.sum
            && train
        {
            return self.forward_synchronised(x, sum.as_ref());
        }
        if train {
            let _ = tch::no_grad(|| self.batches.shallow_clone().g_add_scalar_(1));
        }
        Tensor::batch_norm(
            x,
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            MOMENTUM,
            EPS,
            true,
        )
    }

    fn forward_synchronised(
        &self,
        x: &Tensor,
        sum_over_processes: impl Fn(&Tensor) -> Tensor,
    ) -> Tensor {
        let (out, mean, var, count) =
            synchronised_batch_norm(x, &self.weight, &self.bias, sum_over_processes);
        tch::no_grad(|| {
            let _ = self.batches.shallow_clone().g_add_scalar_(1);
            // The running variance is the unbiased one, as PyTorch's.
            let unbiased = var.detach() * (&count / (&count - 1.0));
            for (running, batch) in [
                (&self.running_mean, mean.detach()),
                (&self.running_var, unbiased),
            ] {
                let moved = running * (1.0 - MOMENTUM) + batch.to_kind(running.kind()) * MOMENTUM;
                running.shallow_clone().copy_(&moved);
            }
        });
        out
    }
}

/// Normalises `x [B, C, H, W]` with the mean and variance of the batches of all processes, which may be of
/// different sizes. Result: the normalised map, mean and biased variance `[C]`, and the number of values
/// a channel has in all processes.
///
/// `sum_over_processes` gets one float32 tensor, sums followed by their count, and returns its sum over
/// the processes; it must be differentiable, the gradient of a sum over processes being the sum of their
/// gradients. With one process it is the identity, and the result is batch normalisation's.
pub fn synchronised_batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    sum_over_processes: impl Fn(&Tensor) -> Tensor,
) -> (Tensor, Tensor, Tensor, Tensor) {
    let (batch, channels, height, width) = x.size4().expect("a map is [B, C, H, W]");
    let kind = match x.kind() {
        Kind::BFloat16 | Kind::Half => Kind::Float,
        kind => kind,
    };
    let wide = x.to_kind(kind);
    let over: &[i64] = &[0, 2, 3];
    let count = Tensor::from((batch * height * width) as f64)
        .to_kind(kind)
        .to_device(x.device())
        .view([1]);
    let sums = sum_over_processes(&Tensor::cat(
        &[wide.sum_dim_intlist(over, false, kind), count],
        0,
    ));
    let (total, count) = (sums.narrow(0, 0, channels), sums.narrow(0, channels, 1));
    let count = count.detach();
    let mean = total / &count;
    let column = |of: &Tensor| of.view([1, channels, 1, 1]);
    let centred = wide - column(&mean);
    // A second sum, of squared distances from the mean, loses no digits where the mean is large.
    let squares = sum_over_processes(&centred.square().sum_dim_intlist(over, false, kind));
    let var = squares / &count;
    let scale = weight * (&var + EPS).rsqrt();
    let out = (centred * column(&scale) + column(bias)).to_kind(x.kind());
    (out, mean, var, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn norm(store: &nn::VarStore) -> BatchNorm {
        let norm = BatchNorm::new(&store.root(), 3);
        tch::no_grad(|| {
            norm.weight
                .shallow_clone()
                .copy_(&Tensor::from_slice(&[0.5, 1.5, -2.0]));
            norm.bias
                .shallow_clone()
                .copy_(&Tensor::from_slice(&[0.1, -0.3, 4.0]));
        });
        norm
    }

    fn store() -> nn::VarStore {
        let mut store = nn::VarStore::new(Device::Cpu);
        store.set_kind(Kind::Double);
        store
    }

    fn close(a: &Tensor, b: &Tensor) {
        assert!(a.allclose(b, 1e-9, 1e-9, false), "{a} against {b}");
    }

    #[test]
    fn one_process_gives_batch_normalisation_and_its_gradients_and_statistics() {
        tch::manual_seed(1);
        // A mean far from zero shows a variance computed by cancellation.
        let x = (Tensor::randn([2, 3, 4, 5], DOUBLE) + 100.0)
            .detach()
            .set_requires_grad(true);
        let weights = Tensor::randn([2, 3, 4, 5], DOUBLE);
        let run = |synchronised: bool| {
            let mut store = store();
            let norm = norm(&store);
            store.double();
            let out = match synchronised {
                true => norm.forward_synchronised(&x, Tensor::shallow_clone),
                false => norm.forward(&x, true),
            };
            let loss = (&out * &weights).sum(Kind::Double);
            let inputs = [&x, &norm.weight, &norm.bias];
            let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
            (out, gradients, store.variables())
        };
        let (wanted, wanted_gradients, wanted_buffers) = run(false);
        let (found, gradients, buffers) = run(true);
        close(&found, &wanted);
        for (a, b) in gradients.iter().zip(&wanted_gradients) {
            close(a, b);
        }
        for (name, wanted) in &wanted_buffers {
            close(
                &buffers[name].to_kind(Kind::Double),
                &wanted.to_kind(Kind::Double),
            );
        }
        assert_eq!(buffers["num_batches_tracked"].int64_value(&[]), 1);
    }

    /// Two processes in one: each half's sums are added to the other's, which autograd then sees.
    #[test]
    fn two_unequal_parts_give_what_the_whole_batch_gives() {
        tch::manual_seed(2);
        let whole = Tensor::randn([5, 3, 2, 2], DOUBLE);
        let (weight, bias) = (Tensor::randn([3], DOUBLE), Tensor::randn([3], DOUBLE));
        let (wanted, mean, var, count) =
            synchronised_batch_norm(&whole, &weight, &bias, Tensor::shallow_clone);
        let parts = [whole.narrow(0, 0, 2), whole.narrow(0, 2, 3)];
        for (own, other, range) in [(0, 1, (0, 2)), (1, 0, (2, 3))] {
            let calls = std::cell::Cell::new(0);
            let (out, part_mean, part_var, part_count) =
                synchronised_batch_norm(&parts[own], &weight, &bias, |sums| {
                    calls.set(calls.get() + 1);
                    let over: &[i64] = &[0, 2, 3];
                    let theirs = &parts[other];
                    let theirs = match calls.get() {
                        1 => Tensor::cat(
                            &[
                                theirs.sum_dim_intlist(over, false, Kind::Double),
                                Tensor::from_slice(&[(theirs.numel() / 3) as f64]),
                            ],
                            0,
                        ),
                        _ => (theirs - mean.view([1, 3, 1, 1])).square().sum_dim_intlist(
                            over,
                            false,
                            Kind::Double,
                        ),
                    };
                    sums + theirs
                });
            close(&out, &wanted.narrow(0, range.0, range.1));
            for (a, b) in [(part_mean, &mean), (part_var, &var), (part_count, &count)] {
                close(&a, b);
            }
        }
    }
}
