//! What a Raspberry Pi says of its power supply and its temperature.

use super::Check;
use crate::doctor::finding::Finding;
use crate::doctor::subject::Subject;

pub(super) const CHECK: Check = Check::new(
    "power",
    "The power supply of a Raspberry Pi is strong enough, and it is not too hot. One that is too weak damages SD cards.",
    "Use the official power supply and a short cable, take power-hungry USB devices off; cool it.",
    |subject| judge(throttled(subject).as_deref()),
);

fn throttled(subject: &Subject) -> Option<String> {
    const SOC: &str = "/sys/devices/platform/soc";
    let names = subject.names(SOC);
    names.iter().find_map(|name| subject.text(&format!("{SOC}/{name}/get_throttled")))
}

fn judge(throttled: Option<&str>) -> Finding {
    let Some(text) = throttled else {
        return Finding::skipped("this box does not tell of its power supply");
    };
    let digits = text.trim().trim_start_matches("0x");
    let Ok(bits) = u32::from_str_radix(digits, 16) else {
        return Finding::skipped("what the firmware tells cannot be read");
    };
    let has = |bit: u32| bits & 1 << bit != 0;
    const SUPPLY: &str =
        "use the official power supply and a short cable; take power-hungry USB devices off";
    let mut wrong = Vec::new();
    if has(0) {
        wrong.push(Finding::error("the voltage is too low now", SUPPLY));
    } else if has(16) {
        wrong.push(Finding::warning("the voltage was too low since the start", SUPPLY));
    }
    if has(2) || has(3) {
        let what = "it is too hot or too weak, and runs slower now";
        wrong.push(Finding::warning(what, "cool it: a heat sink or a fan, out of the sun"));
    }
    Finding::all(wrong, || Finding::ok("the voltage was never too low since the start"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;
    use crate::doctor::subject::a_box;

    #[test]
    fn the_bits_of_the_firmware() {
        let path = "/sys/devices/platform/soc/soc:firmware/get_throttled";
        let status = |text| (CHECK.run)(&a_box(&[(path, text)]).1).status;
        assert_eq!(status("0\n"), Status::Ok);
        assert_eq!(status("50005\n"), Status::Error);
        assert_eq!(status("50000\n"), Status::Warning);
        assert_eq!(status("0x8\n"), Status::Warning);
        assert_eq!(status("?"), Status::Skipped);
        assert_eq!(judge(None).status, Status::Skipped);
    }
}
