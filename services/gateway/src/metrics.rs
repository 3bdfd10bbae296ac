//! Metrics of the CPE edge. Labels are from fixed lists, never what a device sends.

use std::sync::Arc;

use hearth_cwmp::Repairs;
use hearth_runtime::http::{HandshakeFailure, HttpStats, HttpStatsSnapshot};
use hearth_telemetry::{
    Histogram, IntCounter, IntCounterVec, MetricDef, MetricError, Registry, buckets,
};

use crate::admission::{Admission, Class};
use crate::refusal::Refusal;
use crate::tls::source::Followed;

const SESSIONS: MetricDef = MetricDef::counter(
    "hearth_gateway_sessions_total",
    "CWMP sessions: opened, ended by 204, expired (a turn came after silence or age had ended it), \
     superseded (a turn came after a newer Inform)",
)
.labels(&["event"]);
const INFORMS: MetricDef = MetricDef::counter(
    "hearth_gateway_informs_total",
    "Informs accepted, by their most urgent event",
)
.labels(&["class"]);
const TURNS: MetricDef = MetricDef::counter(
    "hearth_gateway_turns_total",
    "HTTP requests of CPEs, by what they carried",
)
.labels(&["kind"]);
const TURN_SECONDS: MetricDef = MetricDef::histogram(
    "hearth_gateway_turn_seconds",
    "Seconds from a request's header to its response, waiting for its body included",
    buckets::FAST_SECONDS,
)
.labels(&["kind"]);
const REFUSED: MetricDef = MetricDef::counter(
    "hearth_gateway_refused_total",
    "Requests answered with an HTTP error, by status and reason",
)
.labels(&["status", "reason"]);
const AUTH_FAILURES: MetricDef = MetricDef::counter(
    "hearth_gateway_auth_failures_total",
    "Credentials that were refused, by reason; challenges to requests without any as `missing`",
)
.labels(&["reason"]);
const FAULTS: MetricDef = MetricDef::counter(
    "hearth_gateway_faults_sent_total",
    "CWMP faults sent to CPEs, by code",
)
.labels(&["code"]);
const REPAIRS: MetricDef = MetricDef::counter(
    "hearth_gateway_repairs_total",
    "Deviations of CPEs from XML, SOAP and CWMP that were tolerated, by kind",
)
.labels(&["kind"]);
const COOKIES: MetricDef = MetricDef::counter(
    "hearth_gateway_cookies_ignored_total",
    "Session cookies that could not be used: of an ended session (over), or not sealed here \
     (unreadable)",
)
.labels(&["reason"]);
const BODY_BYTES: MetricDef = MetricDef::counter(
    "hearth_gateway_body_bytes_total",
    "Bytes of CPEs' bodies, as they came",
);
const UNSENDABLE: MetricDef = MetricDef::counter(
    "hearth_gateway_requests_unsendable_total",
    "Requests of tasks that could not be written as CWMP, and were given back",
);
const ANSWERS_TOO_LARGE: MetricDef = MetricDef::counter(
    "hearth_gateway_answers_too_large_total",
    "Answers to requests of tasks that were over a limit; their tasks ask for less",
);
const EVENTS_CUT: MetricDef = MetricDef::counter(
    "hearth_gateway_events_cut_total",
    "Events larger than the bus takes, published in pieces; what can't be cut is refused with fault \
     8004, or given back to its task",
);
const SESSION_RECORDS: MetricDef = MetricDef::counter(
    "hearth_gateway_session_records_total",
    "Records of sessions and captured turns: told (as events), lost (the bus didn't take them), left out \
     for want of memory (memory, capture)",
)
.labels(&["result"]);
const INFORMS_IN_FLIGHT: MetricDef = MetricDef::gauge(
    "hearth_gateway_informs_in_flight",
    "Informs being worked on now",
);
const INFORMS_LIMIT: MetricDef = MetricDef::gauge(
    "hearth_gateway_informs_limit",
    "Informs that may be worked on at once, as the time that they take allows",
);
const BODY_BYTES_IN_FLIGHT: MetricDef = MetricDef::gauge(
    "hearth_gateway_body_bytes_in_flight",
    "Bytes of bodies held now",
);
const CONNECTIONS: MetricDef =
    MetricDef::gauge("hearth_gateway_connections", "Connections of CPEs open now");
