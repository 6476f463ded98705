//! What this version registers but does not run yet. RunTask refuses such a definition by the names given here.

use super::TaskDefinitionContent;

/// A member with an effect that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Its path, for example `containerDefinitions[0].secrets`.
    pub field: String,
    /// What to do instead.
    pub remedy: String,
}

/// The members of a registered `content` that keep it from running.
#[must_use]
pub fn unsupported(content: &TaskDefinitionContent) -> Vec<Unsupported> {
    let mut found = Vec::new();
    match content.network_mode.as_deref() {
        Some("host" | "none") => {}
        other => found.push(Unsupported {
            field: "networkMode".into(),
            remedy: format!(
                "{} networks come later; set networkMode to host or none",
                other.unwrap_or("bridge")
            ),
        }),
    }
    found
}
