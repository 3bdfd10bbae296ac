//! What a server counts about its connections.

use std::sync::atomic::{AtomicU64, Ordering};

use super::handshake::HandshakeFailure;

/// Counters of one server, shared with whoever exports them as metrics.
#[derive(Debug, Default)]
pub struct HttpStats {
    pub(super) open: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused_total: AtomicU64,
    pub(super) refused_peer: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) header_timeouts: AtomicU64,
    pub(super) idle_timeouts: AtomicU64,
    pub(super) stalled_writes: AtomicU64,
    pub(super) tls_failures: AtomicU64,
    pub(super) protocol_errors: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) cut_at_drain: AtomicU64,
    pub(super) handshakes_full: AtomicU64,
    pub(super) handshakes_resumed: AtomicU64,
    pub(super) proxy_failures: AtomicU64,
    handshake_failures: [AtomicU64; HandshakeFailure::ALL.len()],
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HttpStatsSnapshot {
    /// Connections open now.
    pub open: u64,
    /// Connections taken.
    pub accepted: u64,
    /// Connections refused: too many in total.
    pub refused_total: u64,
    /// Connections refused: too many from one peer.
    pub refused_peer: u64,
    /// Failures of accept(), such as no free file descriptor.
    pub accept_errors: u64,
    /// Connections closed because a header didn't arrive in time.
    pub header_timeouts: u64,
    /// Keep-alive connections closed for being idle.
    pub idle_timeouts: u64,
    /// Connections closed because the peer didn't read its response.
    pub stalled_writes: u64,
    /// TLS handshakes that failed or took too long.
    pub tls_failures: u64,
    /// Connections ended by an error of the protocol or of the peer.
    pub protocol_errors: u64,
    /// Connections cut at the end of the drain time.
    pub cut_at_drain: u64,
}

impl HttpStatsSnapshot {
    /// The values in the order of the fields, for exporters.
    pub const fn to_array(&self) -> [u64; 11] {
        [
            self.open,
            self.accepted,
            self.refused_total,
            self.refused_peer,
            self.accept_errors,
            self.header_timeouts,
            self.idle_timeouts,
            self.stalled_writes,
            self.tls_failures,
            self.protocol_errors,
            self.cut_at_drain,
        ]
    }
}

impl HttpStats {
    pub(super) fn handshake_failed(&self, reason: HandshakeFailure) {
        count(&self.tls_failures);
        count(&self.handshake_failures[reason as usize]);
    }

    /// TLS handshakes that failed, by reason.
    pub fn handshake_failures(&self) -> [(HandshakeFailure, u64); HandshakeFailure::ALL.len()] {
        HandshakeFailure::ALL.map(|reason| {
            let counter = &self.handshake_failures[reason as usize];
            (reason, counter.load(Ordering::Relaxed))
        })
    }

    /// TLS handshakes that were done: in full, and resumed.
    pub fn handshakes(&self) -> (u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.handshakes_full), get(&self.handshakes_resumed))
    }

    /// Connections that were closed for their PROXY header, or for coming from no proxy where only
    /// proxies may come.
    pub fn proxy_failures(&self) -> u64 {
        self.proxy_failures.load(Ordering::Relaxed)
    }

    /// Requests whose header is not HTTP, or breaks its rules of framing: refused before any
    /// service sees them, and their connections closed.
    pub fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// The counters now.
    pub fn snapshot(&self) -> HttpStatsSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HttpStatsSnapshot {
            open: get(&self.open),
            accepted: get(&self.accepted),
            refused_total: get(&self.refused_total),
            refused_peer: get(&self.refused_peer),
            accept_errors: get(&self.accept_errors),
            header_timeouts: get(&self.header_timeouts),
            idle_timeouts: get(&self.idle_timeouts),
            stalled_writes: get(&self.stalled_writes),
            tls_failures: get(&self.tls_failures),
            protocol_errors: get(&self.protocol_errors),
            cut_at_drain: get(&self.cut_at_drain),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