const CONNECTIONS_ACCEPTED: MetricDef = MetricDef::counter(
    "hearth_gateway_connections_accepted_total",
    "Connections of CPEs taken",
);
const CONNECTIONS_REFUSED: MetricDef = MetricDef::counter(
    "hearth_gateway_connections_refused_total",
    "Connections beyond the limits",
);
const CONNECTIONS_TIMED_OUT: MetricDef = MetricDef::counter(
    "hearth_gateway_connections_timed_out_total",
    "Connections closed for a late header, for silence, or for not reading a response",
);
const REQUESTS_MALFORMED: MetricDef = MetricDef::counter(
    "hearth_gateway_requests_malformed_total",
    "Requests that are not HTTP or break its framing (two lengths, folded headers): refused, and \
     their connections closed",
);
const REDIRECTED: MetricDef = MetricDef::counter(
    "hearth_gateway_redirected_total",
    "Sessions that were sent to another ACS URL",
);
const HANDSHAKES: MetricDef = MetricDef::counter(
    "hearth_gateway_tls_handshakes_total",
    "TLS handshakes that were done: full or resumed",
)
.labels(&["kind"]);
const HANDSHAKE_FAILURES: MetricDef = MetricDef::counter(
    "hearth_gateway_tls_handshake_failures_total",
    "TLS handshakes that failed, by reason",
)
.labels(&["reason"]);
const TLS_RELOADS: MetricDef = MetricDef::counter(
    "hearth_gateway_tls_reloads_total",
    "Changed certificates, trust anchors or revocation lists: taken (changed), or not usable (failed)",
)
.labels(&["result"]);
const TLS_EXPIRES: MetricDef = MetricDef::gauge(
    "hearth_gateway_tls_expires_seconds",
    "Seconds until a certificate or trust anchor ends or a revocation list is to be replaced, by kind \
     and name; below 0 when it has",
)
.labels(&["kind", "name"]);
const PROXY_FAILURES: MetricDef = MetricDef::counter(
    "hearth_gateway_proxy_failures_total",
    "Connections closed for a missing or wrong PROXY header, or for coming from no proxy where only \
     proxies may",
);

/// All metrics of this crate.
pub const METRICS: &[MetricDef] = &[
    SESSIONS,
    INFORMS,
    TURNS,
    TURN_SECONDS,
    REFUSED,
    AUTH_FAILURES,
    FAULTS,
    REPAIRS,
    COOKIES,
    BODY_BYTES,
    UNSENDABLE,
    ANSWERS_TOO_LARGE,
    EVENTS_CUT,
    SESSION_RECORDS,
    INFORMS_IN_FLIGHT,
    INFORMS_LIMIT,
    BODY_BYTES_IN_FLIGHT,
    CONNECTIONS,
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_REFUSED,
    CONNECTIONS_TIMED_OUT,
    REQUESTS_MALFORMED,
    REDIRECTED,
    HANDSHAKES,
    HANDSHAKE_FAILURES,
    TLS_RELOADS,
    TLS_EXPIRES,
    PROXY_FAILURES,
    crate::noted::METRICS[0],
    crate::noted::METRICS[1],
];

/// What becomes of sessions' records.
pub(crate) struct TimelineMetrics(IntCounterVec);

impl TimelineMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, MetricError> {
        registry.counter_vec(&SESSION_RECORDS).map(Self)
    }

    /// Something was told.
    pub(crate) fn told(&self) {
        self.0.with_label_values(&["told"]).inc();
    }

    /// Something was not: `lost` or `memory`.
    pub(crate) fn dropped(&self, why: &'static str) {
        self.0.with_label_values(&[why]).inc();
    }
}

/// What a request carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnKind {
    Inform,
    Empty,
    Response,
    Request,
    Fault,
    /// Nothing that could be read, or nothing that was read.
    Other,
}

impl TurnKind {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Inform, "inform"),
        (Self::Empty, "empty"),
        (Self::Response, "response"),
        (Self::Request, "request"),
        (Self::Fault, "fault"),
        (Self::Other, "other"),
    ];
}

/// Handles, resolved once.
pub(crate) struct Metrics {
    pub sessions_opened: IntCounter,
    pub sessions_ended: IntCounter,
    pub sessions_expired: IntCounter,
    pub sessions_superseded: IntCounter,
    pub cookies_unreadable: IntCounter,
    pub body_bytes: IntCounter,
    pub unsendable: IntCounter,
    pub events_cut: IntCounter,
    pub answers_too_large: IntCounter,
    informs: [IntCounter; Class::ALL.len()],
    turns: [(IntCounter, Histogram); TurnKind::ALL.len()],
    refused: IntCounterVec,
    auth_failures: IntCounterVec,
    faults: IntCounterVec,
    repairs: IntCounterVec,
    pub cookies_over: IntCounter,
    pub redirected: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, MetricError> {
        let sessions = registry.counter_vec(&SESSIONS)?;
        let informs = registry.counter_vec(&INFORMS)?;
        let turns = registry.counter_vec(&TURNS)?;
        let seconds = registry.histogram_vec(&TURN_SECONDS)?;
        let cookies = registry.counter_vec(&COOKIES)?;
        Ok(Self {
            sessions_opened: sessions.with_label_values(&["opened"]),
            sessions_ended: sessions.with_label_values(&["ended"]),
            sessions_expired: sessions.with_label_values(&["expired"]),
            sessions_superseded: sessions.with_label_values(&["superseded"]),
            cookies_unreadable: cookies.with_label_values(&["unreadable"]),
            cookies_over: cookies.with_label_values(&["over"]),
            body_bytes: registry.counter(&BODY_BYTES)?,
            unsendable: registry.counter(&UNSENDABLE)?,
            events_cut: registry.counter(&EVENTS_CUT)?,
            answers_too_large: registry.counter(&ANSWERS_TOO_LARGE)?,
            informs: Class::ALL.map(|class| informs.with_label_values(&[class.label()])),
            turns: TurnKind::ALL.map(|(_, label)| {
                (
                    turns.with_label_values(&[label]),
                    seconds.with_label_values(&[label]),
                )
            }),
            refused: registry.counter_vec(&REFUSED)?,
            auth_failures: registry.counter_vec(&AUTH_FAILURES)?,
            faults: registry.counter_vec(&FAULTS)?,
            repairs: registry.counter_vec(&REPAIRS)?,
            redirected: registry.counter(&REDIRECTED)?,
        })
    }

