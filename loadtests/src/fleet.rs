//! A fleet: many devices of several kinds in one process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hearth_auth::{ExposeSecret as _, SecretString};
use hearth_cwmp::DeviceId;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cpe::{
    Behaviour, Device, Doubled, EdgeCounts, EdgeMeter, Keep, Registry, Shared, TimeScale,
};
use crate::dice::Dice;
use crate::tree::kinds::Kind;
use crate::tree::{BaseTree, Tree, TreeError};

/// What a fleet is like.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// The ACS's URL.
    pub acs_url: String,
    /// How many devices.
    pub count: usize,
    /// Their kinds, taken in turn.
    pub kinds: Vec<Kind>,
    /// What the devices log in to the ACS with.
    pub username: String,
    /// The password.
    pub password: SecretString,
    /// What the ACS asks a device to connect with.
    pub connection_request_username: String,
    /// The password.
    pub connection_request_password: SecretString,
    /// The interval of periodic Informs, by the devices' clock; off if `None`.
    pub periodic: Option<Duration>,
    /// Where connection requests are waited for; port 0 takes any.
    pub connection_request_listen: SocketAddr,
    /// Serial numbers are this and a number of six digits.
    pub serial_prefix: String,
    /// The first number.
    pub first_number: usize,
    /// Whether the devices are new: `0 BOOTSTRAP`.
    pub bootstrap: bool,
    /// The first Informs are spread over this time.
    pub start_spread: Duration,
    /// Real seconds for one second of the devices: less than 1 compresses time.
    pub time_scale: f64,
    /// How they behave.
    pub behaviour: Behaviour,
    /// How much their ledgers keep.
    pub keep: Keep,
    /// Whether the files they fetch are kept whole.
    pub keep_files: bool,
    /// Paths that stand in every Inform where a device has them.
    pub inform: Vec<String>,
    /// Sessions at once; further devices wait.
    pub max_sessions: usize,
    /// What chance begins with: the same seed, the same fleet.
    pub seed: u64,
    /// How `https` URLs are asked, of the ACS and of files; refused if `None`.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The STUN server of devices behind NAT: they are reached through it, and not by their
    /// ConnectionRequestURL.
    pub stun: Option<SocketAddr>,
}

impl FleetOptions {
    /// One well-behaved device of each own kind, that informs of an ACS at this URL.
    pub fn new(acs_url: impl Into<String>) -> Self {
        Self {
            acs_url: acs_url.into(),
            count: Kind::OWN.len(),
            kinds: Kind::OWN.to_vec(),
            username: String::new(),
            password: SecretString::default(),
            connection_request_username: "acs".to_owned(),
            connection_request_password: SecretString::from("connect"),
            periodic: Some(Duration::from_secs(60)),
            connection_request_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            serial_prefix: "SIM".to_owned(),
            first_number: 1,
            bootstrap: true,
            start_spread: Duration::ZERO,
            time_scale: 1.0,
            behaviour: Behaviour::default(),
            keep: Keep::default(),
            keep_files: false,
            inform: Vec::new(),
            max_sessions: 512,
            seed: 1,
            tls: None,
            stun: None,
        }
    }
}

/// Why a fleet doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A kind's tree can't be read.
    #[error("the tree of {kind}")]
    Tree {
        /// The kind.
        kind: Kind,
        /// Why.
        #[source]
        source: TreeError,
    },
    /// No kinds are given.
    #[error("a fleet needs at least one kind of device")]
    NoKinds,
    /// The address for connection requests can't be used.
    #[error("cannot listen for connection requests on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Sums over a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetStats {
    /// Devices.
    pub devices: usize,
    /// Devices with a session open.
    pub in_session: usize,
    /// Devices that had at least one Inform acknowledged.
    pub informed: usize,
    /// Informs acknowledged.
    pub informs: u64,
    /// Sessions that ended well.
    pub sessions: u64,
    /// Sessions that didn't.
    pub failed_sessions: u64,
    /// RPCs executed without fault.
    pub rpcs: u64,
    /// TransferCompletes acknowledged.
    pub transfers: u64,
}

/// A running fleet. Dropping it stops it too, without waiting.
pub struct Fleet {
    devices: Vec<Arc<Device>>,
    address: SocketAddr,
    meter: Arc<EdgeMeter>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Fleet {
    /// Makes the devices and lets them live.
    ///
    /// # Errors
    /// A tree that can't be read, an address that can't be listened on.
    pub async fn start(options: FleetOptions) -> Result<Self, FleetError> {
        let trees = load(&options.kinds)?;
        let wanted = options.connection_request_listen;
        let bad = |source| FleetError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(bad)?;
        let address = listener.local_addr().map_err(bad)?;
        let mut dice = Dice::new(options.seed);
        let mut key = [0u8; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&dice.number().to_le_bytes());
        }
        // What is behind NAT can't be connected to: nothing listens at port 1.
        let reached = match options.stun {
            Some(_) => SocketAddr::new(address.ip(), 1),
            None => address,
        };
        let registry = Registry::new(reached, &key);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(registry.clone().serve(listener, stop.clone()));
        let meter = Arc::new(EdgeMeter::default());
        let shared = Arc::new(Shared {
            meter: meter.clone(),
            registry,
            sessions: Semaphore::new(options.max_sessions.clamp(1, Semaphore::MAX_PERMITS)),
            stop: stop.clone(),
            scale: TimeScale::new(options.time_scale),
            keep: options.keep,
            keep_files: options.keep_files,
            inform: options.inform.clone(),
            tls: options.tls.clone(),
        });
        let mut devices = Vec::with_capacity(options.count);
        for number in 0..options.count {
            let kind = &options.kinds[number % options.kinds.len()];
            let (id, tree) = make(&options, kind, &trees[kind], options.first_number + number);
            let dice = Dice::new(options.seed ^ (number as u64).wrapping_mul(0x9E37_79B9));
            let behaviour = options.behaviour.clone();
            let device = Device::new(id, tree, behaviour, dice, options.bootstrap, shared.clone());
            devices.push(device);
        }
        let fleet = Self {
            devices,
            address,
            meter,
            stop,
            tasks,
        };
        if let Some(server) = options.stun {
            for device in &fleet.devices {
                fleet.tasks.spawn(device.clone().behind_nat(server));
            }
        }
        fleet.spread(options.start_spread, &mut dice);
        Ok(fleet)
    }

