//! The image that is part of the program: `coracle/hello`, compiled by `build.rs` and packed by its own recipe.

use super::recipe::{InMemory, RecipeError, build_in_memory};

static HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello"));
static RECIPE: &str = include_str!("../../images/hello/recipe.json");

/// Builds `coracle/hello` in memory: a few KB.
pub(super) fn hello() -> Result<InMemory, RecipeError> {
    build_in_memory(RECIPE, &[("hello", HELLO)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time() {
        let (one, two) = (hello().unwrap(), hello().unwrap());
        assert_eq!(one.descriptor, two.descriptor);
        assert_eq!(one.reference.to_string(), "docker.io/coracle/hello:latest");
        assert_eq!(one.blobs, two.blobs);
    }
}
