//! The command line of the server.

use crate::roles::Role;
use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// Hearth, an auto-configuration server for TR-069 (CWMP) devices.
#[derive(Parser, Debug)]
#[command(name = "hearth", version, about, arg_required_else_help = true)]
#[command(after_help = "Examples:
  hearth demo                       a server with a small simulated fleet, and a tour
  hearth run --data-dir /var/lib/hearth
  hearth config example > hearth.toml
  hearth completion bash > /etc/bash_completion.d/hearth")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs the server: all roles in one process, or some of them
    #[command(after_help = "Examples:
  hearth run                                     data in ./hearth-data
  hearth run --data-dir /var/lib/hearth --log-format json
  hearth run --set wakeup.allow='[\"10.0.0.0/8\"]' --set gateway.auth=digest

The first start makes an admin token (DATA_DIR/admin.token) and prints the user
and password that devices connect with.")]
    Run(Box<RunArgs>),
    /// Shows, checks or explains the configuration
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Runs the server with a small simulated fleet and shows what it does
    #[command(after_help = "Examples:
  hearth demo             goes on after the tour, for you to try
  hearth demo --exit      ends after the tour; exit code 0 if all went well")]
    Demo(DemoArgs),
    /// Makes the certificates by which processes of one Hearth trust each other
    Ca {
        /// What to do.
        #[command(subcommand)]
        command: CaCommand,
    },
    /// Makes the key ring and the token that processes of one Hearth share, and rotates keys
    #[command(after_help = "Without replicas, with the server stopped:
  hearth keys stage --file DATA_DIR/secret.key && hearth keys rotate --file DATA_DIR/secret.key

With replicas, so that no device's session breaks:
  hearth keys stage --file secret.key      then give all processes the file and restart them one by one
  hearth keys rotate --file secret.key     and the same again")]
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Prints a completion script for a shell
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Prints the settings in force and where each comes from
    Print(Box<RunArgs>),
    /// Checks the settings; exit code 2 and a list of problems if there are any
    Check(Box<RunArgs>),
    /// Prints a commented file with all settings at their defaults
    Example,
}

/// Settings that have a flag of their own. All others: `--set`.
#[derive(Args, Debug, Clone, Default)]
pub struct RunArgs {
    /// Configuration file (TOML); else ./hearth.toml or /etc/hearth/hearth.toml if there is one
    #[arg(long, value_name = "FILE", env = "HEARTH_CONFIG")]
    pub config: Option<PathBuf>,
    /// What this process does [default: all roles]
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    pub roles: Vec<Role>,
    /// Where everything is kept [default: hearth-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The key ring that all processes share [default: DATA_DIR/secret.key]
    #[arg(long, value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,
    /// The administrator's token [default: DATA_DIR/admin.token]
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Where devices connect [default: 0.0.0.0:7547]
    #[arg(long, value_name = "ADDRESS")]
    pub cwmp_listen: Option<SocketAddr>,
    /// Where the API listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub api_listen: Option<SocketAddr>,
    /// Where devices fetch and send files [default: 0.0.0.0:7567]
    #[arg(long, value_name = "ADDRESS")]
    pub files_listen: Option<SocketAddr>,
    /// Where other processes of this Hearth reach its roles [default: 0.0.0.0:7600]
    #[arg(long, value_name = "ADDRESS")]
    pub internal_listen: Option<SocketAddr>,
    /// Health, readiness, metrics [default: 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Allows the API on another address than loopback without TLS
    #[arg(long)]
    pub api_without_tls: bool,
    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub log_format: Option<String>,
    /// Which log lines [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Any setting, as `hearth config print` names it; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl RunArgs {
    /// (key, value, flag) of the flags that are set.
    pub fn flags(&self) -> Vec<(&'static str, String, &'static str)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let names: Vec<&str> = self.roles.iter().map(|role| role.name()).collect();
        let roles = (!names.is_empty()).then(|| names.join(","));
        let address = |address: Option<SocketAddr>| address.map(|a| a.to_string());
        let without_tls = self.api_without_tls.then(|| "true".to_owned());
        [
            ("roles", roles, "--roles"),
            ("data_dir", path(&self.data_dir), "--data-dir"),
            (
                "secret_key_file",
                path(&self.secret_key_file),
                "--secret-key-file",
            ),
            (
                "admin_token_file",
                path(&self.admin_token_file),
                "--admin-token-file",
            ),
            (
                "internal.listen",
                address(self.internal_listen),
                "--internal-listen",
            ),
            ("listen.cwmp", address(self.cwmp_listen), "--cwmp-listen"),
            ("listen.api", address(self.api_listen), "--api-listen"),
            ("listen.files", address(self.files_listen), "--files-listen"),
            ("listen.admin", address(self.admin_listen), "--admin-listen"),
            ("listen.api_without_tls", without_tls, "--api-without-tls"),
            ("log.format", self.log_format.clone(), "--log-format"),
            ("log.filter", self.log_filter.clone(), "--log-filter"),
        ]
        .into_iter()
        .filter_map(|(key, value, flag)| Some((key, value?, flag)))
        .collect()
    }
}

