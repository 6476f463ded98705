//! Which of the platforms of an index runs on this box.

use super::manifest::{Descriptor, Platform};
use std::fmt;

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

/// The platform has no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// None of several is for this box.
    #[error("no matching manifest for {wanted} in the manifest list entries; it has: {offered}")]
    NoneOf {
        /// This box.
        wanted: String,
        /// What exists, as text.
        offered: String,
    },
    /// The only one is for other boxes.
    #[error(
        "the image is for {image} and does not run on this box, which is {wanted}; build or choose one for {wanted}"
    )]
    Other {
        /// This box.
        wanted: String,
        /// The image.
        image: String,
    },
}

impl Platform {
    /// The platform that this program was built for, with the processor's real variant on 32-bit ARM.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        let variant = match architecture {
            "arm" => Some(arm_variant(&rustix::system::uname().machine().to_string_lossy())),
            "arm64" => Some("v8"),
            _ => None,
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// How well an image for `offered` runs here: 0 is best, `None` not at all.
    fn rank(&self, offered: &Self) -> Option<u8> {
        if !offered.os.is_empty() && offered.os != self.os
            || offered.architecture != self.architecture
        {
            return None;
        }
        let offered = offered.variant.as_deref().unwrap_or_default();
        match self.architecture.as_str() {
            "arm" => {
                // Newer processors run older code; without a variant an image means v7, as Docker has it.
                let level = |variant: &str| variant.strip_prefix('v')?.parse::<u8>().ok();
                let here = self.variant.as_deref().and_then(level).unwrap_or(7);
                let there = if offered.is_empty() { 7 } else { level(offered)? };
                here.checked_sub(there)
            }
            "arm64" => matches!(offered, "" | "v8").then_some(0),
            // v2 and up need instructions that not every box has.
            "amd64" => match offered {
                "" | "v1" => Some(0),
                _ => None,
            },
            _ => (offered == self.variant.as_deref().unwrap_or_default()).then_some(0),
        }
    }

    /// Checks that an image for `offered` runs here.
    pub fn accept(&self, offered: &Self) -> Result<(), PlatformError> {
        // Images built without a platform exist; there is nothing to check then.
        if offered.architecture.is_empty() || self.rank(offered).is_some() {
            return Ok(());
        }
        Err(PlatformError::Other { wanted: self.to_string(), image: offered.to_string() })
    }

    /// Chooses the manifest for this platform out of an index.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Result<&'a Descriptor, PlatformError> {
        let known = |descriptor: &&Descriptor| {
            // Build attestations are listed as `unknown/unknown`.
            let platform = descriptor.platform.as_ref();
            platform.is_none_or(|p| p.os != "unknown" && p.architecture != "unknown")
        };
        let best = manifests
            .iter()
            .filter(known)
            .filter_map(|descriptor| Some((self.rank(descriptor.platform.as_ref()?)?, descriptor)))
            // `min_by_key` keeps the first of equals, as the specification asks.
            .min_by_key(|(rank, _)| *rank);
        if let Some((_, descriptor)) = best {
            return Ok(descriptor);
        }
        // An index of one manifest need not say its platform; its configuration does.
        if let [only] = manifests
            && only.platform.is_none()
        {
            return Ok(only);
        }
        let offered: Vec<String> = manifests
            .iter()
            .filter(known)
            .take(50)
            .map(|descriptor| match &descriptor.platform {
                Some(platform) => platform.to_string(),
                None => "unnamed platform".to_owned(),
            })
            .collect();
        let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
        Err(PlatformError::NoneOf { wanted: self.to_string(), offered })
    }
}

/// The ARM variant by the kernel's machine name; a 64-bit processor runs v7 code (and says v8).
fn arm_variant(machine: &str) -> &'static str {
    match machine {
        machine if machine.starts_with("armv5") => "v5",
        machine if machine.starts_with("armv6") => "v6",
        _ => "v7",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::digest::Digest;
    use std::collections::BTreeMap;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
        }
    }

    fn index(platforms: &[&str]) -> Vec<Descriptor> {
        platforms
            .iter()
            .map(|text| Descriptor {
                media_type: String::new(),
                digest: Digest::of(text.as_bytes()),
                size: 0,
                platform: Some(platform(text)),
                annotations: BTreeMap::new(),
            })
            .collect()
    }

    #[test]
    fn the_best_variant_is_chosen() {
        let all = index(&[
            "unknown/unknown",
            "windows/amd64",
            "linux/arm/v5",
            "linux/arm/v6",
            "linux/arm/v7",
            "linux/arm64/v8",
            "linux/amd64",
        ]);
        for (host, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64/v8"),
            ("linux/arm/v7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/arm/v5", "linux/arm/v5"),
        ] {
            let chosen = platform(host).choose(&all).unwrap();
            assert_eq!(chosen.platform, Some(platform(expected)), "{host}");
        }
        let older = index(&["linux/arm/v5", "linux/arm/v6"]);
        assert_eq!(platform("linux/arm/v7").choose(&older).unwrap(), &older[1]);
        let newer = index(&["linux/arm", "linux/amd64/v3"]);
        assert!(platform("linux/arm/v6").choose(&newer).is_err());
        assert!(platform("linux/amd64").choose(&newer).is_err());
    }

    #[test]
    fn the_error_lists_what_exists() {
        let error = platform("linux/riscv64")
            .choose(&index(&["linux/amd64", "unknown/unknown", "linux/arm/v7"]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no matching manifest for linux/riscv64 in the manifest list entries; it has: linux/amd64, linux/arm/v7"
        );
    }

    #[test]
    fn attestations_and_other_systems_are_passed_over() {
        let mut all = index(&["unknown/unknown", "windows/amd64", "linux/amd64"]);
        // What an index says of versions of an operating system is for Windows.
        let text = r#"{"os": "linux", "architecture": "amd64", "os.version": "10.0", "os.features": ["x"]}"#;
        all[2].platform = serde_json::from_str(text).unwrap();
        assert_eq!(platform("linux/amd64").choose(&all).unwrap(), &all[2]);
        let error = platform("linux/amd64").choose(&all[..1]).unwrap_err().to_string();
        assert!(error.ends_with("it has: nothing"), "{error}");
    }

    #[test]
    fn a_single_image_of_another_platform_is_refused() {
        let box_ = platform("linux/arm/v6");
        assert!(box_.accept(&platform("linux/arm/v5")).is_ok());
        let error = box_.accept(&platform("linux/arm/v7")).unwrap_err().to_string();
        assert!(error.starts_with("the image is for linux/arm/v7"), "{error}");
        assert!(box_.accept(&platform("linux/arm")).is_err());
        assert!(platform("linux/amd64").accept(&platform("windows/amd64")).is_err());
    }

    #[test]
    fn processors_by_the_kernels_name() {
        for (machine, variant) in [
            ("armv5tejl", "v5"),
            ("armv6l", "v6"),
            ("armv7l", "v7"),
            // 32-bit programs on a 64-bit kernel.
            ("armv8l", "v7"),
            ("aarch64", "v7"),
        ] {
            assert_eq!(arm_variant(machine), variant, "{machine}");
        }
    }
}
