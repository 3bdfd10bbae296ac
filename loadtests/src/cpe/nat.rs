//! A device behind NAT (TR-069 Annex G): it keeps its way open by STUN, reports the address that it
//! has there, and takes UDP connection requests on the same socket.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hearth_waking::stun::{self, Message, attribute};
use hearth_waking::udp::ConnectionRequest;
use tokio::net::UdpSocket;

use super::device::Device;

/// How often the way is kept open, by the devices' clock; sooner until it is.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// The numbers of the last request that was taken.
#[derive(Default)]
struct Last {
    ts: u32,
    id: u32,
}

impl Device {
    /// Talks to the STUN server until the fleet stops.
    pub(crate) async fn behind_nat(self: Arc<Self>, server: SocketAddr) {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let Ok(socket) = UdpSocket::bind(any).await else {
            return;
        };
        let stop = self.shared.stop.clone();
        let mut last = Last::default();
        let (mut signed, mut known) = (false, false);
        let mut buffer = vec![0; 2048];
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {
                    let _ = socket.send_to(&self.binding_request(signed), server).await;
                    let pause = if known { KEEP_ALIVE } else { RETRY };
                    next = tokio::time::Instant::now() + self.shared.scale.real(pause);
                }
                received = socket.recv_from(&mut buffer) => {
                    let Ok((length, from)) = received else { continue };
                    // What else comes from elsewhere does not get through a NAT.
                    if from != server {
                        continue;
                    }
                    let datagram = &buffer[..length];
                    match Message::parse(datagram) {
                        Ok(answer) if answer.kind == stun::BINDING_ERROR => {
                            // 401: the next one is signed.
                            signed = true;
                        }
                        Ok(answer) => {
                            if let Some(address) = answer.address(attribute::MAPPED_ADDRESS) {
                                known = true;
                                self.has_address(address);
                            }
                        }
                        Err(_) => self.asked_by_udp(datagram, &mut last),
                    }
                }
            }
        }
    }

    fn binding_request(&self, signed: bool) -> Vec<u8> {
        let mut state = self.state.lock();
        let mut transaction = [0; 16];
        for part in transaction.chunks_mut(8) {
            part.copy_from_slice(&state.dice.number().to_le_bytes());
        }
        let request = Message::new(stun::BINDING_REQUEST, transaction)
            .with(attribute::CONNECTION_REQUEST_BINDING, &stun::TR111[..]);
        if !signed {
            return request.to_bytes();
        }
        let value = |name: &str| state.tree.root_value(name).to_owned();
        request
            .with_username(&value("ManagementServer.Username"))
            .to_signed_bytes(&value("ManagementServer.Password"))
    }

    /// Its notification is always active (TR-181 2.17, UDPConnectionRequestAddress).
    fn has_address(&self, address: SocketAddr) {
        let mut state = self.state.lock();
        state.tree.set_root("ManagementServer.NATDetected", "true");
        let name = "ManagementServer.UDPConnectionRequestAddress";
        if state.tree.set_root(name, &address.to_string()) {
            for name in [name, "ManagementServer.NATDetected"] {
                let path = state.tree.path(name);
                state.changed.insert(path);
            }
            state.event("4 VALUE CHANGE", "");
            drop(state);
            self.wake.notify_one();
        }
    }

    /// TR-069 G.2.2.3: signed, newer than the last one, and another. A copy is neither.
    fn asked_by_udp(&self, datagram: &[u8], last: &mut Last) {
        let (username, password) = {
            let state = self.state.lock();
            let value = |name: &str| state.tree.root_value(name).to_owned();
            (
                value("ManagementServer.ConnectionRequestUsername"),
                value("ManagementServer.ConnectionRequestPassword"),
            )
        };
        let Some(request) = ConnectionRequest::verify(datagram, &password) else {
            return;
        };
        if request.username == username && request.ts > last.ts && request.id != last.id {
            *last = Last {
                ts: request.ts,
                id: request.id,
            };
            // Busy: it says nothing, by UDP.
            let _ = self.requested();
        }
    }
}
