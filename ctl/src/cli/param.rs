//! `hearthctl param`, `attr` and `object`.

use super::TaskOptions;
use clap::{Args, Subcommand};

/// Parameters.
#[derive(Subcommand, Debug)]
pub enum ParamCommand {
    /// Lists parameters as they were last known, without asking the device
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl param list 00D09E-HomeRouter-SIM000001
  hearthctl param list 00D09E-HomeRouter-SIM000001 Device.WiFi. --values-only"
    )]
    List {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// A parameter, or a partial path ending in a dot for all below it
        path: Option<String>,
        /// Leave objects out
        #[arg(long)]
        values_only: bool,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
    /// Reads parameters from the device now
    #[command(after_help = "Examples:
  hearthctl param get 00D09E-HomeRouter-SIM000001 Device.DeviceInfo.UpTime
  hearthctl param get 00D09E-HomeRouter-SIM000001 Device.WiFi.SSID. -o json
  hearthctl param get 00D09E-HomeRouter-SIM000001 Device.DeviceInfo.UpTime --raw
  hearthctl param get 00D09E-HomeRouter-SIM000001 Device.DeviceInfo.UpTime --cached")]
    Get(Box<ParamGetArgs>),
    /// Sets parameters, all or none
    #[command(after_help = "Examples:
  hearthctl param set 00D09E-HomeRouter-SIM000001 Device.WiFi.SSID.1.SSID='My home'
  hearthctl param set SIM000001 Device.Time.Enable=1 --type Device.Time.Enable=boolean
  hearthctl param set SIM000001 --value-file Device.WiFi.AccessPoint.1.Security.KeyPassphrase=-

The type is the one that the device last reported, unless --type says another.
A value by --value-file does not stand in the shell's history.")]
    Set(Box<ParamSetArgs>),
    /// Asks the device for the names of parameters and objects
    #[command(
        visible_alias = "names",
        after_help = "Examples:
  hearthctl param discover 00D09E-HomeRouter-SIM000001
  hearthctl param discover 00D09E-HomeRouter-SIM000001 Device.WiFi. --next-level"
    )]
    Discover {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// A partial path, ending in a dot, or a parameter; the whole tree if not given
        path: Option<String>,
        /// Only the children of the path
        #[arg(long)]
        next_level: bool,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
}

/// `param get`.
#[derive(Args, Debug)]
pub struct ParamGetArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// Parameters, or partial paths ending in a dot
    #[arg(required = true)]
    pub paths: Vec<String>,
    /// What is known already, without asking the device
    #[arg(long, conflicts_with_all = ["no_wait", "wait_timeout", "priority", "deadline", "request_id", "no_wake", "max_attempts", "unseen"])]
    pub cached: bool,
    /// Only the values, one a line
    #[arg(long)]
    pub raw: bool,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// `param set`.
#[derive(Args, Debug)]
pub struct ParamSetArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// Parameters with their new values; what follows the first `=` is the value
    #[arg(value_name = "PATH=VALUE", required_unless_present = "value_file")]
    pub values: Vec<String>,
    /// A parameter whose new value is in a file (without the last line end); `-` is standard input
    #[arg(long, value_name = "PATH=FILE")]
    pub value_file: Vec<String>,
    /// A parameter's type: string, int, unsignedInt, long, unsignedLong, boolean, dateTime, base64,
    /// hexBinary
    #[arg(long = "type", value_name = "PATH=TYPE")]
    pub types: Vec<String>,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

/// Attributes.
#[derive(Subcommand, Debug)]
pub enum AttrCommand {
    /// Reads attributes from the device
    #[command(after_help = "Examples:
  hearthctl attr get 00D09E-HomeRouter-SIM000001 Device.DeviceInfo.SoftwareVersion")]
    Get {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// Parameters, or partial paths ending in a dot
        #[arg(required = true)]
        paths: Vec<String>,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// Sets attributes
    #[command(after_help = "Examples:
  hearthctl attr set 00D09E-HomeRouter-SIM000001 Device.WiFi.SSID.1.SSID --notification active
  hearthctl attr set 00D09E-HomeRouter-SIM000001 Device.WiFi. --access nobody")]
    Set(Box<AttrSetArgs>),
}

/// `attr set`.
#[derive(Args, Debug)]
pub struct AttrSetArgs {
    /// The device: id, serial number, or the beginning of its id
    pub device: String,
    /// Parameters, or partial paths ending in a dot
    #[arg(required = true)]
    pub paths: Vec<String>,
    /// off, passive, active, or 0 to 6
    #[arg(short, long, value_parser = notification, required_unless_present = "access")]
    pub notification: Option<u32>,
    /// Who may write besides this server: Subscriber, or nobody; may be given again
    #[arg(short, long)]
    pub access: Vec<String>,
    /// How the task is made.
    #[command(flatten)]
    pub task: TaskOptions,
}

fn notification(text: &str) -> Result<u32, String> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Ok(0),
        "passive" => Ok(1),
        "active" => Ok(2),
        other => match other.parse() {
            Ok(number @ 0..=6) => Ok(number),
            _ => Err("expected off, passive, active, or a number from 0 to 6".into()),
        },
    }
}

/// Objects.
#[derive(Subcommand, Debug)]
pub enum ObjectCommand {
    /// Makes an instance of an object, and sets its parameters
    #[command(after_help = "Examples:
  hearthctl object add 00D09E-HomeRouter-SIM000001 Device.NAT.PortMapping.
  hearthctl object add 00D09E-HomeRouter-SIM000001 Device.NAT.PortMapping. ExternalPort=8080 Enable=true
  hearthctl object add 00D09E-HomeRouter-SIM000001 Device.NAT.PortMapping.[web].

With an alias the device finds the instance by it, too, if it knows aliases.")]
    Add {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// The object without an instance (Device.NAT.PortMapping.), which may have an alias for the
        /// new one in brackets behind it
        object: String,
        /// Parameters of the new instance, relative to it
        #[arg(value_name = "NAME=VALUE")]
        values: Vec<String>,
        /// A parameter's type: string, int, unsignedInt, long, unsignedLong, boolean, …
        #[arg(long = "type", value_name = "NAME=TYPE")]
        types: Vec<String>,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
    /// Deletes an instance of an object
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl object delete 00D09E-HomeRouter-SIM000001 Device.NAT.PortMapping.3."
    )]
    Delete {
        /// The device: id, serial number, or the beginning of its id
        device: String,
        /// The instance: Device.NAT.PortMapping.3.
        object: String,
        /// How the task is made.
        #[command(flatten)]
        task: TaskOptions,
    },
}
