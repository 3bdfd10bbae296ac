//! `hearthctl credential` and `context`.

use clap::{Args, Subcommand, ValueEnum};
use hearth_proto::northbound::v1::CredentialKind;
use std::path::PathBuf;

/// Credentials.
#[derive(Subcommand, Debug)]
pub enum CredentialCommand {
    /// Shows the login for devices that have used none of their own
    ///
    /// A device that has used a login of its own (`credential set DEVICE`) must go on with it, and
    /// is refused with this one; after a factory reset (0 BOOTSTRAP) it may come back with this
    /// one, unless the server's gateway.bootstrap_reopens is off.
    #[command(after_help = "Examples:
  hearthctl credential onboarding
  hearthctl credential onboarding -o json")]
    Onboarding,
    /// Sets a login; without a password one is made and shown once
    #[command(after_help = "Examples:
  hearthctl credential set 00D09E-HomeRouter-SIM000001 --username router1
  hearthctl credential set SIM000001 --connection-request --username acs --password-file cr.pw
  hearthctl credential set --onboarding --username factory --password-stdin")]
    Set(Box<CredentialSetArgs>),
    /// Lists logins, without passwords
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl credential list"
    )]
    List {
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
    /// Sets many logins from a CSV file
    ///
    /// Its first line names the columns: username, password, and kind (device, model, onboarding,
    /// connection-request; device where it is empty), device, model. A line with an error keeps no
    /// other out.
    #[command(after_help = "Examples:
  hearthctl credential import logins.csv --dry-run
  hearthctl credential import logins.csv")]
    Import(super::CredentialImportArgs),
    /// Deletes a login
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl credential delete router1
  hearthctl credential delete acs --kind connection-request --device 00D09E-HomeRouter-SIM000001"
    )]
    Delete {
        /// The user name
        username: String,
        /// What it is for
        #[arg(long, value_enum, default_value_t)]
        kind: CredentialKindArg,
        /// The device, for a connection-request login of one device
        #[arg(long)]
        device: Option<String>,
    },
}

/// `credential set`.
#[derive(Args, Debug)]
pub struct CredentialSetArgs {
    /// The device: its id (it need not have been seen), or a known one's serial number
    #[arg(required_unless_present_any = ["onboarding", "connection_request", "model"], conflicts_with = "onboarding")]
    pub device: Option<String>,
    /// The user name, 1 to 256 characters without colon
    #[arg(short, long)]
    pub username: String,
    /// The password.
    #[command(flatten)]
    pub password: PasswordArgs,
    /// What the server asks devices to connect with; without DEVICE, for all that have none of
    /// their own
    #[arg(long, conflicts_with = "onboarding")]
    pub connection_request: bool,
    /// What any device without a login of its own connects with
    #[arg(long)]
    pub onboarding: bool,
    /// What devices of a model without a login of their own connect with: OUI or OUI/ProductClass
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["onboarding", "connection_request", "device"])]
    pub model: Option<String>,
}

/// Where a password comes from; never from the command line itself.
#[derive(Args, Debug, Clone, Default)]
pub struct PasswordArgs {
    /// A file with the password (without the last line end)
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    pub password_file: Option<PathBuf>,
    /// The password is on standard input
    #[arg(long)]
    pub password_stdin: bool,
}

/// What a credential is for.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CredentialKindArg {
    /// One device, towards this server
    #[default]
    Device,
    /// Any device without one of its own
    Onboarding,
    /// This server, towards devices
    ConnectionRequest,
    /// Any device of a model without one of its own
    Model,
}

impl From<CredentialKindArg> for CredentialKind {
    fn from(kind: CredentialKindArg) -> Self {
        match kind {
            CredentialKindArg::Device => Self::Device,
            CredentialKindArg::Onboarding => Self::Onboarding,
            CredentialKindArg::ConnectionRequest => Self::ConnectionRequest,
            CredentialKindArg::Model => Self::Model,
        }
    }
}

/// Contexts.
#[derive(Subcommand, Debug)]
pub enum ContextCommand {
    /// Makes or changes a context, from --server, --tenant, --token-file and --ca-file
    #[command(after_help = "Examples:
  hearthctl context set lab --server https://lab.example.net:8080 --token-file ~/lab.token --use
  hearthctl context set lab --tenant isp
  hearthctl context set home --server http://127.0.0.1:8080 --token-stdin

They are kept in $XDG_CONFIG_HOME/hearth/contexts.toml (~/.config), readable by you only.")]
    Set(ContextSetArgs),
    /// Makes a context the current one
    #[command(after_help = "Examples:
  hearthctl context use lab")]
    Use {
        /// Its name
        name: String,
    },
    /// Lists contexts; the current one has an asterisk
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl context list"
    )]
    List,
    /// Deletes a context
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl context delete lab"
    )]
    Delete {
        /// Its name
        name: String,
    },
}

/// `context set`.
#[derive(Args, Debug)]
pub struct ContextSetArgs {
    /// Its name: letters, digits, `.`, `_`, `-`
    pub name: String,
    /// The token is on standard input, and is kept in the file of contexts
    #[arg(long)]
    pub token_stdin: bool,
    /// Make it the current one; the first context is current by itself
    #[arg(long = "use")]
    pub make_current: bool,
}
