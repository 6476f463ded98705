//! `coracle hub`: the control plane of a fleet, or of boxes that are made up.

use super::client::{Client, Error};
use super::output::{self, Format};
use crate::config::{HubConfig, HubOverrides};
use anyhow::Result;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a hub: the ECS API and the scheduler over boxes that join it, or that are made up (--simulate)
///
/// Boxes join with `coracle join`, and are told over MQTT what to run. The hub brings up the broker for that itself
/// (mosquitto, which must be installed), or uses one that runs elsewhere (--broker). It needs no root. It stays in the
/// foreground; SIGTERM ends it, and its broker; boxes go on.
///
/// With --simulate, RegisterContainerInstance makes boxes up, and their tasks run, fail and stop as the fault plan says:
/// to try a placement before the boxes are bought, and to test what speaks the ECS API. It runs no container and no
/// broker, and checks no signatures.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Make up the boxes, and what becomes of their tasks
    #[arg(long)]
    simulate: bool,
    /// Where state that must survive a restart is kept [default: /var/lib/coracle-hub]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where sockets are kept; the API's is DIR/api.sock [default: /run/coracle-hub]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Where the ECS API listens with TCP [default: 127.0.0.1:51678]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where boxes connect to the hub's own broker, with TLS [default: 0.0.0.0:8883]
    #[arg(long, value_name = "ADDR:PORT", conflicts_with_all = ["simulate", "broker"])]
    mqtt_listen: Option<SocketAddr>,
    /// Under which name boxes find the broker, if not the one they join by; may be given several times
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "simulate")]
    mqtt_advertise: Vec<String>,
    /// A broker that runs elsewhere: mqtts://HOST:PORT or mqtt://HOST:PORT; none is started then
    #[arg(long, value_name = "URL", conflicts_with = "simulate")]
    broker: Option<String>,
    /// The hub's user and password at that broker: a file with the line USER:PASSWORD
    #[arg(long, value_name = "FILE", requires = "broker")]
    broker_credentials: Option<PathBuf>,
    /// The authority of that broker's certificate, in PEM [default: the well-known ones]
    #[arg(long, value_name = "FILE", requires = "broker")]
    broker_ca: Option<PathBuf>,
    /// The account in ARNs [default: 000000000000]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The region in ARNs [default: local]
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// What befalls the tasks of a simulation: a fault plan, in TOML or JSON
    #[arg(long, value_name = "FILE", requires = "simulate")]
    faults: Option<PathBuf>,
    /// The configuration file [default: /etc/coracle/hub.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged on stderr: a level, and TARGET=LEVEL, separated by commas [default: info]
    #[arg(long, value_name = "LEVELS")]
    log: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Backup(Backup),
    Restore(Restore),
    RotateKey(RotateKey),
}

/// Write the hub's store and keys into one file, whether it runs or not
///
/// Whoever has the file is the hub: keep it as you keep the hub.
#[derive(Debug, clap::Args)]
struct Backup {
    /// The file to make
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// Make the state directory of a hub out of a backup
///
/// The hub must not run, and the state directory must be empty or missing. Boxes take what the restored hub says as newer
/// than all before, and report to it what they run.
#[derive(Debug, clap::Args)]
struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// Have the hub that runs sign with a new key, which its boxes follow by themselves
///
/// What the hub says is signed by the old key too until every box has said that it trusts the new one; a box that is away
/// follows when it returns. `coracle node show` says which key a box trusts. Back the hub up again afterwards: boxes that have
/// followed do not listen to a hub that was restored from an older backup.
#[derive(Debug, clap::Args)]
struct RotateKey {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: Format,
}

/// Which hub.
#[derive(Debug, clap::Args)]
struct Place {
    /// Where the hub's state is kept [default: /var/lib/coracle-hub]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The run directory of the hub [default: /run/coracle-hub]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The configuration file [default: /etc/coracle/hub.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn overrides(self) -> HubOverrides {
        let Self { state_dir, run_dir, config } = self;
        HubOverrides { config, state_dir, run_dir, ..HubOverrides::default() }
    }
}

impl Backup {
    fn run(self) -> Result<ExitCode> {
        let file = std::path::absolute(&self.file)?;
        let overrides = self.place.overrides();
        let client = Client::new(&HubConfig::load(&overrides)?.run_dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = match runtime.block_on(client.back_up(&file)) {
            Err(Error::NoAgent { .. }) => crate::daemon::backup(&overrides, &file)?,
            answered => answered?,
        };
        if self.format.is_json() {
            output::json(&answer)?;
        } else {
            output::line(&file.display().to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Restore {
    fn run(self) -> Result<ExitCode> {
        let answer = crate::daemon::restore(&self.place.overrides(), &self.file)?;
        if self.format.is_json() {
            output::json(&answer)?;
        } else {
            output::line(answer["stateDir"].as_str().unwrap_or_default())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl RotateKey {
    fn run(self) -> Result<ExitCode> {
        let client = Client::new(&HubConfig::load(&self.place.overrides())?.run_dir);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(client.rotate_hub_key())?;
        if self.format.is_json() {
            output::json(&answer)?;
        } else {
            output::line(answer["key"].as_str().unwrap_or_default())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.verb {
            Some(Verb::Backup(arguments)) => return arguments.run(),
            Some(Verb::Restore(arguments)) => return arguments.run(),
            Some(Verb::RotateKey(arguments)) => return arguments.run(),
            None => {}
        }
        let overrides = HubOverrides {
            config: self.config,
            state_dir: self.state_dir,
            run_dir: self.run_dir,
            listen: self.listen,
            mqtt_listen: self.mqtt_listen,
            mqtt_advertise: self.mqtt_advertise,
            broker: self.broker,
            broker_credentials: self.broker_credentials,
            broker_ca: self.broker_ca,
            region: self.region,
            account: self.account,
            faults: self.faults,
            log: self.log,
        };
        crate::daemon::hub(&overrides, self.simulate)
    }
}
