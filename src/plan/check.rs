//! What must hold in every world.

use super::world::World;

/// All broken invariants, one line each; empty when all hold.
#[must_use]
pub fn check(_world: &World) -> Vec<String> {
    Vec::new()
}
