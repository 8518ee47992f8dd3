//! Where a model computes.

use anyhow::{Context, bail};
use tch::{Cuda, Device};

/// The device that `auto`, `cpu`, `cuda` or `cuda:N` names.
pub fn parse(name: &str) -> anyhow::Result<Device> {
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
