//! `hearth demo`: the server with a small simulated fleet, and a tour through
//! what it does, by the public API.

mod show;
mod tour;

use crate::cli::DemoArgs;
use crate::config::HearthConfig;
use crate::server::Server;
use anyhow::{Context, Result};
use hearth_auth::ApiToken;
use hearth_runtime::Shutdown;
use hearth_sim::{Fleet, FleetOptions};
use show::Show;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tour::Tour;

/// Runs the demo. The exit code says whether the tour went well.
///
/// # Errors
/// When the server can't be started.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    let shutdown = Shutdown::new();
    shutdown.listen_to_signals()?;
    let temporary = args.data_dir.is_none().then(Temporary::new).transpose()?;
    let data_dir = match (&args.data_dir, &temporary) {
        (Some(given), _) => given.clone(),
        (None, Some(temporary)) => temporary.0.clone(),
        (None, None) => PathBuf::from("hearth-demo"),
    };
    let config = demo_config(data_dir.clone(), args.free_ports);
    hearth_telemetry::init_logs(&config.log)?;
    let show = Show::new();
    let server = Server::build(&config).await?;
    let addresses = Addresses::of(&server).context("the demo has all roles")?;
    let token = server.admin_token.clone().context("the demo has the API")?;
    let readiness = server.readiness();
    let fleet = fleet_options(&server, addresses, args.devices)?;
    let serving = tokio::spawn(server.run(shutdown.clone()));
    readiness.wait_all_ready().await;
    greet(addresses, &data_dir);

    let tour = Tour::connect(addresses.api, &token, show).await?;
    let (user, password) = (
        &fleet.connection_request_username,
        &fleet.connection_request_password,
    );
    tour.set_connection_request_login(user, password).await?;
    let fleet = Fleet::start(fleet).await.context("can't start the fleet")?;
    let outcome = tokio::select! {
        outcome = tour.run(args.devices as usize) => outcome,
        () = shutdown.requested() => Ok(()),
    };
    let code = match &outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe tour failed: {error:#}");
            ExitCode::FAILURE
        }
    };
    if outcome.is_ok() && !args.exit && !shutdown.is_requested() {
        farewell(addresses, &data_dir);
        shutdown.requested().await;
    }
    fleet.stop().await;
    // Asked for twice, it would end without draining.
    if !shutdown.is_requested() {
        shutdown.request();
    }
    serving.await.context("the server panicked")??;
    Ok(code)
}

/// The tour alone, of a server that runs already: for tests of other forms of it. `fleet` runs as long.
///
/// # Errors
/// What did not go as it should.
pub async fn tour_of(api: SocketAddr, token: &ApiToken, fleet: FleetOptions) -> Result<()> {
    let tour = Tour::connect(api, token, Show::new()).await?;
    let (user, password) = (
        &fleet.connection_request_username,
        &fleet.connection_request_password,
    );
    tour.set_connection_request_login(user, password).await?;
    let count = fleet.count;
    let fleet = Fleet::start(fleet).await.context("can't start the fleet")?;
    let outcome = tour.run(count).await;
    fleet.stop().await;
    outcome
}

/// The settings of a server that only this machine can reach.
fn demo_config(data_dir: PathBuf, free_ports: bool) -> HearthConfig {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, if free_ports { 0 } else { port }));
    let mut config = HearthConfig {
        data_dir,
        ..HearthConfig::default()
    };
    config.listen.cwmp = local(7547);
    config.listen.api = local(8080);
    config.listen.files = local(7567);
    config.listen.admin = local(9464);
    config.log.filter = std::env::var("HEARTH_LOG__FILTER").unwrap_or_else(|_| "warn".into());
    config.wakeup.allow_loopback = true;
    config
}

/// Where the demo's server listens.
#[derive(Clone, Copy)]
struct Addresses {
    cwmp: SocketAddr,
    api: SocketAddr,
    admin: SocketAddr,
}

impl Addresses {
    fn of(server: &Server) -> Option<Self> {
        Some(Self {
            cwmp: server.addresses.cwmp?,
            api: server.addresses.api?,
            admin: server.addresses.admin,
        })
    }
}

fn fleet_options(server: &Server, addresses: Addresses, count: u32) -> Result<FleetOptions> {
    let onboarding = server
        .onboarding
        .as_ref()
        .context("the demo has device-state")?;
    Ok(FleetOptions {
        username: onboarding.username.clone(),
        password: onboarding.password.clone(),
        count: count as usize,
        ..FleetOptions::new(format!("http://{}/", addresses.cwmp))
    })
}

fn greet(addresses: Addresses, data_dir: &Path) {
    println!(
        "Hearth demo: a server, a simulated fleet, one tour.\n\n\
         devices   http://{}/\nAPI       http://{}   (gRPC)\nmetrics   http://{}/metrics\ndata      {}",
        addresses.cwmp,
        addresses.api,
        addresses.admin,
        data_dir.display()
    );
}

fn farewell(addresses: Addresses, data_dir: &Path) {
    println!(
        "\nThe server goes on. In another terminal:\n\n  \
         export HEARTH_SERVER=http://{}\n  \
         export HEARTH_TOKEN_FILE={}\n  \
         hearthctl device list\n  \
         hearthctl device watch\n  \
         hearthctl task list\n\n\
         (hearthctl: cargo run --release --bin hearthctl -- …)   Ctrl-C ends the demo.",
        addresses.api,
        data_dir.join("admin.token").display()
    );
}

/// A data directory that goes when the demo ends.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self> {
        let name = format!("hearth-demo-{}", std::process::id());
        Ok(Self(std::env::temp_dir().join(name)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