    fn spread(&self, over: Duration, dice: &mut Dice) {
        for device in &self.devices {
            let pause = dice.between(Duration::ZERO, over);
            let (device, stop) = (device.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                device.live().await;
            });
        }
        self.tasks.close();
    }

    /// The devices, in order of their numbers.
    pub fn devices(&self) -> &[Arc<Device>] {
        &self.devices
    }

    /// A device by its serial number.
    pub fn device(&self, serial: &str) -> Option<&Arc<Device>> {
        self.devices.iter().find(|device| device.serial() == serial)
    }

    /// Where connection requests are waited for.
    pub fn connection_request_address(&self) -> SocketAddr {
        self.address
    }

    /// What was executed more than once for one task, on all devices.
    pub fn doubled(&self) -> Vec<Doubled> {
        self.devices
            .iter()
            .flat_map(|device| device.doubled())
            .collect()
    }

    /// What became of the requests of all sessions so far, as the devices see it.
    pub fn edge(&self) -> EdgeCounts {
        self.meter.counts()
    }

    /// Sums over all devices.
    pub fn stats(&self) -> FleetStats {
        let mut sum = FleetStats {
            devices: self.devices.len(),
            ..FleetStats::default()
        };
        for device in &self.devices {
            sum.in_session += usize::from(device.in_session());
            device.with_ledger(|ledger| {
                sum.informed += usize::from(ledger.informs > 0);
                sum.informs += ledger.informs;
                sum.sessions += ledger.sessions;
                sum.failed_sessions += ledger.failed_sessions;
                sum.transfers += ledger.transfers;
                sum.rpcs += ledger.counts().map(|(_, count)| count).sum::<u64>();
            });
        }
        sum
    }

    /// Stops every device where it stands and waits until all have.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn load(kinds: &[Kind]) -> Result<HashMap<Kind, Arc<BaseTree>>, FleetError> {
    if kinds.is_empty() {
        return Err(FleetError::NoKinds);
    }
    let mut trees = HashMap::new();
    for kind in kinds {
        if !trees.contains_key(kind) {
            let bad = |source| FleetError::Tree {
                kind: kind.clone(),
                source,
            };
            trees.insert(kind.clone(), kind.load().map_err(bad)?);
        }
    }
    Ok(trees)
}

/// One device's identity, and its tree with what makes it this one.
fn make(
    options: &FleetOptions,
    kind: &Kind,
    base: &Arc<BaseTree>,
    number: usize,
) -> (DeviceId, Tree) {
    let maker = kind.maker();
    let id = DeviceId {
        manufacturer: maker.manufacturer.to_owned(),
        oui: maker.oui.to_owned(),
        product_class: maker.product_class.to_owned(),
        serial_number: format!("{}{number:06}", options.serial_prefix),
    };
    let periodic = options
        .periodic
        .unwrap_or(Duration::from_secs(86_400))
        .as_secs();
    let mac = [number >> 16, number >> 8, number].map(|n| format!("{:02X}", n & 0xFF));
    let root = base.root();
    let values = [
        ("DeviceInfo.Manufacturer", maker.manufacturer.to_owned()),
        ("DeviceInfo.ManufacturerOUI", maker.oui.to_owned()),
        ("DeviceInfo.ProductClass", maker.product_class.to_owned()),
        ("DeviceInfo.ModelName", maker.product_class.to_owned()),
        ("DeviceInfo.SerialNumber", id.serial_number.clone()),
        ("DeviceInfo.HardwareVersion", maker.hardware.to_owned()),
        ("DeviceInfo.SoftwareVersion", maker.software.to_owned()),
        ("ManagementServer.URL", options.acs_url.clone()),
        ("ManagementServer.Username", options.username.clone()),
        (
            "ManagementServer.Password",
            options.password.expose_secret().to_owned(),
        ),
        (
            "ManagementServer.ConnectionRequestUsername",
            options.connection_request_username.clone(),
        ),
        (
            "ManagementServer.ConnectionRequestPassword",
            options
                .connection_request_password
                .expose_secret()
                .to_owned(),
        ),
        (
            "ManagementServer.PeriodicInformEnable",
            options.periodic.is_some().to_string(),
        ),
        (
            "ManagementServer.PeriodicInformInterval",
            periodic.max(1).to_string(),
        ),
        (
            "Ethernet.Interface.1.MACAddress",
            format!("00:D0:9E:{}", mac.join(":")),
        ),
        ("IP.Interface.1.IPv4Address.1.IPAddress", address(number)),
        (
            "WANDevice.1.WANConnectionDevice.1.WANPPPConnection.1.ExternalIPAddress",
            address(number),
        ),
    ];
    let factory = values.map(|(path, value)| (format!("{root}{path}").into(), value.into()));
    (id, Tree::new(base.clone(), factory.into()))
}

/// An address of the range that is set aside for measurements (RFC 2544).
fn address(number: usize) -> String {
    let [high, low] = [(number >> 8) & 0xFF, number & 0xFF];
    format!("198.{}.{high}.{low}", 18 + ((number >> 16) & 1))
}
