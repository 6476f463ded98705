//! What a container needs to run a shell, without a network.

use coracle::image::digest::Digest;
use coracle::image::manifest::Document;
use coracle::image::recipe;
use std::fs;
use std::path::Path;

/// The layer of the busybox image, made by its recipe.
pub(crate) fn layer(work: &Path) -> Vec<u8> {
    let folder = work.join("busybox");
    let recipe_of = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/busybox");
    let built = recipe::build(&recipe_of, &folder).unwrap();
    let blob = |digest: &Digest| fs::read(folder.join("blobs/sha256").join(digest.hex())).unwrap();
    let Document::Manifest(manifest) = Document::parse(&blob(&built.manifest)).unwrap() else {
        panic!("an index")
    };
    let mut layer = Vec::new();
    let compressed = blob(&manifest.layers[0].digest);
    if compressed.starts_with(&[0x1f, 0x8b]) {
        use std::io::Read;
        flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut layer).unwrap();
    } else {
        layer = compressed;
    }
    layer
}
