//! How a simulated device behaves: its transport, its quirks, its faults, and where it loses
//! power. Everything seen in the field that an ACS must live with, on demand.

use std::time::Duration;

use hearth_cwmp::{FaultCode, Namespace};

/// How a device authenticates itself to the ACS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthStyle {
    /// Not at all, even if asked.
    None,
    /// With what a 401 asks for, Digest before Basic; a digest's nonce is used again.
    #[default]
    Challenge,
    /// Basic in every request, without having been asked.
    Basic,
    /// Digest, but every request goes out without it first.
    UnauthenticatedFirst,
}

/// How a device sends cookies back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CookieStyle {
    /// As RFC 6265 says: `a=1; b=2`.
    #[default]
    Plain,
    /// Old: quoted, with `$Version` and joined by commas.
    Old,
}

/// A point of a session at which power can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The Inform is out, its response not read.
    AfterInform,
    /// Before the empty POST that lets the ACS ask.
    BeforeEmptyPost,
    /// A request of the ACS is read, not executed.
    BeforeExecute,
    /// It is executed, nothing sent.
    AfterExecute,
    /// Its response is out, the ACS's next message not read.
    AfterResponse,
}

/// Loss of power at a point.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerLoss {
    /// Where.
    pub point: Point,
    /// Only at this RPC; any if `None`. Of no meaning where no RPC is at hand.
    pub method: Option<String>,
    /// How probable it is each time, 0 to 1.
    pub chance: f64,
    /// How often at most; unlimited if `None`.
    pub times: Option<u32>,
}

impl PowerLoss {
    /// Once, for certain, at a point of an RPC.
    pub fn once(point: Point, method: &str) -> Self {
        Self {
            point,
            method: Some(method.to_owned()),
            chance: 1.0,
            times: Some(1),
        }
    }
}

/// A fault in place of executing an RPC.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRate {
    /// Which.
    pub code: FaultCode,
    /// Only for this RPC; for any if `None`.
    pub method: Option<String>,
    /// How probable it is each time, 0 to 1.
    pub chance: f64,
    /// How often at most; unlimited if `None`.
    pub times: Option<u32>,
}

/// How a device behaves. The default is a well-behaved, instantaneous one.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Before each message the device waits a random time between these two. Not scaled.
    pub latency: (Duration, Duration),
    /// Where power is lost.
    pub power_loss: Vec<PowerLoss>,
    /// Faults without cause.
    pub faults: Vec<FaultRate>,
    /// GetParameterValues and GetParameterAttributes of more names: 9004.
    pub max_names: Option<usize>,
    /// GetParameterValues that gives more values: 9004.
    pub max_values: Option<usize>,
    /// RPC methods that it hasn't got: 9000.
    pub unsupported: Vec<String>,
    /// Drops the session without a word at a method it hasn't got, instead of 9000.
    pub drop_at_unsupported: bool,
    /// Refuses an empty ParameterPath with 9005.
    pub refuse_empty_path: bool,
    /// Sends TransferComplete after its empty POST, when the ACS has nothing more to say.
    pub late_transfer_complete: bool,
    /// Executes downloads and uploads before it answers: Status 0, no TransferComplete.
    pub transfer_at_once: bool,
    /// After a loss of power it has forgotten that it was asked to reboot: no `M Reboot`.
    pub forget_reboot_cause: bool,
    /// Writes booleans as 0 and 1.
    pub booleans_as_digits: bool,
    /// Refuses `true` and `false` in SetParameterValues with 9007.
    pub refuse_boolean_words: bool,
    /// Names a bad parameter's fault only for the first.
    pub first_fault_only: bool,
    /// How it authenticates itself.
    pub authentication: AuthStyle,
    /// A new TCP connection for each request.
    pub connection_per_turn: bool,
    /// Bodies in chunks, without Content-Length.
    pub chunked: bool,
    /// Bodies compressed.
    pub gzip: bool,
    /// How it sends cookies.
    pub cookies: CookieStyle,
    /// Sends the last session's cookies with an Inform.
    pub stale_cookies: bool,
    /// Probes with an empty POST before each Inform, as libcurl does for digest.
    pub probe: bool,
    /// The CWMP namespace it speaks; `None` for the one of its age: CWMP 1.0 for a device of
    /// TR-098, 1.2 for one of TR-181.
    pub namespace: Option<Namespace>,
    /// How long it takes to boot, by the device's scaled clock.
    pub boot_time: Duration,
    /// How long it waits for an answer of the ACS. Not scaled.
    pub timeout: Duration,
    /// What its connection-request server is like.
    pub listener: ListenerStyle,
}

/// What a device's connection-request server is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerStyle {
    /// Digest with qop, proper HTTP.
    #[default]
    Proper,
    /// Digest without qop.
    WithoutQop,
    /// Bare line feeds, a folded WWW-Authenticate, no Content-Length, no final blank line.
    Broken,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency: (Duration::ZERO, Duration::ZERO),
            power_loss: Vec::new(),
            faults: Vec::new(),
            max_names: None,
            max_values: None,
            unsupported: Vec::new(),
            drop_at_unsupported: false,
            refuse_empty_path: false,
            late_transfer_complete: false,
            transfer_at_once: false,
            forget_reboot_cause: false,
            booleans_as_digits: false,
            refuse_boolean_words: false,
            first_fault_only: false,
            authentication: AuthStyle::default(),
            connection_per_turn: false,
            chunked: false,
            gzip: false,
            cookies: CookieStyle::default(),
            stale_cookies: false,
            probe: false,
            namespace: None,
            boot_time: Duration::from_secs(2),
            timeout: Duration::from_secs(30),
            listener: ListenerStyle::default(),
        }
    }
}
