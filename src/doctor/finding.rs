//! What a check found, and what to do about it.

use serde::Serialize;

/// How a check came out; the worse the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It could not be looked at, or there is nothing to look at.
    Skipped,
    /// Something is lost or will be.
    Warning,
    /// Tasks do not run as they should.
    Error,
}

impl Status {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it came out.
    pub status: Status,
    /// What was found, in one line.
    pub found: String,
    /// What to do: a command, or a file and what to write into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(found: impl Into<String>) -> Self {
        Self { status: Status::Ok, found: found.into(), remedy: None }
    }

    /// Nothing could be found out.
    pub fn skipped(why: impl Into<String>) -> Self {
        Self { status: Status::Skipped, found: why.into(), remedy: None }
    }

    /// Something is lost or will be.
    pub fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Tasks do not run as they should.
    pub fn error(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Error, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Of all that is wrong one finding, as bad as the worst of them; `fine` when nothing is.
    pub fn all(wrong: Vec<Self>, fine: impl FnOnce() -> Self) -> Self {
        let Some(status) = wrong.iter().map(|finding| finding.status).max() else { return fine() };
        let mut remedies: Vec<String> = Vec::new();
        for remedy in wrong.iter().filter_map(|finding| finding.remedy.as_ref()) {
            if !remedies.contains(remedy) {
                remedies.push(remedy.clone());
            }
        }
        let found: Vec<_> = wrong.into_iter().map(|finding| finding.found).collect();
        let remedy = (!remedies.is_empty()).then(|| remedies.join("; "));
        Self { status, found: found.join("; "), remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_findings_are_as_bad_as_the_worst() {
        let wrong = vec![
            Finding::warning("a", "do x"),
            Finding::error("b", "do y"),
            Finding::warning("c", "do x"),
        ];
        assert_eq!(
            Finding::all(wrong, || Finding::ok("")),
            Finding::error("a; b; c", "do x; do y")
        );
        assert_eq!(Finding::all(Vec::new(), || Finding::ok("fine")), Finding::ok("fine"));
        assert!(Status::Ok < Status::Skipped && Status::Warning < Status::Error);
    }
}
