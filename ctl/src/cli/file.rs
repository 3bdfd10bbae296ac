//! `hearthctl file`, `download` and `upload`.

use super::{PasswordArgs, TaskOptions, duration};
use clap::{Args, Subcommand};
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

pub(super) const DOWNLOAD_EXAMPLES: &str = "Examples:
  hearthctl file put firmware-2.1.bin --type firmware
  hearthctl download 00D09E-HomeRouter-SIM000001 firmware-2.1.bin
  hearthctl download SIM000001 https://files.example.net/2.1.bin --type firmware

Done when the device has reported the transfer as complete.";

pub(super) const UPLOAD_EXAMPLES: &str = "Examples:
  hearthctl upload 00D09E-HomeRouter-SIM000001 --type config
  hearthctl upload 00D09E-HomeRouter-SIM000001 --type log:1 -O router.log";

/// Files.
#[derive(Subcommand, Debug)]
pub enum FileCommand {
    /// Sends a file to the server, which keeps it
    #[command(after_help = "Examples:
  hearthctl file put firmware-2.1.bin --type firmware --file-version 2.1
  hearthctl file put ./settings.cfg --type config --name branch-office.cfg")]
    Put(Box<FilePutArgs>),
    /// Lists files, in the order of their names
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl file list"
    )]
    List {
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
    /// Shows what is known of a file
    #[command(
        visible_alias = "show",
        after_help = "Examples:
  hearthctl file info firmware-2.1.bin"
    )]
    Info {
        /// The file's name
        name: String,
    },
    /// Fetches a file from the server
    #[command(after_help = "Examples:
  hearthctl file get router.log
  hearthctl file get router.log -O - | less")]
    Get(Box<FileGetArgs>),
    /// Deletes files from the server
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl file delete firmware-2.0.bin"
    )]
    Delete {
        /// Names of files
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// `file put`.
#[derive(Args, Debug)]
pub struct FilePutArgs {
    /// The file
    pub path: PathBuf,
    /// firmware, web, config, tone, ringer, stored-firmware, or a CWMP FileType
    /// ("1 Firmware Upgrade Image", "X 00D09E Special")
    #[arg(long = "type", value_name = "TYPE")]
    pub file_type: DownloadType,
    /// Its name on the server: letters, digits, `.`, `_`, `-` [default: the file's own]
    #[arg(long)]
    pub name: Option<String>,
    /// Its version, free text
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub file_version: String,
}

/// `file get`.
#[derive(Args, Debug)]
pub struct FileGetArgs {
    /// The file's name
    pub name: String,
    /// Where to; `-` is standard output [default: its name, in this folder]
    #[arg(short = 'O', long, value_name = "PATH")]
    pub output_file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(short, long)]
    pub force: bool,
}

/// What a device fetches, now or in a window of time.
#[derive(Args, Debug)]
pub struct FetchArgs {
    /// A file of the server (hearthctl file list), or a URL that the device can fetch
    #[arg(value_name = "FILE|URL")]
    pub source: String,
    /// firmware, web, config, tone, ringer, stored-firmware, or a CWMP FileType [default: the
    /// file's own]
    #[arg(long = "type", value_name = "TYPE")]
    pub file_type: Option<DownloadType>,
    /// User name for a URL
    #[arg(long, value_name = "USER")]
    pub username: Option<String>,
    /// The password for a URL.
    #[command(flatten)]
    pub password: PasswordArgs,
    /// Size of what is at a URL, in bytes
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub file_size: u64,
    /// Its name on the device
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub target_file_name: String,
}

/// `download`.
#[derive(Args, Debug)]
pub struct DownloadArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// What the device fetches.
    #[command(flatten)]
    pub fetch: FetchArgs,
    /// When the device begins, from now
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub delay: Option<Duration>,
    /// Where the device sends its user's browser when it succeeded
    #[arg(long, value_name = "URL")]
    pub success_url: Option<String>,
    /// Where the device sends its user's browser when it failed
    #[arg(long, value_name = "URL")]
    pub failure_url: Option<String>,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// `upload`.
#[derive(Args, Debug)]
pub struct UploadArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// config, log, config:N, log:N, or a CWMP FileType ("2 Vendor Log File")
    #[arg(long = "type", value_name = "TYPE")]
    pub file_type: UploadType,
    /// Wait, fetch the file from the server and put it here; `-` is standard output
    #[arg(short = 'O', long, value_name = "PATH", conflicts_with_all = ["no_wait", "url"])]
    pub output_file: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(short, long)]
    pub force: bool,
    /// Where the device sends it, instead of to this server
    #[arg(long)]
    pub url: Option<String>,
    /// User name for the URL
    #[arg(long, value_name = "USER", requires = "url")]
    pub username: Option<String>,
    /// The password for the URL.
    #[command(flatten)]
    pub password: PasswordArgs,
    /// When the device begins, from now
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub delay: Option<Duration>,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// A CWMP FileType of a Download (TR-069 A.3.2.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadType(String);

/// A CWMP FileType of an Upload (TR-069 A.4.1.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadType(String);

/// Whether the text has the shape of a FileType: `1 Firmware…`, `X 00D09E …`.
fn is_cwmp_type(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(first, rest)| {
        !rest.is_empty() && (first == "X" || first.bytes().all(|b| b.is_ascii_digit()))
    })
}

impl FromStr for DownloadType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "firmware" => "1 Firmware Upgrade Image".into(),
            "web" => "2 Web Content".into(),
            "config" => "3 Vendor Configuration File".into(),
            "tone" => "4 Tone File".into(),
            "ringer" => "5 Ringer File".into(),
            "stored-firmware" => "6 Stored Firmware Image".into(),
            raw if is_cwmp_type(raw) => raw.into(),
            _ => {
                return Err(
                    "expected firmware, web, config, tone, ringer, stored-firmware, or a \
                            CWMP FileType as \"1 Firmware Upgrade Image\""
                        .into(),
                );
            }
        }))
    }
}

impl FromStr for UploadType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let instance = |number: &str| number.parse::<u32>().ok().filter(|n| *n > 0);
        let text = match text.split_once(':') {
            _ if text == "config" => "1 Vendor Configuration File".to_owned(),
            _ if text == "log" => "2 Vendor Log File".to_owned(),
            Some(("config", number)) if let Some(number) = instance(number) => {
                format!("3 Vendor Configuration File {number}")
            }
            Some(("log", number)) if let Some(number) = instance(number) => {
                format!("4 Vendor Log File {number}")
            }
            _ if is_cwmp_type(text) => text.to_owned(),
            _ => {
                return Err(
                    "expected config, log, config:N, log:N, or a CWMP FileType as \
                            \"2 Vendor Log File\""
                        .into(),
                );
            }
        };
        Ok(Self(text))
    }
}

impl fmt::Display for DownloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UploadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
