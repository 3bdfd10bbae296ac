//! `hearthctl device spread`.

use super::duration;
use clap::Args;
use std::time::Duration;

/// Examples of `device spread`.
pub(super) const EXAMPLES: &str = "Examples:
  hearthctl device spread --interval 1h
  hearthctl device spread --filter 'product_class = \"HomeRouter\"' --interval 1h --apply --rate 20
  hearthctl device spread -o json";

/// `device spread`.
#[derive(Args, Debug)]
pub struct SpreadArgs {
    /// Which devices, as in `device list`; without: all
    #[arg(long, value_name = "FILTER")]
    pub filter: Option<String>,
    /// The interval that all get, 1m to 7days; without: each device keeps its own
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub interval: Option<Duration>,
    /// Make the tasks
    #[arg(long)]
    pub apply: bool,
    /// Tasks made in a second, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub rate: u32,
    /// Slots that the interval is shown in, 1 to 1440
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub slots: u32,
}
