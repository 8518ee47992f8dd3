//! Seeds of steps, so that nothing random depends on what ran before.

/// splitmix64's output function (Steele, Lea, Flood 2014): a bijection on 64 bits whose every
/// output bit depends on every input bit.
fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// splitmix64's increment, 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The seed of optimiser step `step` (from 0) of a run: two rounds of splitmix64 over run seed and
/// step. Masking noise, mixup, dropout and drop path of a step derive from it alone.
pub fn step_seed(run_seed: u64, step: u64) -> u64 {
    mix(mix(run_seed.wrapping_add(GOLDEN)) ^ step.wrapping_add(1).wrapping_mul(GOLDEN))
}

/// The seed of micro batch `micro` (from 0) of a step; micro batch 0 has the step's own seed, so a
/// run without accumulation sees [`step_seed`].
pub fn micro_seed(step_seed: u64, micro: u64) -> u64 {
    if micro == 0 {
        step_seed
    } else {
        mix(step_seed ^ micro.wrapping_mul(GOLDEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// First outputs of splitmix64 seeded with 0, from the generator's published test vector.
    #[test]
    fn the_mixer_is_splitmix64() {
        assert_eq!(mix(GOLDEN), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(GOLDEN.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn neighbouring_runs_and_steps_do_not_collide() {
        let mut seen = HashSet::new();
        for run in 0..50 {
            for step in 0..200 {
                for micro in 0..3 {
                    assert!(seen.insert(micro_seed(step_seed(run, step), micro)));
                }
            }
        }
    }
}