    /// An Inform was accepted.
    pub(crate) fn informed(&self, class: Class) {
        self.informs[class as usize].inc();
        self.sessions_opened.inc();
    }

    /// A request was answered.
    pub(crate) fn turn(&self, kind: TurnKind, seconds: f64) {
        let (count, time) = &self.turns[kind as usize];
        count.inc();
        time.observe(seconds);
    }

    /// A request was refused.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refused
            .with_label_values(&[refusal.status().as_str(), refusal.reason()])
            .inc();
    }

    /// Credentials were refused, or missing.
    pub(crate) fn auth_failed(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// A fault goes out.
    pub(crate) fn fault(&self, code: u32) {
        self.faults.with_label_values(&[&code.to_string()]).inc();
    }

    /// What the decoder put right.
    pub(crate) fn repaired(&self, repairs: &Repairs) {
        if repairs.is_clean() {
            return;
        }
        for (kind, count) in repairs.iter().filter(|(_, count)| *count > 0) {
            self.repairs
                .with_label_values(&[kind])
                .inc_by(u64::from(count));
        }
    }
}

/// Registers what admission and the HTTP server count themselves.
pub(crate) fn register_levels(
    registry: &Registry,
    levels: impl AsRef<Admission> + Send + Sync + 'static,
    stats: Vec<Arc<HttpStats>>,
) -> Result<(), MetricError> {
    let defs = [
        INFORMS_IN_FLIGHT,
        INFORMS_LIMIT,
        BODY_BYTES_IN_FLIGHT,
        CONNECTIONS,
        CONNECTIONS_ACCEPTED,
        CONNECTIONS_REFUSED,
        CONNECTIONS_TIMED_OUT,
        REQUESTS_MALFORMED,
        PROXY_FAILURES,
    ];
    registry.polled(&defs, move || {
        let (informs, bytes) = levels.as_ref().levels();
        let sum = |read: fn(&HttpStatsSnapshot) -> u64| -> u64 {
            stats.iter().map(|stats| read(&stats.snapshot())).sum()
        };
        #[allow(clippy::cast_precision_loss)]
        let values = [
            informs as u64,
            levels.as_ref().limit() as u64,
            bytes as u64,
            sum(|http| http.open),
            sum(|http| http.accepted),
            sum(|http| http.refused_total + http.refused_peer),
            sum(|http| http.header_timeouts + http.idle_timeouts + http.stalled_writes),
            stats.iter().map(|stats| stats.malformed()).sum(),
            stats.iter().map(|stats| stats.proxy_failures()).sum(),
        ]
        .map(|value| value as f64);
        values.to_vec()
    })
}

/// Registers what the TLS listener counts itself.
pub(crate) fn register_tls(registry: &Registry, stats: Arc<HttpStats>) -> Result<(), MetricError> {
    #[allow(clippy::cast_precision_loss)]
    let value = |count: u64| vec![count as f64];
    let of = stats.clone();
    registry.polled_for(&[HANDSHAKES], &["full"], move || value(of.handshakes().0))?;
    let of = stats.clone();
    registry.polled_for(&[HANDSHAKES], &["resumed"], move || {
        value(of.handshakes().1)
    })?;
    for reason in HandshakeFailure::ALL {
        let of = stats.clone();
        registry.polled_for(&[HANDSHAKE_FAILURES], &[reason.label()], move || {
            let counts = of.handshake_failures();
            let found = counts.into_iter().find(|(of, _)| *of == reason);
            value(found.map_or(0, |(_, count)| count))
        })?;
    }
    Ok(())
}

/// What following the files of TLS counts and shows.
pub(crate) fn followed(registry: &Registry) -> Result<Followed, MetricError> {
    let reloads = registry.counter_vec(&TLS_RELOADS)?;
    Ok(Followed {
        changed: reloads.with_label_values(&["changed"]),
        failed: reloads.with_label_values(&["failed"]),
        expires: registry.gauge_f64_vec(&TLS_EXPIRES)?,
    })
}
