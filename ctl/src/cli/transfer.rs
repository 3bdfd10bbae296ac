//! `hearthctl schedule-download` and `transfer`.

use super::{FetchArgs, TaskOptions, When};
use clap::{Args, Subcommand, ValueEnum};
use std::str::FromStr;

pub(super) const SCHEDULE_EXAMPLES: &str = "Examples:
  hearthctl schedule-download 00D09E-HomeRouter-SIM000001 firmware-2.1.bin --window 2h..4h
  hearthctl schedule-download SIM000001 firmware-2.1.bin --window 2h..4h --window 26h..28h --mode idle
  hearthctl schedule-download SIM000001 firmware-2.1.bin --window 2026-01-31T02:00:00Z..2026-01-31T04:00:00Z

Done when the device has reported the transfer, in one of its windows: it is asked now, and --no-wait
leaves it to itself.";

/// `schedule-download`.
#[derive(Args, Debug)]
pub struct ScheduleDownloadArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// What the device fetches.
    #[command(flatten)]
    pub fetch: FetchArgs,
    /// A window of time: from..to, both from when the device is told (2h..4h) or both as times;
    /// may be given twice, in order
    #[arg(long, value_name = "FROM..TO", required = true)]
    pub window: Vec<WindowArg>,
    /// What the device does in a window; once for both, or once for each
    #[arg(long, value_enum, default_value = "any", value_name = "MODE")]
    pub mode: Vec<ModeArg>,
    /// What the user is asked, with --mode confirm
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub message: String,
    /// Tries again within a window; as the device likes if not given
    #[arg(long, value_name = "N")]
    pub max_retries: Option<u16>,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// A window of time: `2h..4h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowArg {
    /// When it begins.
    pub from: When,
    /// When it ends.
    pub to: When,
}

impl FromStr for WindowArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected two durations or two times with two dots between: 2h..4h";
        let (from, to) = text.split_once("..").ok_or(expected)?;
        let (from, to) = (from.parse()?, to.parse()?);
        match (from, to) {
            (When::At(_), When::At(_)) | (When::Distance(_), When::Distance(_)) => {
                Ok(Self { from, to })
            }
            _ => Err(expected.into()),
        }
    }
}

/// What a device does in a window of time (TR-069 A.4.1.8).
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeArg {
    /// At any time in it
    Any,
    /// At its beginning
    Immediately,
    /// When it is idle
    Idle,
    /// When its user has agreed
    Confirm,
}

impl ModeArg {
    /// As CWMP writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "1 At Any Time",
            Self::Immediately => "2 Immediately",
            Self::Idle => "3 When Idle",
            Self::Confirm => "4 Confirmation Needed",
        }
    }
}

/// Transfers that devices have queued.
#[derive(Subcommand, Debug)]
pub enum TransferCommand {
    /// Asks a device which transfers it has queued
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl transfer list 00D09E-HomeRouter-SIM000001"
    )]
    List {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// Ask by the deprecated GetQueuedTransfers only
        #[arg(long)]
        deprecated: bool,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// Cancels a transfer that a device has queued; its task ends as cancelled
    #[command(after_help = "Examples:
  hearthctl transfer cancel 00D09E-HomeRouter-SIM000001 01hzy3v7k2q4w6e8r0t2y4a6d8
  hearthctl transfer cancel SIM000001 --key another-acs-17

A transfer that was not sent yet is cancelled with its task: hearthctl task cancel TASK.")]
    Cancel {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// The task of the transfer
        #[arg(required_unless_present = "key", conflicts_with = "key")]
        transfer: Option<String>,
        /// The CommandKey of a transfer that another server asked for (hearthctl transfer list)
        #[arg(long, value_name = "COMMANDKEY")]
        key: Option<String>,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
}
