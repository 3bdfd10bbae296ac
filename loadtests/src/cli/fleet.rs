//! `hearth-sim fleet`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use hearth_cwmp::FaultCode;
use hearth_sim::{AuthStyle, Behaviour, FaultRate, Fleet, FleetOptions, Point, PowerLoss};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Login, duration, kinds};

/// Options of `hearth-sim fleet`.
#[derive(Debug, Args)]
pub struct FleetArguments {
    /// The ACS's URL.
    #[arg(long, default_value = "http://127.0.0.1:7547/")]
    acs: String,
    /// How many devices.
    #[arg(long, default_value_t = 6)]
    count: usize,
    /// `mixed`, or kinds separated by commas: router, ont, dsl, stb, voip, storage,
    /// model:FILE[+SERVICE…] (the Broadband Forum's model files), csv:FILE.
    #[arg(long, default_value = "mixed")]
    kind: String,
    #[command(flatten)]
    login: Login,
    /// Interval of periodic Informs.
    #[arg(long, default_value = "60s", value_parser = duration)]
    periodic: Duration,
    /// Spread the first Informs over this time.
    #[arg(long, default_value = "0s", value_parser = duration)]
    spread: Duration,
    /// Where the devices wait for connection requests.
    #[arg(long, default_value = "127.0.0.1:0")]
    cr_listen: SocketAddr,
    /// The devices are behind NAT, as it were: they talk to this STUN server, and take connection
    /// requests by UDP only.
    #[arg(long)]
    stun: Option<SocketAddr>,
    /// User of connection requests.
    #[arg(long, default_value = "acs")]
    cr_username: String,
    /// Password of connection requests.
    #[arg(
        long,
        env = "HEARTH_SIM_CR_PASSWORD",
        default_value = "connect",
        hide_env_values = true
    )]
    cr_password: String,
    /// Serial numbers are this and a number of six digits.
    #[arg(long, default_value = "SIM")]
    serial_prefix: String,
    /// The first number.
    #[arg(long, default_value_t = 1)]
    first: usize,
    /// The devices are not new: no `0 BOOTSTRAP`.
    #[arg(long)]
    known: bool,
    /// Sessions at once; further devices wait.
    #[arg(long, default_value_t = 512)]
    max_sessions: usize,
    /// Chance begins with this: the same seed, the same fleet.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Real seconds for one of the devices': less than 1 compresses time.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// Delay before each message, as with a satellite (about 600ms).
    #[arg(long, default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// Probability that power is lost at some point of an RPC.
    #[arg(long, default_value_t = 0.0)]
    power_loss: f64,
    /// Probability of fault 9002 in place of executing an RPC.
    #[arg(long, default_value_t = 0.0)]
    faults: f64,
    /// How the devices authenticate themselves.
    #[arg(long, value_enum, default_value_t = Auth::Challenge)]
    auth: Auth,
    /// Certificates of the authorities that an https ACS is trusted by (PEM).
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Stop after this time.
    #[arg(long = "for", value_parser = duration)]
    run_for: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Auth {
    None,
    Challenge,
    Basic,
    UnauthenticatedFirst,
}

impl FleetArguments {
    fn options(&self) -> anyhow::Result<FleetOptions> {
        let mut options = FleetOptions::new(&self.acs);
        options.count = self.count;
        options.kinds = kinds(&self.kind)?;
        options.username.clone_from(&self.login.username);
        options.password = self.login.password.as_str().into();
        options.periodic = Some(self.periodic).filter(|p| !p.is_zero());
        options.start_spread = self.spread;
        options.connection_request_listen = self.cr_listen;
        options
            .connection_request_username
            .clone_from(&self.cr_username);
        options.connection_request_password = self.cr_password.as_str().into();
        options.serial_prefix.clone_from(&self.serial_prefix);
        options.first_number = self.first;
        options.bootstrap = !self.known;
        options.max_sessions = self.max_sessions;
        options.seed = self.seed;
        options.time_scale = self.time_scale;
        options.behaviour = self.behaviour();
        options.stun = self.stun;
        options.tls = self.ca.as_deref().map(trust).transpose()?;
        Ok(options)
    }

    fn behaviour(&self) -> Behaviour {
        let points = [
            Point::AfterInform,
            Point::BeforeEmptyPost,
            Point::BeforeExecute,
            Point::AfterExecute,
            Point::AfterResponse,
        ];
        let loss = |point| PowerLoss {
            point,
            method: None,
            chance: self.power_loss,
            times: None,
        };
        let fault = FaultRate {
            code: FaultCode::INTERNAL_ERROR,
            method: None,
            chance: self.faults,
            times: None,
        };
        Behaviour {
            latency: (self.latency, self.latency.mul_f64(1.2)),
            power_loss: points.map(loss).to_vec(),
            faults: vec![fault],
            authentication: match self.auth {
                Auth::None => AuthStyle::None,
                Auth::Challenge => AuthStyle::Challenge,
                Auth::Basic => AuthStyle::Basic,
                Auth::UnauthenticatedFirst => AuthStyle::UnauthenticatedFirst,
            },
            ..Behaviour::default()
        }
    }
}

/// A TLS configuration that trusts the authorities of a file.
fn trust(file: &Path) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let context = || format!("reading certificates from {}", file.display());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(context)? {
        roots
            .add(certificate.with_context(context)?)
            .with_context(context)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Runs a fleet until interrupted, with a line that tells how it is.
pub async fn run(arguments: FleetArguments) -> anyhow::Result<()> {
    let options = arguments.options()?;
    let fleet = Fleet::start(options)
        .await
        .context("the fleet doesn't start")?;
    eprintln!(
        "{} devices inform {}; connection requests at {}; Ctrl-C stops",
        fleet.devices().len(),
        arguments.acs,
        fleet.connection_request_address()
    );
    let end = arguments.run_for.map(|time| Instant::now() + time);
    // A terminal's line is rewritten every second, a log gets one every ten.
    let terminal = std::io::stderr().is_terminal();
    let mut every = tokio::time::interval(Duration::from_secs(if terminal { 1 } else { 10 }));
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let ended = async {
            match end {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = &mut interrupted => break,
            () = ended => break,
            _ = every.tick() => status(&fleet, terminal),
        }
    }
    status(&fleet, false);
    fleet.stop().await;
    Ok(())
}

fn status(fleet: &Fleet, terminal: bool) {
    let s = fleet.stats();
    let line = format!(
        "{}/{} devices informed, {} in session | {} sessions, {} failed | {} RPCs, {} transfers, {} doubled",
        s.informed,
        s.devices,
        s.in_session,
        s.sessions,
        s.failed_sessions,
        s.rpcs,
        s.transfers,
        fleet.doubled().len()
    );
    if terminal {
        eprint!("\r\x1b[2K{line}");
    } else {
        eprintln!("{line}");
    }
}
