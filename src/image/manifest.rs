//! The OCI and Docker documents that describe images: descriptor, manifest, index, configuration.
//!
//! Only what the store needs is read; unknown members are ignored, as the specifications ask. Every list and size
//! that comes from outside has a bound here.

use super::digest::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Largest manifest or index that is read.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// Largest image configuration that is read.
pub const CONFIG_LIMIT: u64 = 8 << 20;
/// Most layers of one image; overlayfs and Docker stop at this number as well.
pub const LAYER_LIMIT: usize = 127;

/// Media type of an OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Media type of an uncompressed OCI layer.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a Docker manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Points to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its exact size.
    pub size: u64,
    /// For what platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free notes; the store keeps image names here.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

/// Operating system and processor of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, `arm`, … as Go names them.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v6`, `v7`, `v8` of ARM; `v1`… of amd64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// An index or a manifest; told apart by its members when the media type is missing.
#[derive(Debug, Clone)]
pub enum Document {
    /// Manifests of several platforms.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

/// An index of manifests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u8,
    /// [`OCI_INDEX`] or [`DOCKER_LIST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
}

/// One image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u8,
    /// [`OCI_MANIFEST`] or [`DOCKER_MANIFEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration's blob.
    pub config: Descriptor,
    /// The layers' blobs, lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
}

/// Why a document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON or not of the expected shape.
    #[error("it is not an image manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// A Docker schema 1 manifest.
    #[error("it has the retired schema version {0}; push the image again with a current tool")]
    Schema(u64),
    /// Something else than an index or a manifest of an image.
    #[error("media type {0:?} is not a container image")]
    MediaType(String),
    /// A manifest of something that registries keep as well.
    #[error("it is not a container image but {what}: its configuration is of media type {kind:?}")]
    Artifact {
        /// In words.
        what: &'static str,
        /// The media type.
        kind: String,
    },
    /// A layer that cannot be unpacked.
    #[error("a layer is of media type {0:?}, which is not supported: layers are tar, gzip or zstd")]
    LayerType(String),
    /// Encrypted layers.
    #[error("its layers are encrypted ({0}), which is not supported; push a copy that is not")]
    Encrypted(String),
    /// Too many layers.
    #[error("it has {0} layers; {LAYER_LIMIT} is the most")]
    Layers(usize),
    /// The configuration is larger than it may be.
    #[error("its configuration has {0} bytes; {CONFIG_LIMIT} is the most")]
    Config(u64),
    /// The configuration does not fit the manifest.
    #[error("its configuration lists {config} layers, its manifest {manifest}")]
    DiffIds {
        /// Layers by the configuration.
        config: usize,
        /// Layers by the manifest.
        manifest: usize,
    },
}

impl Document {
    /// Reads an index or a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            #[serde(default)]
            schema_version: u64,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.schema_version != 2 {
            return Err(DocumentError::Schema(head.schema_version));
        }
        let index = match head.media_type.as_deref() {
            Some(OCI_INDEX | DOCKER_LIST) => true,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
            None | Some("") => head.manifests.is_some(),
            Some(other) => return Err(DocumentError::MediaType(other.chars().take(100).collect())),
        };
        if index {
            return Ok(Self::Index(serde_json::from_slice(bytes)?));
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        if manifest.layers.len() > LAYER_LIMIT {
            return Err(DocumentError::Layers(manifest.layers.len()));
        }
        if manifest.config.size > CONFIG_LIMIT {
            return Err(DocumentError::Config(manifest.config.size));
        }
        check_types(&manifest)?;
        Ok(Self::Manifest(manifest))
    }
}

/// Sees to it that it is an image, and that its layers are of a kind that can be unpacked. Archives name no media types.
fn check_types(manifest: &Manifest) -> Result<(), DocumentError> {
    let bounded = |kind: &str| kind.chars().take(100).collect::<String>();
    let kind = manifest.config.media_type.as_str();
    // The first tools wrote the third.
    if !matches!(kind, "" | OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream") {
        let what = if kind.contains("helm") {
            "a Helm chart"
        } else if kind.contains("wasm") {
            "a WebAssembly module"
        } else {
            "an artifact"
        };
        return Err(DocumentError::Artifact { what, kind: bounded(kind) });
    }
    for layer in &manifest.layers {
        let kind = layer.media_type.as_str();
        if kind.ends_with("+encrypted") {
            return Err(DocumentError::Encrypted(bounded(kind)));
        }
        if !is_layer(kind) {
            return Err(DocumentError::LayerType(bounded(kind)));
        }
    }
    Ok(())
}

