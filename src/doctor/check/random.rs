//! The kernel's source of random numbers.

use super::Check;
use crate::doctor::finding::Finding;

pub(super) const CHECK: Check = Check::new(
    "random",
    "The kernel's random source is ready. A box that has just started may have to wait for it; keys are not made before.",
    "Install `rng-tools5` or `haveged`; in a virtual machine give it a virtio-rng device.",
    |subject| judge(subject.text("/proc/sys/kernel/random/entropy_avail").as_deref()),
);

/// Bits; newer kernels have 256 as soon as the source is ready.
const ENOUGH: u32 = 128;

fn judge(available: Option<&str>) -> Finding {
    let Some(bits) = available.and_then(|text| text.trim().parse::<u32>().ok()) else {
        return Finding::skipped("the kernel does not tell how much randomness it has");
    };
    if bits < ENOUGH {
        return Finding::warning(
            format!("the kernel has {bits} bits of randomness: what needs keys waits"),
            "sudo apt-get install rng-tools5; in a virtual machine give it a virtio-rng device",
        );
    }
    Finding::ok(format!("{bits} bits are available"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn too_few_bits_are_told() {
        assert_eq!(judge(Some("256\n")).status, Status::Ok);
        assert_eq!(judge(Some("7\n")).status, Status::Warning);
        assert_eq!(judge(None).status, Status::Skipped);
    }
}
