//! A UDP connection request (TR-069 G.2.2.3) from its numbers to the datagrams, from the socket
//! that the device has talked to.

use crate::WakeupConfig;
use crate::guard::{self, Refused};
use crate::request::Login;
use crate::stun::Stun;
use async_trait::async_trait;
use hearth_clients::DeviceState;
use hearth_clients::remote::WakeupClient;
use hearth_proto::devicestate::v1::{GetConnectionRequestResponse, NoteWakingRequest, UdpRequest};
use hearth_proto::wakeup::v1::SendDatagramRequest;
use hearth_types::DeviceKey;
use hearth_waking::udp::ConnectionRequest;
use secrecy::ExposeSecret;
use std::{net::SocketAddr, sync::Arc};

/// The other replicas of the role.
#[async_trait]
pub trait Siblings: Send + Sync + 'static {
    /// Has one of them send a datagram from its socket, if it is the one that is meant; whether
    /// one was.
    async fn send(&self, request: SendDatagramRequest) -> bool;
}

#[async_trait]
impl Siblings for WakeupClient {
    async fn send(&self, request: SendDatagramRequest) -> bool {
        self.send_datagram_by_any(request).await
    }
}

/// What sends.
pub struct Sender {
    pub stun: Stun,
    pub siblings: Option<Arc<dyn Siblings>>,
    pub devices: Arc<dyn DeviceState>,
    pub copies: u32,
}

/// Why no datagram was sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// The address.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nobody else than the device must know that it was woken, so that the numbers count.
    #[error("its numbers can't be kept: {0}")]
    Kept(hearth_clients::Error),
    /// Nothing to sign with.
    #[error("a UDP connection request needs a user and a password, and none are known")]
    NoLogin,
    /// The socket.
    #[error("it can't be sent: {0}")]
    Socket(#[from] std::io::Error),
}

/// The numbers that follow the last ones: `ts` grows over restarts, replicas and clocks that go
/// wrong; `id` is another.
pub fn next_numbers(last: Option<&UdpRequest>, now_s: i64, dice: impl Fn() -> u32) -> UdpRequest {
    let now = u32::try_from(now_s).unwrap_or(u32::MAX).max(1);
    let after = last.map_or(1, |last| last.ts.saturating_add(1));
    let mut id = dice().max(1);
    if last.is_some_and(|last| last.id == id) {
        id = id.checked_add(1).unwrap_or(1);
    }
    UdpRequest {
        ts: now.max(after),
        id,
    }
}

/// The addresses that a device takes datagrams at: as STUN showed it, else as the device says.
pub async fn addresses(
    how: &GetConnectionRequestResponse,
    fresh: bool,
    config: &WakeupConfig,
) -> Result<(Vec<SocketAddr>, String), Refused> {
    let (text, replica) = match &how.binding {
        Some(binding) if fresh => (&binding.address, binding.replica.clone()),
        _ => (&how.udp_address, String::new()),
    };
    let found = guard::resolve_authority(text, config).await?;
    Ok((found, replica))
}

impl Sender {
    /// Keeps the request's numbers and sends it to the first of the addresses; answers that one.
    pub async fn send(
        &self,
        device: &DeviceKey,
        how: &GetConnectionRequestResponse,
        login: Option<&Login>,
        (addresses, replica): (Vec<SocketAddr>, String),
        now_s: i64,
    ) -> Result<SocketAddr, NotSent> {
        let login = login.ok_or(NotSent::NoLogin)?;
        let address = *addresses.first().ok_or(Refused::Url("it has no address"))?;
        let numbers = next_numbers(how.udp_request.as_ref(), now_s, rand::random);
        let note = NoteWakingRequest {
            tenant: device.tenant.to_string(),
            device: device.device.to_string(),
            udp_request: Some(numbers),
            ..NoteWakingRequest::default()
        };
        self.devices
            .note_waking(note)
            .await
            .map_err(NotSent::Kept)?;
        let request = ConnectionRequest {
            ts: numbers.ts,
            id: numbers.id,
            username: login.username.clone(),
            cnonce: format!("{:016x}", rand::random::<u64>()),
        };
        let payload = request.to_bytes(&address.to_string(), login.password.expose_secret());
        self.send_by_the_right_socket(address, replica, payload)
            .await?;
        Ok(address)
    }

    /// From the socket that the device has talked to: this one, a sibling's; where nobody knows
    /// the address (after a restart, for one), from this one.
    async fn send_by_the_right_socket(
        &self,
        address: SocketAddr,
        replica: String,
        payload: Vec<u8>,
    ) -> std::io::Result<()> {
        let here = self.stun.has_heard(address) || self.stun.is(&replica);
        if let (false, Some(siblings)) = (here, &self.siblings) {
            let request = SendDatagramRequest {
                replica,
                address: address.to_string(),
                payload: payload.clone(),
                copies: self.copies,
            };
            if siblings.send(request).await {
                return Ok(());
            }
        }
        self.stun.send(address, &payload, self.copies).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TR-069 G.2.2.3: neither may be 0, `ts` is greater than before, `id` another.
    #[test]
    fn numbers_grow_whatever_the_clock_says() {
        let first = next_numbers(None, 1000, || 0);
        assert_eq!((first.ts, first.id), (1000, 1));
        let second = next_numbers(Some(&first), 1000, || 1);
        assert_eq!((second.ts, second.id), (1001, 2), "in the same second");
        let third = next_numbers(Some(&second), 500, || 7);
        assert_eq!((third.ts, third.id), (1002, 7), "the clock was set back");
        assert_eq!(next_numbers(Some(&third), 2000, || 7).ts, 2000);
        let last = UdpRequest {
            ts: u32::MAX,
            id: u32::MAX,
        };
        let next = next_numbers(Some(&last), i64::MAX, || u32::MAX);
        assert_eq!((next.ts, next.id), (u32::MAX, 1));
        assert!(next_numbers(None, -5, || 3).ts > 0);
    }
}
