//! `hearthctl software`.

use super::{PasswordArgs, TaskOptions};
use clap::{Args, Subcommand};

/// Software modules (deployment units).
#[derive(Subcommand, Debug)]
pub enum SoftwareCommand {
    /// Installs a unit
    #[command(after_help = "Examples:
  hearthctl software install 00D09E-HomeRouter-SIM000001 https://files.example.net/app.ipk
  hearthctl software install SIM000001 app.ipk --uuid 85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11 --env Device.SoftwareModules.ExecEnv.1")]
    Install(Box<InstallArgs>),
    /// Updates a unit, or all of them
    #[command(after_help = "Examples:
  hearthctl software update 00D09E-HomeRouter-SIM000001 85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11
  hearthctl software update SIM000001 --url https://files.example.net/app.ipk
  hearthctl software update SIM000001 --all")]
    Update(Box<UpdateArgs>),
    /// Uninstalls a unit
    #[command(after_help = "Examples:
  hearthctl software uninstall 00D09E-HomeRouter-SIM000001 85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11 --version 1.2
  hearthctl software uninstall SIM000001 85f8a1c2-5d3e-4c1b-9b7a-0d4f2f0c9e11 --all-versions")]
    Uninstall(Box<UninstallArgs>),
}

/// `software install`.
#[derive(Args, Debug)]
pub struct InstallArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// A file of the server (hearthctl file list), or a URL that the device can fetch
    #[arg(value_name = "FILE|URL")]
    pub source: String,
    /// Its UUID [default: the device makes one]
    #[arg(long)]
    pub uuid: Option<String>,
    /// Where to install it: path of an execution environment [default: as the device likes]
    #[arg(long, value_name = "PATH")]
    pub env: Option<String>,
    /// User name for a URL
    #[arg(long, value_name = "USER")]
    pub username: Option<String>,
    /// The password for a URL.
    #[command(flatten)]
    pub password: PasswordArgs,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// `software update`.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// The unit
    pub uuid: Option<String>,
    /// Which version of it is updated
    #[arg(long, value_name = "VERSION", requires = "uuid")]
    pub version: Option<String>,
    /// A file of the server, or a URL, with the update; without a UUID: the URL that the unit was
    /// installed from [default: from where it was installed]
    #[arg(long, value_name = "FILE|URL")]
    pub url: Option<String>,
    /// Every unit of the device
    #[arg(long, conflicts_with_all = ["uuid", "url"])]
    pub all: bool,
    /// User name for a URL
    #[arg(long, value_name = "USER")]
    pub username: Option<String>,
    /// The password for a URL.
    #[command(flatten)]
    pub password: PasswordArgs,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// `software uninstall`.
#[derive(Args, Debug)]
pub struct UninstallArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// The unit
    pub uuid: String,
    /// Which version of it
    #[arg(
        long,
        value_name = "VERSION",
        required_unless_present = "all_versions",
        conflicts_with = "all_versions"
    )]
    pub version: Option<String>,
    /// Every version of it
    #[arg(long)]
    pub all_versions: bool,
    /// From which execution environment [default: from all]
    #[arg(long, value_name = "PATH")]
    pub env: Option<String>,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}
