//! `hearthctl refusals`.

use clap::Subcommand;

/// Requests of devices that were turned away.
#[derive(Subcommand, Debug)]
pub enum RefusalsCommand {
    /// Lists who was turned away in the last 7 days and why, the last ones first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl refusals list
  hearthctl refusals list --device 00D09E-HomeRouter-SIM000001
  hearthctl refusals list --user router1 -o json
  hearthctl refusals list --address 192.0.2.7"
    )]
    List {
        /// Only of this device: its id (it need not have been seen), or a known one's serial number
        #[arg(long)]
        device: Option<String>,
        /// Only of this user name
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Only from this address
        #[arg(long)]
        address: Option<std::net::IpAddr>,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
    },
}
