//! The command line of `coracle run`.

use super::super::Connection;
use super::super::output::Format;

/// Run a task in the foreground, from a task definition or an image
///
/// With an agent the task is the agent's. Without one, an engine of its own runs it (as root) and leaves nothing
/// behind. What the containers write is shown as it comes; Ctrl-C stops the task.
///
/// The exit code is that of the first essential container that ended, and 125 when the task did not come to run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    coracle run configs/examples/hello.json\n  \
    coracle run -e NAME=world web.json\n  \
    coracle run busybox sh -c 'echo hello'")]
pub(in crate::cli) struct Arguments {
    /// A file with a task definition, - for standard input, or the name of an image
    #[arg(value_name = "FILE|IMAGE")]
    pub(super) target: String,
    /// The command, instead of the image's or the definition's
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(super) command: Vec<String>,
    /// Set an environment variable in every container; may be given several times
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub(super) env: Vec<(String, String)>,
    /// Pass standard input on to the first essential container, until its end
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give the first essential container a terminal and show it on this one; with -i, Ctrl-P Ctrl-Q leaves it running
    #[arg(short, long)]
    pub(super) tty: bool,
    /// The family that the task definition is registered as, instead of its own
    #[arg(long, value_name = "FAMILY")]
    pub(super) name: Option<String>,
    /// Leave the task to the agent and print its id
    #[arg(short, long)]
    pub(super) detach: bool,
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    pub(super) format: Format,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE is expected".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Cli;
    use super::super::super::Verb;
    use super::*;
    use clap::Parser;

    fn parse(words: &[&str]) -> Result<Arguments, clap::Error> {
        match Cli::try_parse_from(["coracle", "run"].iter().chain(words))?.verb {
            Verb::Run(arguments) => Ok(arguments),
            _ => unreachable!("`run` was given"),
        }
    }

    #[test]
    fn flags_may_stand_after_the_file_and_belong_to_the_command_after_it() {
        let run = parse(&["web.json", "--output", "json", "-e", "A=b=c"]).unwrap();
        assert!(run.format.is_json());
        assert_eq!(run.env, [("A".to_owned(), "b=c".to_owned())]);

        let run = parse(&["busybox", "sh", "-c", "echo $A", "-e", "--detach"]).unwrap();
        assert_eq!(run.command, ["sh", "-c", "echo $A", "-e", "--detach"]);
        assert!(!run.detach && run.env.is_empty());
    }

    #[test]
    fn a_slip_in_a_flag_is_not_taken_for_a_command() {
        assert!(parse(&["web.json", "--detatch"]).is_err());
        assert!(parse(&["web.json", "-e", "NAME"]).is_err());
        assert!(parse(&["web.json", "-e", "=x"]).is_err());
        assert!(parse(&[]).is_err());
    }
}
