//! Where a model computes.

use anyhow::{Context, bail};
use engine::World;
use tch::{Cuda, Device};

/// The device that `auto`, `cpu`, `cuda` or `cuda:N` names. Of several processes on a machine each has the GPU
/// of its number there.
pub fn of_process(name: &str, world: &World) -> anyhow::Result<Device> {
    if world.size() == 1 {
        return parse(name);
    }
    if name.starts_with("cuda:") {
        bail!(
            "device {name}: several processes each take the GPU of their LOCAL_RANK; write cuda, and choose GPUs with CUDA_VISIBLE_DEVICES"
        );
    }
    let device = parse(name)?;
    if device == Device::Cpu {
        return Ok(device);
    }
    let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
    let index = match world.local_rank() {
        // Launchers may show each process only its own.
        _ if count == 1 => 0,
        index if index < count => index,
        index => bail!(
            "process {} is number {index} on its machine, which has {count} GPUs: start no more processes there than it has GPUs",
            world.rank()
        ),
    };
    native::set_cuda_device(index)?;
    Ok(Device::Cuda(index))
}

/// The device that `auto`, `cpu`, `cuda` or `cuda:N` names.
fn parse(name: &str) -> anyhow::Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(if native::load_cuda() && Cuda::is_available() {
            Device::Cuda(0)
        } else {
            Device::Cpu
        }),
        _ => {
            let index = match name.strip_prefix("cuda") {
                Some("") => 0,
                Some(rest) => rest
                    .strip_prefix(':')
                    .and_then(|number| number.parse::<usize>().ok())
                    .with_context(|| format!("device {name}: write cuda or cuda:0"))?,
                None => bail!("device {name}: write auto, cpu, cuda or cuda:0"),
            };
            if !native::load_cuda() {
                bail!(
                    "device {name}: this libtorch has no CUDA; set LIBTORCH to one that has and build again, or use --device cpu"
                );
            }
            let count = usize::try_from(Cuda::device_count()).unwrap_or(0);
            if index >= count {
                bail!("device {name}: libtorch sees {count} CUDA devices");
            }
            Ok(Device::Cuda(index))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_refused_in_a_sentence() {
        assert_eq!(parse("cpu").unwrap(), Device::Cpu);
        for name in ["gpu", "cuda:x", "cuda0", "cuda:99"] {
            let message = parse(name).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("device {name}: ")),
                "{message}"
            );
        }
    }
}
