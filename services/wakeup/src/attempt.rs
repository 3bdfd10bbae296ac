//! One way after the other, until one leads to the device or none is left.

use crate::guard::{self, Refused, Target};
use crate::request::{self, Login, Reply};
use crate::service::Inner;
use crate::udp::{self, NotSent};
use crate::ways;
use hearth_proto::devicestate::v1::GetConnectionRequestResponse;
use hearth_proto::wakeup::v1::{WakeAttempt, WakeOutcome, WakeWay};
use hearth_types::DeviceKey;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// What came of one way.
pub(crate) enum Told {
    /// An outcome, in words.
    Ended(WakeOutcome, String),
    /// Its subnet has had its share; so long until there is room.
    Wait(Duration),
}

/// What came of all of them.
pub(crate) enum Tried {
    /// At least one way was tried.
    Ways(Vec<WakeAttempt>),
    /// None was, since a subnet has had its share.
    Wait(Duration),
}

impl Inner {
    /// Tries the ways of a device in their order.
    pub(crate) async fn try_ways(
        &self,
        key: &DeviceKey,
        how: &GetConnectionRequestResponse,
        login: Option<&Login>,
    ) -> Tried {
        let mut attempts = Vec::new();
        for way in ways::order(how, self.can(), self.clock.now_micros()) {
            let (outcome, detail) = match self.try_way(way, key, how, login).await {
                Told::Ended(outcome, detail) => (outcome, detail),
                Told::Wait(wait) if attempts.is_empty() => return Tried::Wait(wait),
                Told::Wait(_) => continue,
            };
            let labels = [ways::name(way), &ways::outcome_name(outcome)];
            self.metrics.attempts.with_label_values(&labels).inc();
            attempts.push(WakeAttempt {
                way: way.into(),
                outcome: outcome.into(),
                detail,
            });
            // A device that refuses or is busy was reached; the login is the same by every way.
            let reached = matches!(
                outcome,
                WakeOutcome::Accepted | WakeOutcome::Busy | WakeOutcome::Credentials
            );
            if reached {
                break;
            }
        }
        Tried::Ways(attempts)
    }

    async fn try_way(
        &self,
        way: WakeWay,
        key: &DeviceKey,
        how: &GetConnectionRequestResponse,
        login: Option<&Login>,
    ) -> Told {
        match way {
            WakeWay::Http => self.try_http(&how.url, login).await,
            WakeWay::Udp => self.try_udp(key, how, login).await,
            WakeWay::Xmpp => {
                let (outcome, detail) = match &self.xmpp {
                    Some(xmpp) => xmpp.ask(&how.jabber_id, login).await,
                    None => (WakeOutcome::Unreachable, "XMPP is not set up".into()),
                };
                Told::Ended(outcome, detail)
            }
            WakeWay::Unspecified => Told::Ended(WakeOutcome::NoAddress, String::new()),
        }
    }

    async fn try_http(&self, url: &str, login: Option<&Login>) -> Told {
        let limit = self.config.timeout.0;
        match timeout(limit, self.http(url, login)).await {
            Ok(Ok(told)) => told,
            Ok(Err(refused)) => in_words_of_guard(&refused),
            Err(_) => Told::Ended(
                WakeOutcome::Unreachable,
                format!(
                    "no answer within {limit:?}; the device may be off, or behind NAT or a firewall"
                ),
            ),
        }
    }

    async fn http(&self, url: &str, login: Option<&Login>) -> Result<Told, Refused> {
        let target = Target::parse(url)?;
        let addresses = target.resolve(&self.config).await?;
        if let Some(wait) = self.no_room(&addresses) {
            return Ok(Told::Wait(wait));
        }
        let mut last = (WakeOutcome::Unreachable, String::new());
        for address in addresses {
            // Boxed: a TLS connection under way is large, and many are.
            let sent = Box::pin(request::send(&self.manner, &target, address, login));
            last = match sent.await {
                Ok(reply) => return Ok(in_words(&reply)),
                Err(error) => (
                    WakeOutcome::Unreachable,
                    format!("can't connect to the device: {error}"),
                ),
            };
        }
        Ok(Told::Ended(last.0, last.1))
    }

    async fn try_udp(
        &self,
        key: &DeviceKey,
        how: &GetConnectionRequestResponse,
        login: Option<&Login>,
    ) -> Told {
        let Some(sender) = &self.udp else {
            return Told::Ended(WakeOutcome::Unreachable, "there is no STUN socket".into());
        };
        let now = self.clock.now_micros();
        let fresh = ways::has_binding(how, self.can(), now);
        let target = match udp::addresses(how, fresh, &self.config).await {
            Ok(target) => target,
            Err(refused) => return in_words_of_guard(&refused),
        };
        if let Some(wait) = self.no_room(&target.0) {
            return Told::Wait(wait);
        }
        match sender.send(key, how, login, target, now / 1_000_000).await {
            Ok(address) => Told::Ended(
                WakeOutcome::Accepted,
                format!(
                    "{} datagrams were sent to {address}; whether one arrived shows when the \
                     device informs",
                    sender.copies
                ),
            ),
            Err(NotSent::Refused(refused)) => in_words_of_guard(&refused),
            Err(error @ NotSent::NoLogin) => Told::Ended(
                WakeOutcome::Credentials,
                format!("{error}; set them with `hearthctl credential set --connection-request`"),
            ),
            Err(error) => Told::Ended(
                WakeOutcome::Unreachable,
                format!("no UDP connection request: {error}"),
            ),
        }
    }

    /// Whether the subnet of the first address has had its share, and for how long.
    fn no_room(&self, addresses: &[SocketAddr]) -> Option<Duration> {
        let first = addresses.first()?;
        self.subnets.take(first.ip()).err()
    }
}

fn in_words(reply: &Reply) -> Told {
    let (outcome, detail) = match reply {
        Reply::Accepted => (
            WakeOutcome::Accepted,
            "the device accepted; its Inform is due within 30 s".into(),
        ),
        Reply::Credentials(why) => (
            WakeOutcome::Credentials,
            format!("{why}; set them with `hearthctl credential set --connection-request`"),
        ),
        Reply::Busy => (
            WakeOutcome::Busy,
            "the device is busy (503); it will be in a session now or soon".into(),
        ),
        Reply::Status(status) => (
            WakeOutcome::Unreachable,
            format!("the device answered with status {status}"),
        ),
        Reply::Unreadable => (
            WakeOutcome::Unreachable,
            "the device's answer can't be read as HTTP".into(),
        ),
    };
    Told::Ended(outcome, detail)
}

fn in_words_of_guard(refused: &guard::Refused) -> Told {
    match refused {
        Refused::Address(address) => Told::Ended(
            WakeOutcome::Forbidden,
            format!("{refused}; {}", remedy(*address)),
        ),
        Refused::Url(_) => Told::Ended(WakeOutcome::Unreachable, refused.to_string()),
    }
}

/// What to do so that an address is asked.
fn remedy(address: std::net::IpAddr) -> &'static str {
    match address.to_canonical().is_loopback() {
        true => "for devices on the server's own machine set wakeup.allow_loopback=true",
        false => "allow its range in the server's configuration",
    }
}
