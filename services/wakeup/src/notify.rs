//! Lightweight notifications (TR-069 Annex M): a datagram whose values become known like those of
//! an Inform. The signature is checked first, then the time, then whether it came before. Nothing
//! is ever answered.

use crate::config::NotificationConfig;
use crate::metrics::Metrics;
use crate::pace::{Grain, Pace};
use hearth_bus::{Bus, Publish, Stream};
use hearth_clients::DeviceState;
use hearth_proto::devicestate::v1::{CheckIdentityRequest, GetCredentialRequest};
use hearth_proto::events::v1::{Event, ValueSource, ValuesReported, event::Kind};
use hearth_proto::types::v1::{ParameterValue, ValueType as WireType};
use hearth_runtime::{CancellationToken, Clock};
use hearth_types::{DeviceId, DeviceKey, Timestamp, ValueType, is_secret_name};
use hearth_waking::lightweight::{MAX, Notification, Parameter};
use hearth_waking::{hmac_sha1, to_hex};
use moka::sync::Cache;
use prost::Message as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

/// Notifications that are worked on at once; more are dropped.
const AT_ONCE: usize = 256;
/// Notifications that are remembered so that none is taken twice.
const REMEMBERED: u64 = 1_000_000;

/// Types that a value may name.
const TYPES: [ValueType; 9] = [
    ValueType::String,
    ValueType::Int,
    ValueType::UnsignedInt,
    ValueType::Long,
    ValueType::UnsignedLong,
    ValueType::Boolean,
    ValueType::DateTime,
    ValueType::Base64,
    ValueType::HexBinary,
];

/// The listener for lightweight notifications. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    inner: Arc<Inner>,
}

struct Inner {
    socket: UdpSocket,
    config: NotificationConfig,
    devices: Arc<dyn DeviceState>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    pace: Pace,
    slots: Arc<Semaphore>,
    taken: Cache<String, ()>,
}

/// What the listener works with.
pub struct NotificationDependencies {
    pub devices: Arc<dyn DeviceState>,
    pub bus: Arc<dyn Bus>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
}

/// What became of a notification: its label in the metrics.
type Outcome = &'static str;

impl Notifications {
    pub fn new(
        socket: UdpSocket,
        config: NotificationConfig,
        with: NotificationDependencies,
    ) -> Self {
        // One that is early by the whole window may be repeated until it is late by the whole.
        let remember = config.window.0 * 2 + Duration::from_secs(1);
        let inner = Inner {
            socket,
            devices: with.devices,
            bus: with.bus,
            clock: with.clock,
            metrics: with.metrics,
            pace: Pace::new(config.source_rate, Grain::Source),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            taken: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(remember)
                .build(),
            config,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Listens until `stop`.
    pub async fn serve(&self, stop: CancellationToken) {
        let mut buffer = vec![0; MAX + 1];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = self.inner.socket.recv_from(&mut buffer) => received,
            };
            let Ok((length, from)) = received else {
                continue;
            };
            self.receive(&buffer[..length], from);
        }
    }

    fn receive(&self, datagram: &[u8], from: SocketAddr) {
        let inner = &self.inner;
        if inner.pace.take(from.ip()).is_err() {
            return inner.count("too_many");
        }
        let Ok(notification) = Notification::parse(datagram) else {
            return inner.count("unreadable");
        };
        let Ok(slot) = Arc::clone(&inner.slots).try_acquire_owned() else {
            return inner.count("busy");
        };
        let inner = Arc::clone(inner);
        tokio::spawn(async move {
            let outcome = match inner.take(&notification).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::debug!(error, "a lightweight notification can't be taken now");
                    "unavailable"
                }
            };
            inner.count(outcome);
            drop(slot);
        });
    }
}

impl Inner {
    async fn take(&self, notification: &Notification) -> Result<Outcome, String> {
        let Notification {
            oui,
            product_class,
            serial_number,
            ..
        } = notification;
        let Ok(device) = DeviceId::new(oui, product_class, serial_number) else {
            return Ok("unreadable");
        };
        let Some(key) = self.whose(notification, device).await? else {
            return Ok("unauthenticated");
        };
        let now = self.clock.now_micros();
        let apart = (now / 1_000_000).abs_diff(notification.ts);
        if apart > self.config.window.0.as_secs() {
            return Ok("out_of_time");
        }
        // A digest, since what a device chooses may be long.
        let parts = [notification.ts.to_string(), notification.cnonce.clone()].join(" ");
        let mark = hmac_sha1(key.to_string().as_bytes(), &[parts.as_bytes()]);
        let mark = format!("lwn-{}", to_hex(&mark));
        if self.taken.contains_key(&mark) {
            return Ok("repeated");
        }
        let identity = CheckIdentityRequest {
            tenant: key.tenant.to_string(),
            username: notification.username.clone(),
            device: key.device.to_string(),
            // What a tenant asks for besides, such as a line, was proved at the device's Inform:
            // of one that never informed nothing is kept.
            in_session: true,
            ..CheckIdentityRequest::default()
        };
        let may = self.devices.check_identity(identity).await;
        if !may.map_err(|error| error.to_string())?.allowed {
            return Ok("not_allowed");
        }
        let duplicate = self.publish(&key, notification, mark.clone(), now).await?;
        self.taken.insert(mark, ());
        Ok(if duplicate { "repeated" } else { "taken" })
    }

    /// The device of the tenant whose user signed it; `None`: nobody's.
    async fn whose(
        &self,
        notification: &Notification,
        device: DeviceId,
    ) -> Result<Option<DeviceKey>, String> {
        for tenant in &self.config.tenants {
            let request = GetCredentialRequest {
                tenant: tenant.clone(),
                username: notification.username.clone(),
            };
            let answer = self.devices.get_credential(request).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.credential.is_some() && notification.is_signed_with(&answer.password) {
                let tenant = tenant.parse().map_err(|_| "a tenant's name".to_owned())?;
                return Ok(Some(DeviceKey::new(tenant, device)));
            }
        }
        Ok(None)
    }

    /// Publishes the values; whether another process had taken the same notification.
    async fn publish(
        &self,
        key: &DeviceKey,
        notification: &Notification,
        mark: String,
        now: i64,
    ) -> Result<bool, String> {
        let values = notification.parameters.iter();
        // A secret has no business in a datagram, and nothing here seals it.
        let values = values.filter(|parameter| !is_secret_name(&parameter.name));
        let event = Event {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            time_us: now,
            kind: Some(Kind::ValuesReported(ValuesReported {
                values: values.map(value).collect(),
                source: ValueSource::Unspecified.into(),
                task: String::new(),
            })),
            ..Event::default()
        };
        let message = Publish {
            stream: Stream::Values,
            device: key.clone(),
            message_id: Some(mark),
            time: Timestamp::from_micros(now),
            payload: event.encode_to_vec().into(),
        };
        let published = self.bus.publish(message).await;
        published
            .map(|ack| ack.duplicate)
            .map_err(|error| error.to_string())
    }

    fn count(&self, outcome: Outcome) {
        self.metrics
            .notifications
            .with_label_values(&[outcome])
            .inc();
    }
}

fn value(parameter: &Parameter) -> ParameterValue {
    let told = parameter.kind.as_deref().unwrap_or_default();
    let kind = TYPES.into_iter().find(|kind| kind.as_str() == told);
    ParameterValue {
        path: parameter.name.clone(),
        value: parameter.value.clone(),
        r#type: kind.map_or(WireType::Unspecified, WireType::from).into(),
        ..ParameterValue::default()
    }
}
