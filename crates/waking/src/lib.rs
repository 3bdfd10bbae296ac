//! What travels over UDP to wake devices and from them, without I/O: every function here takes
//! bytes and gives bytes, and none panics on any input.
//!
//! - [`stun`]: Binding Requests and their answers (RFC 3489, TR-069 Annex G), by which a device
//!   behind NAT keeps a way to itself open;
//! - [`udp`]: UDP Connection Requests (TR-069 G.2.2.3), which take that way;
//! - [`lightweight`]: UDP Lightweight Notifications (TR-069 Annex M).

mod hex;
pub mod lightweight;
pub mod stun;
pub mod udp;

pub use hex::{hmac_sha1, matches_hex, to_hex};
