//! `hearth-sim storm`.

use clap::Args;
use hearth_sim::load::storm::{self, StormOptions, StormTenant};

use super::Login;
use super::load::print;

/// Options of `hearth-sim storm`.
#[derive(Debug, Args)]
pub struct StormArguments {
    /// The ACS's URL, without a tenant.
    #[arg(long, default_value = "http://127.0.0.1:7547/")]
    acs: String,
    /// A tenant and how many devices it has: `loud=5000`; may be given again.
    #[arg(long = "tenant", required = true, value_name = "NAME=COUNT", value_parser = tenant)]
    tenants: Vec<StormTenant>,
    #[command(flatten)]
    login: Login,
    /// The first device's number.
    #[arg(long, default_value_t = 7_000_000)]
    first_device: u32,
}

fn tenant(text: &str) -> Result<StormTenant, String> {
    let read = || {
        let (name, count) = text.split_once('=')?;
        let devices = count.parse().ok()?;
        (!name.is_empty()).then(|| StormTenant {
            name: name.to_owned(),
            devices,
        })
    };
    read().ok_or_else(|| "expected NAME=COUNT: loud=5000".to_owned())
}

/// Runs it and prints JSON.
pub async fn run(arguments: StormArguments) -> anyhow::Result<()> {
    let options = StormOptions {
        url: arguments.acs,
        tenants: arguments.tenants,
        username: arguments.login.username,
        password: arguments.login.password.as_str().into(),
        first_device: arguments.first_device,
    };
    let report = storm::run(&options).await?;
    print(&(serde_json::to_string_pretty(&report)? + "\n"));
    Ok(())
}
