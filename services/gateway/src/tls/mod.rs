//! TLS at the CPE edge, and who connects by it: certificates and trust anchors from files that may
//! change ([`files`], [`source`]), tickets that every replica opens ([`tickets`]), and what a
//! client certificate proves ([`door`], [`identity`], [`forwarded`]).
//!
//! Operators read docs/tls.md.

pub(crate) mod config;
pub(crate) mod door;
pub(crate) mod files;
pub(crate) mod forwarded;
pub(crate) mod front;
pub(crate) mod identity;
pub(crate) mod source;
pub(crate) mod tickets;

#[cfg(test)]
pub(crate) mod testing;
