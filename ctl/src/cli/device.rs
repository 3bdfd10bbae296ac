//! `hearthctl device`.

use super::{TaskOptions, duration};
use clap::{Args, Subcommand};
use std::time::Duration;

/// Devices.
#[derive(Subcommand, Debug)]
pub enum DeviceCommand {
    /// Lists devices, in the order of their ids
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl device list
  hearthctl device list --filter 'product_class = \"HomeRouter\" AND online = true'
  hearthctl device list -o json --limit 10"
    )]
    List {
        /// Conditions joined by AND: field = \"value\"; an asterisk at the end of a value matches
        /// any ending. Fields: id, serial_number, oui, product_class, manufacturer,
        /// software_version, remote_address, tag, online, state, paths of indexed parameters
        #[arg(long, value_name = "FILTER")]
        filter: Option<String>,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
    /// Finds devices by what is known of them; all conditions must hold
    #[command(
        visible_alias = "find",
        after_help = "Examples:
  hearthctl device search --serial '0000*'
  hearthctl device search --product-class HomeRouter --version '2.1*' --online
  hearthctl device search --tag beta --param Device.DeviceInfo.ProvisioningCode=gold

An asterisk at the end of a value matches any ending."
    )]
    Search(Box<Search>),
    /// Shows one device
    #[command(
        visible_alias = "show",
        after_help = "Examples:
  hearthctl device get 00D09E-HomeRouter-SIM000001
  hearthctl device get SIM000001 -o json"
    )]
    Get {
        /// The device: id, serial number, or the beginning of its id
        device: String,
    },
    /// How many devices there are, and how many are online
    #[command(after_help = "Examples:
  hearthctl device count")]
    Count,
    /// Shows what happens, as it happens; ends by Ctrl-C
    #[command(after_help = "Examples:
  hearthctl device watch
  hearthctl device watch 00D09E-HomeRouter-SIM000001 -o json
  hearthctl device watch --for 1m")]
    Watch {
        /// Only of this device
        device: Option<String>,
        /// End after so many events
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// End after this time
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        duration: Option<Duration>,
    },
    /// Forgets a device: parameters, history, open tasks. It comes back with its next Inform
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl device delete 00D09E-HomeRouter-SIM000001 --yes"
    )]
    Delete {
        /// The device: id or serial number
        device: String,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Shows, adds and removes tags
    #[command(after_help = "Examples:
  hearthctl device tag 00D09E-HomeRouter-SIM000001 beta site:berlin
  hearthctl device tag 00D09E-HomeRouter-SIM000001 --remove beta
  hearthctl device tag 00D09E-HomeRouter-SIM000001")]
    Tag {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// Tags to add: letters, digits, `.`, `_`, `:`, `-`
        tags: Vec<String>,
        /// A tag to remove; may be given again
        #[arg(long, value_name = "TAG")]
        remove: Vec<String>,
    },
    /// Registers a device before it is first seen
    #[command(after_help = "Examples:
  hearthctl device expect 00D09E-HomeRouter-SIM000001")]
    Expect {
        /// The device's id
        device: String,
    },
    /// Keeps a device out: its Informs are refused, until it is unblocked
    #[command(after_help = "Examples:
  hearthctl device block 00D09E-HomeRouter-SIM000001 --reason 'reported stolen'")]
    Block {
        /// The device: its id (it need not have been seen), or a known one's serial number
        device: String,
        /// Why; shown on the device
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Lets a blocked or retired device in again
    #[command(after_help = "Examples:
  hearthctl device unblock 00D09E-HomeRouter-SIM000001")]
    Unblock {
        /// The device: id, serial number, or the beginning of its id
        device: String,
    },
    /// Takes a device out of service: it stays known, and its Informs are refused
    #[command(after_help = "Examples:
  hearthctl device retire 00D09E-HomeRouter-SIM000001 --reason 'replaced'")]
    Retire {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// Why; shown on the device
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Says why a device doesn't connect, or that it does
    #[command(after_help = "Examples:
  hearthctl device why 00D09E-HomeRouter-SIM000001
  hearthctl device why 00D09E-HomeRouter-SIM000001 -o json

`!` is why, `?` may be, `·` is as it should be.")]
    Why {
        /// The device: its id (it need not have been seen), or a known one's serial number
        device: String,
    },
    /// Asks a device to connect now
    #[command(after_help = "Examples:
  hearthctl device wake 00D09E-HomeRouter-SIM000001")]
    Wake {
        /// The device: id, serial number, or the beginning of its id
        device: String,
    },
    /// Discovers names and reads all values, of the whole tree or below a path
    #[command(after_help = "Examples:
  hearthctl device refresh 00D09E-HomeRouter-SIM000001
  hearthctl device refresh 00D09E-HomeRouter-SIM000001 Device.WiFi.")]
    Refresh {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// A partial path, ending in a dot; the whole tree if not given
        path: Option<String>,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// Restarts a device; done when it has come back
    #[command(after_help = "Examples:
  hearthctl device reboot 00D09E-HomeRouter-SIM000001
  hearthctl device reboot 00D09E-HomeRouter-SIM000001 --no-wait")]
    Reboot {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// Resets a device to its factory settings; done when it has come back with 0 BOOTSTRAP
    #[command(after_help = "Examples:
  hearthctl device factory-reset 00D09E-HomeRouter-SIM000001 --yes")]
    FactoryReset {
        /// The device: id or serial number
        device: String,
        /// Don't ask
        #[arg(short, long)]
        yes: bool,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// What happened to a device, newest first
    #[command(after_help = "Examples:
  hearthctl device history 00D09E-HomeRouter-SIM000001
  hearthctl device history 00D09E-HomeRouter-SIM000001 --path Device.WiFi. --since 1day")]
    History {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// Only changes of this parameter or below this partial path
        #[arg(long, default_value = "", hide_default_value = true)]
        path: String,
        /// Not before: a time ago (2h) or a time (2026-01-31T12:00:00Z)
        #[arg(long, value_name = "WHEN")]
        since: Option<super::When>,
        /// Before: a time ago or a time
        #[arg(long, value_name = "WHEN")]
        until: Option<super::When>,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
    /// Spreads the periodic Informs of a fleet evenly over their interval
    ///
    /// Shows how many Informs fall into each slot of the interval as it is and as proposed. With
    /// --apply each device that differs gets a task that sets its PeriodicInformTime (and interval);
    /// it runs in the device's next own session: no device is woken. Can be stopped and called again.
    #[command(after_help = super::spread::EXAMPLES)]
    Spread(super::SpreadArgs),
    /// The last sessions of a device; with a session's id, what happened in it turn by turn
    #[command(after_help = "Examples:
  hearthctl device sessions 00D09E-HomeRouter-SIM000001
  hearthctl device sessions 00D09E-HomeRouter-SIM000001 01hzy3v7k2q4w6e8r0t2y4a6d8 -o json")]
    Sessions {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// The session, as the list names it
        session: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
        limit: u8,
    },
    /// Asks a device which RPC methods it implements
    #[command(after_help = "Examples:
  hearthctl device rpc-methods 00D09E-HomeRouter-SIM000001")]
    RpcMethods {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
}

/// Conditions of a search.
#[derive(Args, Debug, Clone, Default)]
#[group(skip)]
pub struct Search {
    /// Device id, or the beginning of it with an asterisk
    #[arg(long, value_name = "VALUE")]
    pub id: Option<String>,
    /// Serial number
    #[arg(long, value_name = "VALUE")]
    pub serial: Option<String>,
    /// OUI, 6 hexadecimal digits
    #[arg(long, value_name = "VALUE")]
    pub oui: Option<String>,
    /// Product class
    #[arg(long, value_name = "VALUE")]
    pub product_class: Option<String>,
    /// Manufacturer
    #[arg(long, value_name = "VALUE")]
    pub manufacturer: Option<String>,
    /// Software version
    #[arg(long, value_name = "VALUE")]
    pub version: Option<String>,
    /// Where it stands in its life: expected, new, active, silent, retired, blocked
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
    /// Tag; may be given again
    #[arg(long, value_name = "VALUE")]
    pub tag: Vec<String>,
    /// The address that it last came from
    #[arg(long, value_name = "VALUE")]
    pub address: Option<String>,
    /// Only devices that are online
    #[arg(long, conflicts_with = "offline")]
    pub online: bool,
    /// Only devices that are not online
    #[arg(long)]
    pub offline: bool,
    /// An indexed parameter's value; may be given again
    #[arg(long, value_name = "PATH=VALUE")]
    pub param: Vec<String>,
    /// At most so many; 0 for all
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub limit: usize,
}
