//! The commands of `coracle`, one file per verb.
//!
//! `join` and `leave` do without an agent what they would have it do, `reset` only without one, and `doctor` looks for itself. Every other verb but `agent`, `hub`, `completions` and `image build` into a folder is a client of an agent's unix socket (`client`): it can do no more than
//! any other client of the API. `run` without an agent starts an engine of its own, which serves the same socket, and
//! goes on as that engine's client.
//!
//! Exit codes:
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | it did not work; one line on stderr says why and what to do; `diff`: something differs; `doctor`: something is wrong |
//! | 2 | the command line is wrong; `diff`: it did not work |
//! | 125 | `run`: the task did not come to run; `exec`: the command did not, or its end is not known |
//! | 126, 127 | `exec`: the command cannot be executed, there is no such command |
//! | 128 + N | `run`: given up after a second signal N; `exec`: the command ended by signal N |
//! | other | `run`: the exit code of the first essential container that ended; `exec`: that of the command |
//!
//! What it does not do: decide. No verb but `doctor` (in a module of its own) holds state or looks into the agent's directories.

mod agent;
mod apply;
mod client;
mod completions;
mod diff;
mod doctor;
mod env;
mod exec;
mod export;
mod hub;
mod image;
mod join;
mod leave;
mod login;
mod logs;
mod manifest;
mod node;
mod output;
mod prompt;
mod ps;
mod reset;
mod run;
mod secret;
mod service;
mod session;
mod stats;
mod stop;
mod task_def;
mod token;
mod top;
mod version;
mod volume;
mod why;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs Amazon ECS task definitions on a box of your own: no Docker, no containerd.
#[derive(Debug, Parser)]
#[command(
    name = "coracle",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Start here:\n  \
        coracle run configs/examples/hello.json   run a task definition in the foreground, no agent needed\n  \
        coracle agent                             start the agent of this box (as root)\n  \
        eval \"$(coracle env)\"; aws ecs list-tasks  use the AWS CLI against it"
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Agent(agent::Arguments),
    Hub(Box<hub::Arguments>),
    Run(run::Arguments),
    Ps(ps::Arguments),
    Logs(logs::Arguments),
    Exec(exec::Arguments),
    Stats(stats::Arguments),
    Top(top::Arguments),
    Stop(stop::Arguments),
    #[command(subcommand, visible_alias = "td")]
    TaskDef(task_def::Verb),
    #[command(subcommand, visible_alias = "svc")]
    Service(service::Verb),
    Apply(apply::Arguments),
    Diff(diff::Arguments),
    Export(export::Arguments),
    Why(why::Arguments),
    Doctor(doctor::Arguments),
    #[command(subcommand)]
    Node(node::Verb),
    #[command(subcommand)]
    Image(image::Verb),
    Login(login::Login),
    Logout(login::Logout),
    #[command(subcommand)]
    Secret(secret::Verb),
    #[command(subcommand)]
    Volume(volume::Verb),
    #[command(subcommand)]
    Token(token::Verb),
    Join(join::Arguments),
    Leave(leave::Arguments),
    Reset(reset::Arguments),
    Env(env::Arguments),
    Version(version::Arguments),
    Completions(completions::Arguments),
}

/// Where the agent is; part of every client verb.
#[derive(Debug, Clone, clap::Args)]
struct Connection {
    /// The run directory of the agent; its socket is DIR/api.sock
    #[arg(long, value_name = "DIR", env = "CORACLE_RUN_DIR", default_value = "/run/coracle")]
    run_dir: PathBuf,
}

impl Connection {
    fn client(&self) -> client::Client {
        client::Client::new(&self.run_dir)
    }
}

/// Parses the command line and carries it out.
pub fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain("error", &output::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::Agent(arguments) => arguments.run(),
            Verb::Hub(arguments) => arguments.run(),
            Verb::Run(arguments) => arguments.run(),
            Verb::Ps(arguments) => block_on(arguments.run()),
            Verb::Logs(arguments) => block_on(arguments.run()),
            Verb::Exec(arguments) => block_on_code(arguments.run()),
            Verb::Stats(arguments) => block_on(arguments.run()),
            Verb::Top(arguments) => block_on(arguments.run()),
            Verb::Stop(arguments) => block_on(arguments.run()),
            Verb::TaskDef(verb) => block_on(verb.run()),
            Verb::Node(verb) => block_on(verb.run()),
            Verb::Service(verb) => block_on_code(verb.run()),
            Verb::Apply(arguments) => block_on_code(arguments.run()),
            Verb::Diff(arguments) => block_on_code(arguments.run()),
            Verb::Export(arguments) => block_on(arguments.run()),
            Verb::Why(arguments) => block_on(arguments.run()),
            Verb::Doctor(arguments) => arguments.run(),
            Verb::Image(verb) => block_on(verb.run()),
            Verb::Login(arguments) => block_on(arguments.run()),
            Verb::Logout(arguments) => block_on(arguments.run()),
            Verb::Secret(verb) => block_on(verb.run()),
            Verb::Volume(verb) => block_on(verb.run()),
            Verb::Token(verb) => block_on(verb.run()),
            Verb::Join(arguments) => arguments.run(),
            Verb::Leave(arguments) => arguments.run(),
            Verb::Reset(arguments) => arguments.run(),
            Verb::Env(arguments) => block_on(arguments.run()),
            Verb::Version(arguments) => block_on(arguments.run()),
            Verb::Completions(arguments) => arguments.run(),
        }
    }
}

/// A client needs no threads of its own.
fn block_on(work: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    block_on_code(async { work.await.map(|()| ExitCode::SUCCESS) })
}

fn block_on_code(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Every verb and every flag says what it is for.
    #[test]
    fn everything_has_help() {
        fn look(command: &clap::Command, path: &str, silent: &mut Vec<String>) {
            for argument in command.get_arguments() {
                if argument.get_help().is_none() {
                    silent.push(format!("{path} {}", argument.get_id()));
                }
            }
            for verb in command.get_subcommands() {
                let path = format!("{path} {}", verb.get_name());
                if verb.get_about().is_none() {
                    silent.push(path.clone());
                }
                look(verb, &path, silent);
            }
        }
        let mut silent = Vec::new();
        let mut command = Cli::command();
        command.build();
        look(&command, "coracle", &mut silent);
        assert_eq!(silent, Vec::<String>::new());
    }

    #[test]
    fn every_client_verb_takes_a_run_directory_and_an_output() {
        fn look(command: &clap::Command, missing: &mut Vec<String>) {
            for verb in command.get_subcommands() {
                if verb.has_subcommands() {
                    look(verb, missing);
                    continue;
                }
                let name = verb.get_name();
                let has = |flag: &str| verb.get_arguments().any(|a| a.get_long() == Some(flag));
                if name != "completions" && !has("run-dir") {
                    missing.push(format!("{name} --run-dir"));
                }
                if !matches!(name, "completions" | "agent" | "hub" | "exec") && !has("output") {
                    missing.push(format!("{name} --output"));
                }
            }
        }
        let mut missing = Vec::new();
        look(&Cli::command(), &mut missing);
        assert_eq!(missing, Vec::<String>::new());
    }
}
