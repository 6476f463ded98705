//! Sizes of a task as people write them: `"256"`, `"1 vCPU"`, `".25 vcpu"`, `"2 GB"`, `"512"`.

/// CPU units, 1024 a vCPU; `None` when `text` is no size.
#[must_use]
pub(crate) fn cpu_units(text: &str) -> Option<i64> {
    size(text, &["vcpu", "vcpus"])
}

/// MiB; `None` when `text` is no size.
#[must_use]
pub(crate) fn memory_mib(text: &str) -> Option<i64> {
    size(text, &["gb"])
}

/// A plain number, or a decimal number of the thousand-and-twenty-four-fold unit.
fn size(text: &str, units: &[&str]) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    if let Some(plain) = whole(&text) {
        return Some(plain);
    }
    let number = units.iter().find_map(|unit| text.strip_suffix(unit))?.trim_end();
    let (int, fraction) = number.split_once('.').unwrap_or((number, ""));
    if int.is_empty() && fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let int = if int.is_empty() { 0 } else { whole(int)? };
    let (numerator, denominator) = if fraction.is_empty() {
        (0, 1)
    } else {
        (whole(fraction)?, 10_i64.pow(u32::try_from(fraction.len()).ok()?))
    };
    let scaled = numerator * 1024;
    if scaled % denominator != 0 {
        return None;
    }
    int.checked_mul(1024)?.checked_add(scaled / denominator)
}

/// Digits only, small enough to be multiplied later.
fn whole(text: &str) -> Option<i64> {
    let digits = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, units) in [
            ("256", 256),
            (" 1024 ", 1024),
            ("1 vCPU", 1024),
            (".25 vcpu", 256),
            ("0.5vCPU", 512),
            ("4 vcpus", 4096),
            ("0.125 vCPU", 128),
        ] {
            assert_eq!(cpu_units(text), Some(units), "{text}");
        }
        for (text, mib) in [("512", 512), ("1GB", 1024), ("0.5 GB", 512), ("30 gb", 30720)] {
            assert_eq!(memory_mib(text), Some(mib), "{text}");
        }
        for bad in [
            "",
            "vcpu",
            ". vcpu",
            "-1",
            "1.5",
            "1 GB",
            "1e3",
            "99999999999999999999",
            "½ vcpu",
            "0.3 vcpu",
        ] {
            assert_eq!(cpu_units(bad), None, "{bad}");
        }
        for bad in ["1 vCPU", "512m", "512MB", "gb"] {
            assert_eq!(memory_mib(bad), None, "{bad}");
        }
    }
}
