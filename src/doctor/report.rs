//! All findings, as text for people and as JSON for programs.

use super::check::Check;
use super::finding::{Finding, Status};
use serde_json::{Value, json};

/// The findings of one run, in the order of the table.
#[derive(Debug)]
pub struct Report(pub(super) Vec<(&'static Check, Finding)>);

/// The longest text of a finding or a remedy: what comes from outside may be any length.
const LONGEST: usize = 600;

impl Report {
    /// How many findings came out so.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|(_, finding)| finding.status == status).count()
    }

    /// Whether nothing is an error, nor with `strict` a warning.
    #[must_use]
    pub fn is_well(&self, strict: bool) -> bool {
        self.count(Status::Error) == 0 && !(strict && self.count(Status::Warning) > 0)
    }

    /// The lines of one finding.
    #[must_use]
    pub fn lines(check: &Check, finding: &Finding) -> String {
        let mut text = format!(
            "{:<8} {:<14} {}",
            finding.status.as_str(),
            check.name,
            one_line(&finding.found)
        );
        if let Some(remedy) = &finding.remedy {
            text.push_str("\n         -> ");
            text.push_str(&one_line(remedy));
        }
        text
    }

    /// The last line.
    #[must_use]
    pub fn summary(&self) -> String {
        let [ok, warnings, errors, skipped] =
            [Status::Ok, Status::Warning, Status::Error, Status::Skipped].map(|s| self.count(s));
        let s = |count: usize| if count == 1 { "" } else { "s" };
        format!(
            "{ok} ok, {warnings} warning{}, {errors} error{}, {skipped} skipped",
            s(warnings),
            s(errors)
        )
    }

    /// All of it for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let checks: Vec<Value> = self
            .0
            .iter()
            .map(|(check, finding)| {
                json!({
                    "name": check.name,
                    "status": finding.status,
                    "found": one_line(&finding.found),
                    "remedy": finding.remedy.as_deref().map(one_line),
                })
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "checks": checks,
            "summary": {
                "ok": self.count(Status::Ok), "warning": self.count(Status::Warning),
                "error": self.count(Status::Error), "skipped": self.count(Status::Skipped),
            },
        })
    }
}

/// In one line that a terminal may show, and not too long.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.trim().chars().take(LONGEST).map(shown).collect();
    if text.chars().count() > LONGEST {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::ALL;

    #[test]
    fn a_report_counts_and_shows() {
        let report = Report(vec![
            (ALL[0], Finding::ok("fine")),
            (ALL[1], Finding::error("bad\n\u{1b}[31m", "mend it")),
            (ALL[2], Finding::skipped("no")),
        ]);
        assert!(!report.is_well(false));
        assert_eq!(report.summary(), "1 ok, 0 warnings, 1 error, 1 skipped");
        let lines = Report::lines(report.0[1].0, &report.0[1].1);
        assert!(lines.starts_with("error "), "{lines}");
        assert!(lines.ends_with("\n         -> mend it") && !lines.contains('\u{1b}'), "{lines}");
        let json = report.json();
        assert_eq!(json["checks"][1]["status"], "error");
        assert_eq!(json["checks"][0]["remedy"], Value::Null);
        assert_eq!(json["summary"]["skipped"], 1);
    }

    #[test]
    fn warnings_count_when_strict() {
        let report = Report(vec![(ALL[0], Finding::warning("a", "b"))]);
        assert!(report.is_well(false) && !report.is_well(true));
        assert_eq!(report.summary(), "0 ok, 1 warning, 0 errors, 0 skipped");
    }
}
