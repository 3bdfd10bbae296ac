//! `hearthctl dead-letters`.

use clap::{Args, Subcommand};

/// Dead letters.
#[derive(Subcommand, Debug)]
pub enum DeadLettersCommand {
    /// Lists events that could not be worked on, the oldest first
    #[command(
        visible_alias = "ls",
        after_help = "Examples:
  hearthctl dead-letters list
  hearthctl dead-letters list --all-tenants --stream inform
  hearthctl dead-letters list --reason 'no known kind' -o json"
    )]
    List {
        /// Which.
        #[command(flatten)]
        which: DeadLetterFilterArgs,
        /// At most so many; 0 for all
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
    },
    /// Shows one with its event, secrets masked
    #[command(
        visible_alias = "show",
        after_help = "Examples:
  hearthctl dead-letters get 17"
    )]
    Get {
        /// Its number
        number: u64,
    },
    /// Has events worked on again, once the cause is gone
    ///
    /// An event whose cause is still there becomes a dead letter again, with a new number.
    #[command(after_help = "Examples:
  hearthctl dead-letters replay 17 18
  hearthctl dead-letters replay --reason 'no known kind'
  hearthctl dead-letters replay --all")]
    Replay {
        /// Their numbers
        #[arg(value_name = "NUMBER", conflicts_with_all = ["all", "stream", "device", "reason"])]
        numbers: Vec<u64>,
        /// All that there are now
        #[arg(long)]
        all: bool,
        /// Which.
        #[command(flatten)]
        which: DeadLetterFilterArgs,
    },
    /// Removes dead letters; their events are lost
    #[command(
        visible_alias = "rm",
        after_help = "Examples:
  hearthctl dead-letters delete 17 18"
    )]
    Delete {
        /// Their numbers
        #[arg(required = true, value_name = "NUMBER")]
        numbers: Vec<u64>,
    },
}

/// Which dead letters; all conditions must hold.
#[derive(Args, Debug, Clone, Default)]
#[group(skip)]
pub struct DeadLetterFilterArgs {
    /// Only of this kind: inform, values, transfer, task, device
    #[arg(long, value_name = "KIND")]
    pub stream: Option<String>,
    /// Only of this device, by its id
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// Only those whose reason has this in it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Of all tenants, where the token may reach them
    #[arg(long)]
    pub all_tenants: bool,
}
