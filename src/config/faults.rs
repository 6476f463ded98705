//! A fault plan of a simulation, from a file or a request: JSON when it begins with `{`, else TOML.

use super::LARGEST_FILE;
use crate::plan::simulate::{FaultPlan, RuleError};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Why a fault plan was refused.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// The file cannot be read.
    #[error("cannot read the fault plan {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than a fault plan can be.
    #[error("the fault plan {0} is larger than {LARGEST_FILE} bytes")]
    TooLarge(PathBuf),
    /// It is not JSON, or has a key that there is not.
    #[error("the fault plan cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not TOML, or has a key that there is not.
    #[error("the fault plan cannot be read: {0}")]
    Toml(#[from] Box<toml::de::Error>),
    /// A rule that makes no sense.
    #[error("the fault plan is not valid: {0}")]
    Rule(#[from] RuleError),
}

/// Reads and checks the plan in the file at `path`.
///
/// # Errors
/// [`FaultsError`].
pub fn read_faults(path: &Path) -> Result<FaultPlan, FaultsError> {
    let unreadable = |source| FaultsError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST_FILE + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(FaultsError::TooLarge(path.to_owned()));
    }
    parse_faults(&text)
}

/// The plan that `text` is.
///
/// # Errors
/// [`FaultsError`].
pub fn parse_faults(text: &str) -> Result<FaultPlan, FaultsError> {
    let plan: FaultPlan = if text.trim_start().starts_with('{') {
        serde_json::from_str(text)?
    } else {
        toml::from_str(text).map_err(Box::new)?
    };
    plan.check()?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::parse_faults;

    #[test]
    fn a_plan_is_the_same_in_toml_and_json() {
        let toml = "[[rules]]\nfamily = \"web\"\nfirst = 2\nstart_after = \"2s\"\n\
            fails_to_start = \"CannotPullContainerError: no such image\"\n\
            [[rules]]\nattributes = { zone = \"a\" }\nexits_after = 1500\nexit_code = 3\n";
        let json = r#"{"rules": [
            {"family": "web", "first": 2, "start_after": 2000,
             "fails_to_start": "CannotPullContainerError: no such image"},
            {"attributes": {"zone": "a"}, "exits_after": "1s500ms", "exit_code": 3}
        ]}"#;
        assert_eq!(parse_faults(toml).unwrap(), parse_faults(json).unwrap());
        assert_eq!(parse_faults("").unwrap(), parse_faults("{}").unwrap());
    }

    #[test]
    fn what_is_not_known_or_makes_no_sense_is_named() {
        for (text, named) in [
            ("[[rules]]\nfamilly = 'x'\nexits_after = 1", "familly"),
            ("[[rules]]\nfamily = 'x'", "rules[0]"),
            ("[[rules]]\nexit_code = 1", "exits_after"),
            ("[[rules]]\nexits_after = '1 fortnight'", "1 fortnight"),
            ("[[rules]]\nexits_after = -1", "-1"),
            ("[[rules]]\nexits_after = 1\nexit_code = 256", "256"),
            ("[[rules]]\nexits_after = 1\nfails_to_start = 'no'", "fails_to_start"),
            ("[[rules]]\nrevision = 3\nexits_after = 1", "family"),
            ("[[rules]]\nfirst = 0\nexits_after = 1", "first"),
            ("[rules", "fault plan"),
            ("{\"rules\": 7}", "fault plan"),
        ] {
            let error = parse_faults(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
