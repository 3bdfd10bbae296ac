//! The command line of the server.

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
    /// Runs the server, all roles in one process
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
    /// Where everything is kept [default: hearth-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where devices connect [default: 0.0.0.0:7547]
    #[arg(long, value_name = "ADDRESS")]
    pub cwmp_listen: Option<SocketAddr>,
    /// Where the API listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub api_listen: Option<SocketAddr>,
    /// Where devices fetch and send files [default: 0.0.0.0:7567]
    #[arg(long, value_name = "ADDRESS")]
    pub files_listen: Option<SocketAddr>,
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
        let path = self
            .data_dir
            .as_ref()
            .map(|path| path.display().to_string());
        let address = |address: Option<SocketAddr>| address.map(|a| a.to_string());
        let without_tls = self.api_without_tls.then(|| "true".to_owned());
        [
            ("data_dir", path, "--data-dir"),
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
