//! `hearthctl profile`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Quirk profiles.
#[derive(Subcommand, Debug)]
pub enum ProfileCommand {
    /// Lists quirk profiles, those that come with the server too
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl profile list
  hearthctl profile list -o yaml"
    )]
    List {
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 0, value_name = "N")]
        limit: usize,
    },
    /// Shows one, as a file that `put` takes
    #[command(
        visible_alias = "show",
        after_help = "Examples:
  hearthctl profile get pre-amendment-1
  hearthctl profile get pre-amendment-1 > old-routers.yaml"
    )]
    Get {
        /// Its id
        id: String,
    },
    /// Keeps a profile; sessions that begin 10 seconds later follow it
    ///
    /// It replaces one of the same id; the server counts its versions.
    #[command(after_help = "Examples:
  hearthctl profile put -f old-routers.yaml
  hearthctl profile get pre-amendment-1 | hearthctl profile put -f -")]
    Put(ProfileFileArgs),
    /// Checks a profile, and says what would become of it
    #[command(after_help = "Examples:
  hearthctl profile check -f old-routers.yaml")]
    Check(ProfileFileArgs),
    /// Deletes a profile of the tenant's own; a built-in one of its id comes back
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl profile delete old-routers"
    )]
    Delete {
        /// Its id
        id: String,
    },
}

/// Where a profile is.
#[derive(Args, Debug)]
pub struct ProfileFileArgs {
    /// The file, YAML or JSON; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
}
