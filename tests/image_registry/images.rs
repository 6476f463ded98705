//! Small images to push.

use super::registry::Registry;
use coracle::image::digest::Digest;
use coracle::image::manifest::Platform;
use serde_json::json;
use std::io::Write;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A layer with one file.
pub(crate) fn layer(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Pushes an image of layers, given as what is sent and what it unpacks to; returns the manifest.
pub(crate) fn push(
    registry: &Registry,
    repository: &str,
    tag: &str,
    platform: &Platform,
    layers: &[(&str, Vec<u8>, Vec<u8>)],
) -> (Digest, usize) {
    let mut sent = Vec::new();
    let mut diff_ids = Vec::new();
    for (kind, blob, plain) in layers {
        let digest = registry.push_blob(repository, blob);
        sent.push(json!({"mediaType": kind, "digest": digest.to_string(), "size": blob.len()}));
        diff_ids.push(Digest::of(plain).to_string());
    }
    let config = json!({
        "os": platform.os, "architecture": platform.architecture, "variant": platform.variant,
        "config": {"Entrypoint": null, "Cmd": ["/run"], "Env": ["A=b"], "Labels": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string();
    let digest = registry.push_blob(repository, config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest.to_string(), "size": config.len()},
        "layers": sent,
    })
    .to_string();
    registry.push_manifest(repository, tag, OCI_MANIFEST, manifest.as_bytes());
    (Digest::of(manifest.as_bytes()), manifest.len())
}

/// Pushes an image of one plain layer with the file `content`.
pub(crate) fn push_simple(
    registry: &Registry,
    repository: &str,
    content: &[u8],
) -> (Digest, Digest) {
    let layer = layer("content", content);
    let blob = Digest::of(&layer);
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let (manifest, _) =
        push(registry, repository, "latest", &Platform::host(), &[(kind, layer.clone(), layer)]);
    (manifest, blob)
}