/// True for layers of OCI and of Docker, those included that were not to be distributed: they are taken from the
/// registry like any other, and never from the `urls` that a manifest names.
fn is_layer(kind: &str) -> bool {
    let oci = || {
        let rest = kind.strip_prefix("application/vnd.oci.image.layer.")?;
        rest.strip_prefix("nondistributable.").unwrap_or(rest).strip_prefix("v1.tar")
    };
    let docker = || {
        let rest = kind.strip_prefix("application/vnd.docker.image.rootfs.")?;
        rest.strip_prefix("foreign.").unwrap_or(rest).strip_prefix("diff.tar")
    };
    let compression = oci().or_else(docker);
    kind.is_empty() || matches!(compression, Some("" | "+gzip" | "+zstd" | ".gzip" | ".zstd"))
}

/// The image configuration, as far as it is used.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// When the image was built, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The platform.
    #[serde(flatten)]
    pub platform: Platform,
    /// What a container of it runs by default.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: Defaults,
    /// The layers' contents.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// `config` of the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Defaults {
    /// User, `name`, `uid`, `uid:gid`, …
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// `NAME=VALUE`.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// ENTRYPOINT.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// CMD.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// WORKDIR.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// STOPSIGNAL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// LABEL.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// EXPOSE: `80/tcp`.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
}

/// `rootfs` of the configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

impl Configuration {
    /// Reads the configuration of `manifest` and holds the two against each other.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, DocumentError> {
        let configuration: Self = serde_json::from_slice(bytes)?;
        let (config, layers) = (configuration.rootfs.diff_ids.len(), manifest.layers.len());
        if config != layers {
            return Err(DocumentError::DiffIds { config, manifest: layers });
        }
        Ok(configuration)
    }

    /// The chain id of each layer, lowest first: what identifies a layer together with all below it.
    pub fn chain_ids(&self) -> Vec<Digest> {
        let mut chain: Vec<Digest> = Vec::with_capacity(self.rootfs.diff_ids.len());
        for diff in &self.rootfs.diff_ids {
            chain.push(match chain.last() {
                None => *diff,
                Some(below) => Digest::of(format!("{below} {diff}").as_bytes()),
            });
        }
        chain
    }
}

/// Docker and others write `null` for empty lists and maps.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(config: &str, layer: &str) -> Result<Document, DocumentError> {
        let blob = |kind: &str| {
            let digest = Digest::of(kind.as_bytes()).to_string();
            json!({ "mediaType": kind, "digest": digest, "size": 1, "urls": ["http://evil/"] })
        };
        let document =
            json!({ "schemaVersion": 2, "config": blob(config), "layers": [blob(layer)] });
        Document::parse(document.to_string().as_bytes())
    }

    #[test]
    fn only_container_images_are_taken() {
        for config in ["", OCI_CONFIG, DOCKER_CONFIG] {
            assert!(parse(config, OCI_LAYER).is_ok(), "{config}");
        }
        for (config, what) in [
            ("application/vnd.cncf.helm.config.v1+json", "a Helm chart"),
            ("application/vnd.wasm.config.v0+json", "a WebAssembly module"),
            ("application/vnd.oci.empty.v1+json", "an artifact"),
        ] {
            let error = parse(config, OCI_LAYER).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(config), "{error}");
        }
    }

    #[test]
    fn only_layers_that_can_be_unpacked_are_taken() {
        for layer in [
            "",
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(parse("", layer).is_ok(), "{layer}");
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        assert!(parse("", encrypted).unwrap_err().to_string().contains("are encrypted"));
        for layer in ["application/vnd.in-toto+json", "application/vnd.oci.image.layer.v1.tar+xz"] {
            let error = parse("", layer).unwrap_err().to_string();
            assert!(error.contains(layer) && error.contains("not supported"), "{error}");
        }
    }
}
