//! What the process runs: arguments, environment, working directory.

use crate::model::task_definition::ContainerDefinition;
use crate::runtime::launch::ImageSettings;
use crate::runtime::process::Program;

/// `PATH` of images that set none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What programs on a terminal take it for, as in Docker.
pub(crate) const TERMINAL_TYPE: &str = "TERM=xterm";

/// Joins what the definition and the image say.
///
/// A definition's `entryPoint` drops the image's command, its `command` only replaces it. An empty list is none.
pub(crate) fn program(
    definition: &ContainerDefinition,
    image: &ImageSettings,
    environment: &[(String, String)],
    hostname: &str,
    home: &str,
) -> Program {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|l| !l.is_empty());
    let command = given(&definition.command);
    let args = match given(&definition.entry_point) {
        Some(entry_point) => [entry_point, command.unwrap_or_default()].concat(),
        None => [image.entrypoint.clone(), command.unwrap_or_else(|| image.cmd.clone())].concat(),
    };
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if definition.pseudo_terminal == Some(true) {
        env.push(TERMINAL_TYPE.to_owned());
    }
    let own = environment.iter().map(|(name, value)| format!("{name}={value}"));
    for variable in image.env.iter().cloned().chain(own) {
        set(&mut env, variable);
    }
    if !env.iter().any(|e| e.starts_with("HOME=") && e.len() > "HOME=".len()) {
        set(&mut env, format!("HOME={home}"));
    }
    Program { args, env }
}

/// Where the process starts.
pub(crate) fn working_directory(definition: &ContainerDefinition, image: &ImageSettings) -> String {
    let directory = definition
        .working_directory
        .as_deref()
        .filter(|d| !d.is_empty())
        .or(image.working_dir.as_deref().filter(|d| !d.is_empty()))
        .unwrap_or("/");
    if directory.starts_with('/') { directory.to_owned() } else { format!("/{directory}") }
}

/// Sets a variable, in the place of an earlier value if there is one.
pub(crate) fn set(env: &mut Vec<String>, variable: String) {
    let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
    let same = |e: &String| e.split_once('=').is_some_and(|(n, _)| n == name);
    match env.iter_mut().find(|e| same(e)) {
        Some(slot) => *slot = variable,
        None => env.push(variable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    fn args(entry_point: &[&str], command: &[&str]) -> Vec<String> {
        let definition = ContainerDefinition {
            entry_point: Some(list(entry_point)),
            command: Some(list(command)),
            ..ContainerDefinition::default()
        };
        let image = ImageSettings {
            entrypoint: list(&["/init"]),
            cmd: list(&["serve"]),
            ..ImageSettings::default()
        };
        program(&definition, &image, &[], "box", "/").args
    }

    #[test]
    fn entry_point_and_command_combine_as_in_docker() {
        assert_eq!(args(&[], &[]), ["/init", "serve"]);
        assert_eq!(args(&[], &["check"]), ["/init", "check"]);
        assert_eq!(args(&["sh"], &[]), ["sh"]);
        assert_eq!(args(&["sh", "-c"], &["id"]), ["sh", "-c", "id"]);
    }

    #[test]
    fn the_later_variable_wins_and_defaults_fill_in() {
        let image =
            ImageSettings { env: list(&["MODE=a", "PATH=/app"]), ..ImageSettings::default() };
        let own = [("MODE", "b=c"), ("URI", "1"), ("URI", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let env = program(&ContainerDefinition::default(), &image, &own, "box", "/root").env;
        assert_eq!(env, ["PATH=/app", "HOSTNAME=box", "MODE=b=c", "URI=2", "HOME=/root"]);
    }
}
