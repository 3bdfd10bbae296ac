//! What runs: the STUN socket, the listener for notifications, the XMPP connection.

use crate::WakeupConfig;
use crate::notify::Notifications;
use crate::stun::Stun;
use crate::xmpp::XmppTask;
use async_trait::async_trait;
use hearth_runtime::{BoxError, Service, ServiceContext};
use std::io;
use std::net::{SocketAddr, UdpSocket};

/// The role's UDP sockets, bound before anything else: a taken port is told at once.
#[derive(Debug, Default)]
pub struct Sockets {
    pub(crate) stun: Option<UdpSocket>,
    pub(crate) notifications: Option<UdpSocket>,
}

impl Sockets {
    /// Binds what the settings ask for.
    ///
    /// # Errors
    /// The key of the setting, and why its address can't be had.
    pub fn bind(config: &WakeupConfig) -> Result<Self, (&'static str, io::Error)> {
        let open = |key, address: Option<SocketAddr>| match address {
            None => Ok(None),
            Some(address) => {
                let bound = UdpSocket::bind(address).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                });
                bound.map(Some).map_err(|error| (key, error))
            }
        };
        Ok(Self {
            stun: open("wakeup.stun.listen", config.stun.listen)?,
            notifications: open("wakeup.notifications.listen", config.notifications.listen)?,
        })
    }

    /// Where the STUN server is, if there is one.
    pub fn stun_address(&self) -> Option<SocketAddr> {
        self.stun
            .as_ref()
            .and_then(|socket| socket.local_addr().ok())
    }

    /// Where notifications are taken, if they are.
    pub fn notification_address(&self) -> Option<SocketAddr> {
        let socket = self.notifications.as_ref();
        socket.and_then(|socket| socket.local_addr().ok())
    }
}

/// Runs the role's sockets: a [`Service`] named `wakeup`.
pub struct WakeupRole {
    pub(crate) stun: Option<Stun>,
    pub(crate) notifications: Option<Notifications>,
    pub(crate) xmpp: Option<XmppTask>,
}

#[async_trait]
impl Service for WakeupRole {
    fn name(&self) -> &str {
        "wakeup"
    }

    async fn run(self: Box<Self>, ctx: ServiceContext) -> Result<(), BoxError> {
        ctx.readiness.ready();
        let Self {
            stun,
            notifications,
            xmpp,
        } = *self;
        let stun = async {
            if let Some(stun) = &stun {
                stun.serve(ctx.stop.clone()).await;
            }
        };
        let notifications = async {
            if let Some(notifications) = &notifications {
                notifications.serve(ctx.stop.clone()).await;
            }
        };
        let xmpp = async {
            if let Some(xmpp) = xmpp {
                xmpp.run(ctx.stop.clone()).await;
            }
        };
        tokio::join!(stun, notifications, xmpp, ctx.stop.cancelled());
        Ok(())
    }
}
