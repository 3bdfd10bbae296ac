//! `hearthctl policy` and `line`.

use clap::Subcommand;
use std::path::PathBuf;

/// The policy of the edge.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Shows the tenant's policy for the edge, without secrets
    #[command(after_help = "Examples:
  hearthctl policy show
  hearthctl policy show -o json")]
    Show,
    /// Changes fields of the policy; in force everywhere within 10 seconds
    ///
    /// A value is a word, a number, or JSON; `FIELD=@FILE` reads it from a file (`@-`: standard
    /// input), which is how a secret is given. `FIELD=` goes back to the default.
    #[command(after_help = "Examples:
  hearthctl policy set rotate_credentials=onboarding
  hearthctl policy set identity_proof=either trusted_networks='[{\"prefix\":\"192.0.2.0/24\"}]'
  hearthctl policy set expected_devices_only=true
  hearthctl policy set line_header=@header.json")]
    Set {
        /// What to change
        #[arg(required = true, value_name = "FIELD=VALUE")]
        fields: Vec<String>,
    },
}

/// Lines.
#[derive(Subcommand, Debug)]
pub enum LineCommand {
    /// Says which line an address or network has
    #[command(after_help = "Examples:
  hearthctl line set 192.0.2.7 --circuit-id 'dslam7 atm 0/3:8.35' --expire 1h
  hearthctl line set 2001:db8:1::/56 --remote-id 00d09e000001 --device 00D09E-HomeRouter-SIM000001")]
    Set {
        /// The address or network
        prefix: String,
        /// Circuit id (DHCP option 82)
        #[arg(long, value_name = "TEXT")]
        circuit_id: Option<String>,
        /// Remote id (DHCP option 82)
        #[arg(long, value_name = "TEXT")]
        remote_id: Option<String>,
        /// The only device that may come on it
        #[arg(long)]
        device: Option<String>,
        /// When it ends, from now; without: with its deletion
        #[arg(long, value_parser = super::duration, value_name = "DURATION")]
        expire: Option<std::time::Duration>,
    },
    /// Lists lines
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl line list"
    )]
    List {
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
    /// Forgets a line
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl line delete 192.0.2.7"
    )]
    Delete {
        /// The address or network, as it was set
        prefix: String,
    },
}

/// `credential import`.
#[derive(clap::Args, Debug)]
pub struct CredentialImportArgs {
    /// The file, CSV with a line of column names; `-` for standard input
    pub file: PathBuf,
    /// Only check
    #[arg(long)]
    pub dry_run: bool,
}
