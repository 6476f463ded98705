//! The settings: are they read, and is there one that means nothing.

use super::Check;
use crate::doctor::finding::Finding;
use std::path::Path;

pub(super) const CHECK: Check = Check::new(
    "configuration",
    "The configuration file is read, every key and value in it makes sense, and so does every `CORACLE_*` variable. With a wrong one the agent does not start.",
    "Edit the file and the key that are named; `docs` and the commented default file say what there is.",
    |subject| {
        let unknown = subject.config().map(|config| config.unknown_variables.as_slice());
        judge(&subject.file, subject.fault.as_deref(), unknown.unwrap_or_default())
    },
);

fn judge(file: &Path, fault: Option<&str>, unknown: &[String]) -> Finding {
    let shown = file.display();
    if let Some(fault) = fault {
        let remedy = format!(
            "sudoedit {shown}, then restart; configs/ has the default file, with what each key means"
        );
        return Finding::error(fault, remedy);
    }
    if !unknown.is_empty() {
        let what = format!("no setting, and so without effect: {}", unknown.join(", "));
        return Finding::warning(
            what,
            "take these variables out of the unit or of the shell's environment",
        );
    }
    if file.exists() {
        return Finding::ok(format!("{shown} is right"));
    }
    Finding::ok(format!("there is no {shown}: the defaults hold"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn faults_and_unknown_variables_are_told() {
        let file = Path::new("/nonexistent/agent.toml");
        assert!(judge(file, None, &[]).found.contains("defaults"));
        let wrong = judge(file, Some("unknown field `lisen`"), &[]);
        assert_eq!(wrong.status, Status::Error);
        assert!(wrong.remedy.unwrap().contains("sudoedit /nonexistent/agent.toml"));
        let unknown = judge(file, None, &["CORACLE_LISEN".to_owned()]);
        assert!(unknown.status == Status::Warning && unknown.found.contains("CORACLE_LISEN"));
    }
}
