//! The command line: what can be typed. What it does is in `commands`.

mod admin;
mod capture;
mod dead_letters;
mod device;
mod explain;
mod file;
mod param;
mod policy;
mod profile;
mod software;
mod spread;
mod task;
mod transfer;

pub use admin::{
    ContextCommand, ContextSetArgs, CredentialCommand, CredentialKindArg, CredentialSetArgs,
    PasswordArgs,
};
pub use capture::{CaptureCommand, CaptureStartArgs};
pub use dead_letters::{DeadLetterFilterArgs, DeadLettersCommand};
pub use device::{DeviceCommand, Search};
pub use explain::RefusalsCommand;
pub use file::{
    DownloadArgs, DownloadType, FetchArgs, FileCommand, FileGetArgs, FilePutArgs, UploadArgs,
    UploadType,
};
pub use param::{
    AttrCommand, AttrSetArgs, ObjectCommand, ParamCommand, ParamGetArgs, ParamSetArgs,
};
pub use policy::{CredentialImportArgs, LineCommand, PolicyCommand};
pub use profile::{ProfileCommand, ProfileFileArgs};
pub use software::{InstallArgs, SoftwareCommand, UninstallArgs, UpdateArgs};
pub use spread::SpreadArgs;
pub use task::{StateArg, TaskCommand, TaskOptions, When};
pub use transfer::{ModeArg, ScheduleDownloadArgs, TransferCommand, WindowArg};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{path::PathBuf, time::Duration};

/// The exit codes, as `--help` and the book have them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done; a task that was waited for succeeded
  1    the task failed, or any other error
  2    wrong arguments, an argument that the server refused, an ambiguous device
  3    no such device, task, file, credential or context
  4    not done within --wait-timeout; the task goes on (hearthctl task watch ID)
  5    the server can't be reached or can't answer now
  6    not authenticated, or not permitted
  7    the task was cancelled or has expired
  8    the task was sent, and whether the device did it can't be known
  130  interrupted by Ctrl-C; a task that was waited for goes on";

const AFTER_HELP: &str = "\
Where the server and the token come from, first found:
  --server, --context, HEARTH_SERVER, the current context, http://127.0.0.1:8080
  --token-file, --context, HEARTH_TOKEN, HEARTH_TOKEN_FILE, the current context,
  ./hearth-data/admin.token (only for a server on this machine)
A context's token goes to that context's server only.

";

/// Operates a Hearth server: devices, parameters, tasks, files.
#[derive(Parser, Debug)]
#[command(name = "hearthctl", version, about, arg_required_else_help = true)]
#[command(after_help = "Examples:
  hearthctl device list
  hearthctl param get 00D09E-HomeRouter-SIM000001 Device.DeviceInfo.UpTime
  hearthctl param set 00D09E-HomeRouter-SIM000001 Device.WiFi.SSID.1.SSID='My home'

`hearthctl COMMAND --help` has examples of each; `hearthctl --help` the exit codes.")]
#[command(after_long_help = const_format())]
pub struct Cli {
    /// What goes with every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn const_format() -> String {
    format!("{AFTER_HELP}{EXIT_CODES}")
}

/// What goes with every command.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The API's address [env: HEARTH_SERVER] [default: http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// A file with the token [env: HEARTH_TOKEN_FILE; the token itself: HEARTH_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates to trust for https, instead of the system's [env: HEARTH_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The tenant [env: HEARTH_TENANT] [default: default]
    #[arg(long, global = true, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// The context to use (hearthctl context list) [env: HEARTH_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// How results are printed
    #[arg(
        short = 'o',
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub output: Format,
    /// How long to wait for an answer of the server [default: 30s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// No colours [env: NO_COLOR]
    #[arg(long, global = true)]
    pub no_color: bool,
    /// No progress and no notes; errors are still shown
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// How results are printed.
#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// One document; an array for a list; one object a line for a watch
    Json,
    /// The same as YAML; a document each for a watch
    Yaml,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Devices: list, search, watch, tag, wake, refresh, reboot, reset
    #[command(subcommand, visible_alias = "devices")]
    Device(DeviceCommand),
    /// Parameters: read, set, list what is known, discover names
    #[command(subcommand, visible_alias = "params")]
    Param(ParamCommand),
    /// Attributes of parameters: notification and access list
    #[command(subcommand)]
    Attr(AttrCommand),
    /// Instances of objects: add, delete
    #[command(subcommand)]
    Object(ObjectCommand),
    /// Files of the server: firmware, configurations, what devices sent
    #[command(subcommand, visible_alias = "files")]
    File(FileCommand),
    /// Has a device fetch a file: firmware, configuration
    #[command(after_help = file::DOWNLOAD_EXAMPLES)]
    Download(Box<DownloadArgs>),
    /// Has a device send a file: configuration, log
    #[command(after_help = file::UPLOAD_EXAMPLES)]
    Upload(Box<UploadArgs>),
    /// Has a device fetch a file in a window of time
    #[command(after_help = transfer::SCHEDULE_EXAMPLES)]
    ScheduleDownload(Box<ScheduleDownloadArgs>),
    /// Transfers that devices have queued: list, cancel
    #[command(subcommand, visible_alias = "transfers")]
    Transfer(TransferCommand),
    /// Software modules: install, update, uninstall
    #[command(subcommand)]
    Software(SoftwareCommand),
    /// Asks a device for an Inform after a delay
    #[command(after_help = "Examples:
  hearthctl schedule-inform 00D09E-HomeRouter-SIM000001 10m")]
    ScheduleInform {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// When, from now
        #[arg(value_parser = duration)]
        delay: Duration,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// Tasks: list, look into, follow, cancel, retry
    #[command(subcommand, visible_alias = "tasks")]
    Task(TaskCommand),
    /// Requests of devices that were turned away
    #[command(subcommand, visible_alias = "refusal")]
    Refusals(RefusalsCommand),
    /// Logins of devices, and of the server towards devices
    #[command(subcommand, visible_alias = "credentials")]
    Credential(CredentialCommand),
    /// The tenant's policy for the edge: what devices must prove, what they are given
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Quirk profiles: what devices of some models need
    #[command(subcommand, visible_alias = "profiles")]
    Profile(ProfileCommand),
    /// Captures of sessions: what devices and the server say to each other
    #[command(subcommand, visible_alias = "captures")]
    Capture(CaptureCommand),
    /// Lines: which line (DHCP option 82) an address has
    #[command(subcommand, visible_alias = "lines")]
    Line(LineCommand),
    /// Events that could not be worked on: list, replay, delete
    #[command(subcommand, visible_alias = "dead-letter")]
    DeadLetters(DeadLettersCommand),
    /// Named servers with their tokens
    #[command(subcommand, visible_alias = "contexts")]
    Context(ContextCommand),
    /// Prints a completion script for a shell
    #[command(after_help = "Examples:
  hearthctl completion bash > ~/.local/share/bash-completion/completions/hearthctl
  hearthctl completion zsh > ~/.zfunc/_hearthctl
  hearthctl completion fish > ~/.config/fish/completions/hearthctl.fish")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Prints the version
    #[command(after_help = "Examples:
  hearthctl version
  hearthctl version -o json")]
    Version,
}

/// Reads `90s`, `1h 30m`, or a plain number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a duration: 90s, 5m, 1h, 2days"))
}
