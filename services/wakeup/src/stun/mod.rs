//! The STUN server (TR-069 Annex G) and what it learns: which way leads to a device behind NAT, and
//! that this process's socket is the one that gets through.
//!
//! It answers every request, to the asker alone and never with much more than came; a source that
//! asks too often gets nothing. A binding is believed only from a signed request; without one, the
//! device itself tells it in its Inform (UDPConnectionRequestAddress), and what is remembered here
//! is only that the address has talked to this socket.

mod users;

use crate::config::StunConfig;
use crate::metrics::Metrics;
use crate::pace::{Grain, Pace};
use hearth_clients::{DeviceState, Result};
use hearth_proto::devicestate::v1::{NatBinding, NoteWakingRequest};
use hearth_runtime::{CancellationToken, Clock};
use hearth_types::DeviceKey;
use hearth_waking::stun::{Answer, BINDING_REQUEST, Message, answer};
use moka::sync::Cache;
use secrecy::ExposeSecret;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use users::Users;

/// Addresses and devices in memory at most.
const REMEMBERED: u64 = 1_000_000;
/// Requests at once for which a user is looked up; more are left unanswered, and come again.
const LOOKUPS: usize = 256;
/// Between two copies of a datagram: what loses one may lose its neighbour.
const GAP: Duration = Duration::from_millis(40);

/// The STUN socket, and what it knows. Cheap to clone.
#[derive(Clone)]
pub struct Stun {
    inner: Arc<Inner>,
}

struct Inner {
    socket: UdpSocket,
    here: SocketAddr,
    config: StunConfig,
    replica: String,
    devices: Arc<dyn DeviceState>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    users: Users,
    pace: Pace,
    lookups: Arc<Semaphore>,
    /// Addresses that wait for UDP connection requests behind this socket.
    heard: Cache<SocketAddr, ()>,
    /// What was noted of a device, and when.
    noted: Cache<DeviceKey, (SocketAddr, Instant)>,
}

/// What the socket works with.
pub struct StunDependencies {
    pub devices: Arc<dyn DeviceState>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// Tells this process from its replicas.
    pub replica: String,
}

impl Stun {
    pub fn new(
        socket: UdpSocket,
        config: StunConfig,
        with: StunDependencies,
    ) -> std::io::Result<Self> {
        let here = socket.local_addr()?;
        let users = Users::new(Arc::clone(&with.devices), &config.tenants);
        let inner = Inner {
            socket,
            here,
            replica: with.replica,
            users,
            devices: with.devices,
            clock: with.clock,
            metrics: with.metrics,
            pace: Pace::new(config.source_rate, Grain::Source),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            heard: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_idle(config.lifetime.0)
                .build(),
            noted: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(config.refresh.0)
                .build(),
            config,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether this process is the replica of that name.
    pub fn is(&self, replica: &str) -> bool {
        self.inner.replica == replica
    }

    /// Whether a device waits behind this address for what this socket sends.
    pub fn has_heard(&self, address: SocketAddr) -> bool {
        self.inner.heard.contains_key(&canonical(address))
    }

    /// Sends a datagram, so often.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&self, to: SocketAddr, payload: &[u8], copies: u32) -> std::io::Result<()> {
        let to = self.inner.fitting(to);
        for copy in 0..copies.clamp(1, 10) {
            if copy > 0 {
                tokio::time::sleep(GAP).await;
            }
            self.inner.socket.send_to(payload, to).await?;
        }
        Ok(())
    }

    /// Answers until `stop`.
    pub async fn serve(&self, stop: CancellationToken) {
        let mut buffer = vec![0; 2048];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.inner.socket.recv_from(&mut buffer) => received,
            };
            match received {
                Ok((length, from)) => self.take(&buffer[..length], from),
                // What an earlier answer brought back (ICMP), for one.
                Err(error) => tracing::debug!(%error, "the STUN socket"),
            }
        }
    }

    fn take(&self, datagram: &[u8], from: SocketAddr) {
        let inner = &self.inner;
        if inner.pace.take(from.ip()).is_err() {
            return inner.count("too_many");
        }
        let Ok(request) = Message::parse(datagram) else {
            return inner.count("unreadable");
        };
        if request.kind != BINDING_REQUEST {
            return inner.count("other");
        }
        if !request.is_signed() {
            let waits = request.is_connection_request_binding();
            let known = self.has_heard(from) && !request.is_binding_change();
            if waits && inner.config.authenticate && !known {
                return inner.reply(&request, from, Answer::Unauthorized, "unauthorized");
            }
            if waits {
                inner.heard.insert(canonical(from), ());
            }
            return inner.reply(&request, from, Answer::Binding(None), "answered");
        }
        let Ok(slot) = Arc::clone(&inner.lookups).try_acquire_owned() else {
            return inner.count("busy");
        };
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            inner.take_signed(&request, from).await;
            drop(slot);
        });
    }
}

impl Inner {
    async fn take_signed(&self, request: &Message, from: SocketAddr) {
        let Some(username) = request.username() else {
            return self.reply(request, from, Answer::NoUsername, "no_username");
        };
        let candidates = match self.users.find(username).await {
            Ok(candidates) => candidates,
            Err(error) => {
                tracing::debug!(%error, "a STUN user can't be looked up");
                return self.count("unavailable");
            }
        };
        let proved = candidates
            .iter()
            .find(|user| request.is_signed_with(user.password.expose_secret()));
        let Some(user) = proved else {
            return self.reply(request, from, Answer::Refused, "refused");
        };
        let password = user.password.expose_secret();
        self.reply(request, from, Answer::Binding(Some(password)), "answered");
        if !request.is_connection_request_binding() {
            return;
        }
        self.heard.insert(canonical(from), ());
        if let Err(error) = self.note(&user.device, from).await {
            tracing::debug!(device = %user.device, %error, "a binding can't be noted");
        }
    }

    /// Writes a binding down that is new, or was written long ago.
    async fn note(&self, device: &DeviceKey, from: SocketAddr) -> Result<()> {
        let from = canonical(from);
        if self
            .noted
            .get(device)
            .is_some_and(|(known, _)| known == from)
        {
            return Ok(());
        }
        self.noted.insert(device.clone(), (from, Instant::now()));
        let request = NoteWakingRequest {
            tenant: device.tenant.to_string(),
            device: device.device.to_string(),
            binding: Some(NatBinding {
                address: from.to_string(),
                replica: self.replica.clone(),
                time_us: self.clock.now_micros(),
                authenticated: true,
            }),
            ..NoteWakingRequest::default()
        };
        let noted = self.devices.note_waking(request).await;
        if noted.is_err() {
            // The next request tries again.
            self.noted.invalidate(device);
        }
        noted.map(drop)
    }

    fn reply(&self, request: &Message, from: SocketAddr, say: Answer<'_>, outcome: &str) {
        self.count(outcome);
        let Some((to, bytes)) = answer(request, canonical(from), self.here, say) else {
            return;
        };
        // A full socket buffer: the client comes again.
        if let Err(error) = self.socket.try_send_to(&bytes, self.fitting(to)) {
            tracing::debug!(%error, "a STUN answer is lost");
        }
    }

    fn count(&self, outcome: &str) {
        self.metrics.stun.with_label_values(&[outcome]).inc();
    }

    /// An address as the socket's family wants it.
    fn fitting(&self, to: SocketAddr) -> SocketAddr {
        match (self.here, to) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => to,
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
