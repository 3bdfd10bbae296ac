//! `hearth-sim hold` and `large`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hearth_sim::load::crowd::{self, HoldOptions, LargeOptions};

use super::load::{DialingArguments, print};
use super::{Login, duration};

/// Options of `hearth-sim hold`.
#[derive(Debug, Args)]
pub struct HoldArguments {
    /// The ACS's URL.
    #[arg(long, default_value = "http://127.0.0.1:7547/")]
    acs: String,
    #[command(flatten)]
    dialing: DialingArguments,
    /// Connections.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// For how long they are held; shorter than the server keeps idle ones.
    #[arg(long, default_value = "5s", value_parser = duration)]
    time: Duration,
    /// The server's process id: its memory is read.
    #[arg(long)]
    server_pid: u32,
}

/// Options of `hearth-sim large`.
#[derive(Debug, Args)]
pub struct LargeArguments {
    /// The ACS's URL.
    #[arg(long, default_value = "http://127.0.0.1:7547/")]
    acs: String,
    #[command(flatten)]
    dialing: DialingArguments,
    /// The API's URL.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    api: String,
    /// The file with the API's token.
    #[arg(long)]
    token_file: PathBuf,
    #[command(flatten)]
    login: Login,
    /// Devices, each with one answer.
    #[arg(long, default_value_t = 1000)]
    devices: u32,
    /// The first device's number.
    #[arg(long, default_value_t = 5_000_000)]
    first_device: u32,
    /// Parameters in an answer.
    #[arg(long, default_value_t = 2000)]
    values: usize,
    /// Bytes of an answer.
    #[arg(long, default_value_t = 1 << 20)]
    bytes: usize,
    /// The server's process id: its memory is read.
    #[arg(long)]
    server_pid: u32,
}

/// Runs it and prints JSON.
pub async fn hold(arguments: HoldArguments) -> anyhow::Result<()> {
    let options = HoldOptions {
        url: arguments.acs,
        dialing: arguments.dialing.options(),
        connections: arguments.connections,
        time: arguments.time,
        server_pid: arguments.server_pid,
    };
    let report = crowd::hold(&options).await?;
    print(&(serde_json::to_string_pretty(&report)? + "\n"));
    Ok(())
}

/// Runs it and prints JSON.
pub async fn large(arguments: LargeArguments) -> anyhow::Result<()> {
    let options = LargeOptions {
        url: arguments.acs,
        dialing: arguments.dialing.options(),
        api: arguments.api,
        token: arguments.token_file,
        username: arguments.login.username,
        password: arguments.login.password.as_str().into(),
        devices: arguments.devices,
        first_device: arguments.first_device,
        values: arguments.values,
        bytes: arguments.bytes,
        server_pid: arguments.server_pid,
    };
    let report = crowd::large(&options).await?;
    print(&(serde_json::to_string_pretty(&report)? + "\n"));
    Ok(())
}