/// The own certificate authority.
#[derive(Subcommand, Debug)]
pub enum CaCommand {
    /// Makes the authority: DIR/ca.crt and DIR/ca.key
    #[command(after_help = "Example:
  hearth ca init --dir ca

ca.key signs for all processes: keep it where no process runs.")]
    Init {
        /// Where it is kept.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// For how many days it holds
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Makes one process's certificate: OUT/tls.crt, OUT/tls.key and OUT/ca.crt
    #[command(after_help = "Examples:
  hearth ca issue --dir ca --name workflow-1 --roles workflow,wakeup --dns workflow --out workflow-1
  hearth ca issue --dir ca --name gateway-1 --roles gateway --dns hearth.internal --ip 10.0.0.7 --out gateway-1

The roles are those of the process (hearth run --roles): what it may ask of others follows from them.
The names must include those by which internal.peers names the process, or internal.tls.server_name. Without --dns and
--ip the certificate is also for 127.0.0.1 and ::1.
Made again into the same folder it replaces the certificate; processes read it again by themselves.")]
    Issue {
        /// Where the authority is.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Who it is for; also a DNS name of it.
        #[arg(long)]
        name: String,
        /// The roles of its process; `gateway,workflow,…`
        #[arg(long, value_name = "ROLES", value_delimiter = ',', required = true)]
        roles: Vec<Role>,
        /// Further DNS names.
        #[arg(long, value_name = "NAME")]
        dns: Vec<String>,
        /// IP addresses.
        #[arg(long, value_name = "ADDRESS")]
        ip: Vec<std::net::IpAddr>,
        /// For how many days it holds
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
        /// Where the files go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// The key ring.
#[derive(Subcommand, Debug)]
pub enum KeysCommand {
    /// Makes a key ring; one that is there already is left as it is
    Init(KeyFile),
    /// Shows the keys' ids and uses, not the keys
    List(KeyFile),
    /// Adds a key that is accepted and not used yet
    Stage(KeyFile),
    /// Puts the staged key in use; older keys stay, to open what they sealed
    Rotate(KeyFile),
    /// Removes a key that nothing is sealed under any more
    Retire {
        /// The file.
        #[command(flatten)]
        file: KeyFile,
        /// Which key
        #[arg(long)]
        id: u8,
        /// Says that nothing is sealed under it: what is can't be opened any more
        #[arg(long)]
        yes: bool,
    },
    /// Makes an administrator's token; one that is there already is left as it is
    Token(KeyFile),
}

/// A file that holds secrets.
#[derive(Args, Debug)]
pub struct KeyFile {
    /// The file
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
}

/// The demo.
#[derive(Args, Debug, Clone)]
pub struct DemoArgs {
    /// End after the tour
    #[arg(long)]
    pub exit: bool,
    /// How many devices are simulated
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Where the demo keeps its data; else a folder that goes when it ends
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Use any free ports instead of the usual ones
    #[arg(long)]
    pub free_ports: bool,
}
