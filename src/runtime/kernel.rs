//! What the running kernel can do, by its version, where asking it would fill its log.

/// True from Linux 6.8: overlayfs takes its layers one by one (`lowerdir+`).
pub(super) fn takes_layers_one_by_one() -> bool {
    let name = rustix::system::uname();
    version(&name.release().to_string_lossy()) >= (6, 8)
}

/// The first two numbers of a release such as `6.1.0-41-cloud-amd64`.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn releases_begin_with_two_numbers() {
        assert_eq!(version("6.1.0-41-cloud-amd64"), (6, 1));
        assert_eq!(version("6.12+deb13"), (6, 12));
        assert_eq!(version("unknown"), (0, 0));
    }
}
