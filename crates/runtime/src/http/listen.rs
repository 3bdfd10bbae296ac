//! Binding a TCP listener with an error that says what to do.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Pending connections the kernel may hold: a region coming back from a power cut knocks at once.
const BACKLOG: u32 = 4096;

/// A listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address is taken.
    #[error("{addr} is in use by another process: stop it or choose another address")]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The port needs a privilege.
    #[error(
        "no permission to listen on {addr}: choose a port from 1024 up or grant CAP_NET_BIND_SERVICE"
    )]
    Denied {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address is not one of this machine.
    #[error("{addr} is not an address of this machine")]
    NotLocal {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Anything else.
    #[error("can't listen on {addr}")]
    Other {
        /// The address asked for.
        addr: SocketAddr,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
}

/// Listens on `addr` (port 0 for any free one), with a deep backlog and address reuse, so that a
/// restart need not wait for old connections to be forgotten.
///
/// # Errors
/// See [`BindError`].
pub fn bind(addr: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => BindError::InUse { addr },
        std::io::ErrorKind::PermissionDenied => BindError::Denied { addr },
        std::io::ErrorKind::AddrNotAvailable => BindError::NotLocal { addr },
        _ => BindError::Other { addr, source },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = first.local_addr().unwrap();
        let error = bind(addr).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains(&addr.to_string()));
        let error = bind("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert!(matches!(error, BindError::NotLocal { .. }), "{error:?}");
    }
}
