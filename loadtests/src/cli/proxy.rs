//! `hearth-sim proxy`.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Args;
use hearth_sim::faults::proxy::{Proxy, Route, control};
use tokio::net::TcpListener;

/// Options of `hearth-sim proxy`.
#[derive(Debug, Args)]
pub struct ProxyArguments {
    /// A way through it, such as `nats-1=127.0.0.1:14222=127.0.0.1:4222`; may be given again.
    #[arg(long = "route", value_name = "NAME=LISTEN=TO", required = true)]
    routes: Vec<Route>,
    /// Where commands are taken: `cut NAME`, `silent NAME`, `delay NAME MS`, `open NAME`, `list`,
    /// a line each.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    control: SocketAddr,
}

/// Serves until interrupted. The first line on stdout is JSON: the control's address and where
/// each route listens.
pub async fn run(arguments: ProxyArguments) -> anyhow::Result<()> {
    let proxy = Proxy::start(&arguments.routes).await?;
    let listener = TcpListener::bind(arguments.control)
        .await
        .with_context(|| format!("cannot listen on {} for commands", arguments.control))?;
    let routes: serde_json::Map<_, _> = proxy
        .routes()
        .map(|(name, listen, ..)| (name.to_owned(), listen.to_string().into()))
        .collect();
    let control = listener.local_addr()?;
    let line = serde_json::json!({ "control": control, "routes": routes });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush())?;
    drop(out);
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        () = control::serve(listener, proxy) => {}
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}
