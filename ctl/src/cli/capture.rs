//! `hearthctl capture`.

use clap::{Args, Subcommand};
use std::{path::PathBuf, time::Duration};

/// What to do with captures.
#[derive(Subcommand, Debug)]
pub enum CaptureCommand {
    /// Captures sessions that begin from now on: of one device, or by a rule
    #[command(after_help = "Examples:
  hearthctl capture start 00D09E-HomeRouter-SIM000001
  hearthctl capture start --oui 00D09E --product-class HomeRouter --sessions 20 --for 2h
  hearthctl capture start --any --sessions 5")]
    Start(Box<CaptureStartArgs>),
    /// Captures, the newest first
    #[command(after_help = "Examples:
  hearthctl capture list")]
    List,
    /// One capture: whose sessions, how many it holds, until when
    #[command(after_help = "Examples:
  hearthctl capture get 01hzy3v7k2q4w6e8r0t2y4a6d8")]
    Get {
        /// The capture's id
        capture: String,
    },
    /// Ends a capture; what it holds stays for a week
    #[command(after_help = "Examples:
  hearthctl capture stop 01hzy3v7k2q4w6e8r0t2y4a6d8")]
    Stop {
        /// The capture's id
        capture: String,
    },
    /// Prints what a capture holds, or writes it into a file
    #[command(after_help = "Examples:
  hearthctl capture download 01hzy3v7k2q4w6e8r0t2y4a6d8 session.txt
  hearthctl capture download 01hzy3v7k2q4w6e8r0t2y4a6d8 | less")]
    Download {
        /// The capture's id
        capture: String,
        /// The file; without it, the text is printed
        file: Option<PathBuf>,
    },
    /// Deletes a capture with what it holds
    #[command(after_help = "Examples:
  hearthctl capture delete 01hzy3v7k2q4w6e8r0t2y4a6d8")]
    Delete {
        /// The capture's id
        capture: String,
    },
}

/// Whose sessions, how many, for how long.
#[derive(Args, Debug, Clone)]
pub struct CaptureStartArgs {
    /// The device: id, serial number, or the beginning of its id
    #[arg(required_unless_present_any = ["oui", "product_class", "software", "any"])]
    #[arg(conflicts_with_all = ["oui", "product_class", "software", "any"])]
    pub device: Option<String>,
    /// Devices of this OUI
    #[arg(long, value_name = "OUI", conflicts_with = "any")]
    pub oui: Option<String>,
    /// Devices of this product class
    #[arg(long, value_name = "CLASS", conflicts_with = "any")]
    pub product_class: Option<String>,
    /// Devices of this software version, or of versions that begin so: '2.*'
    #[arg(long, value_name = "VERSION", conflicts_with = "any")]
    pub software: Option<String>,
    /// Any device
    #[arg(long)]
    pub any: bool,
    /// At most so many sessions, up to 100 [default: 1 of a device, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub sessions: Option<u32>,
    /// For how long, up to a day
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = super::duration)]
    pub duration: Duration,
}
