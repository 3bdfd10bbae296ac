//! The integration tests of `hearth-wakeup`: one program, so that it is linked once.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod https;
mod notify;
mod stun;
mod support;
mod wake;
mod xmpp;
