//! Devices as tables.

use crate::{
    app::App,
    error::{Error, id_of},
    table::{Cell, Table},
    times::{both, relative},
};
use comfy_table::Color;
use hearth_proto::{northbound::v1 as nb, types::v1::DeviceState};

/// `●` and `○` in colour, words without.
fn online(online: bool, color: bool) -> Cell {
    match (online, color) {
        (true, true) => Cell::colored("●", Color::Green),
        (false, true) => Cell::colored("○", Color::DarkGrey),
        (true, false) => "online".into(),
        (false, false) => "offline".into(),
    }
}

/// Whether a device is online, or what says more than that: blocked, retired, expected, silent.
fn presence(device: &nb::Device, color: bool) -> Cell {
    let shade = match device.state() {
        DeviceState::Blocked => Color::Red,
        DeviceState::Retired | DeviceState::Silent => Color::Yellow,
        DeviceState::Expected => Color::DarkGrey,
        _ => return online(device.online, color),
    };
    Cell::colored(crate::commands::word(device.state()), shade)
}

/// Devices, one a line.
pub(crate) fn devices(app: &mut App<'_>, devices: &[nb::Device]) -> Result<(), Error> {
    let (now, color) = ((app.host.now)(), app.color());
    let title = if color { "" } else { "STATE" };
    let mut table = Table::new([
        "DEVICE",
        title,
        "MANUFACTURER",
        "VERSION",
        "ADDRESS",
        "LAST SEEN",
        "TAGS",
    ])
    .flexible(&[2, 6]);
    for device in devices {
        table.row([
            id_of(&device.name).into(),
            presence(device, color),
            (&device.manufacturer).into(),
            (&device.software_version).into(),
            (&device.remote_address).into(),
            relative(device.last_seen_time.as_ref(), now).into(),
            device.tags.join(" ").into(),
        ]);
    }
    app.print_table(table, "no devices; connect one, or try another filter")
}

/// One device in detail.
pub(crate) fn device(app: &mut App<'_>, device: &nb::Device) -> Result<(), Error> {
    let now = (app.host.now)();
    let zone = app.host.zone.clone();
    let time = |time: &Option<_>| both(time.as_ref(), now, &zone);
    let mut table = Table::pairs();
    table.pair("id", id_of(&device.name));
    table.pair(
        "state",
        match device.online {
            true => Cell::colored("online", Color::Green),
            false => Cell::colored("offline", Color::DarkGrey),
        },
    );
    let reason = match device.state_reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let life = crate::commands::word(device.state());
    table.pair("lifecycle", format!("{life}{reason}"));
    table.pair("proved by", &device.proof);
    table.pair("line", &device.line);
    for alert in &device.identity_alerts {
        let text = format!("{}: {}", alert.kind, alert.detail);
        table.pair("look at", Cell::colored(text, Color::Yellow));
    }
    table.pair("manufacturer", &device.manufacturer);
    table.pair("OUI", &device.oui);
    table.pair("product class", &device.product_class);
    table.pair("serial number", &device.serial_number);
    table.pair("software", &device.software_version);
    table.pair("hardware", &device.hardware_version);
    table.pair("data model", &device.root);
    table.pair("tags", device.tags.join(" "));
    table.pair("address", &device.remote_address);
    table.pair("connection request", &device.connection_request_url);
    if !device.nat_address.is_empty() {
        let seen = time(&device.nat_address_time);
        table.pair("behind NAT at", format!("{} ({seen})", device.nat_address));
    }
    if let Some(wake) = &device.last_wake {
        table.pair("last wake-up", last_wake(wake, &time(&wake.time)));
    }
    table.pair("last seen", time(&device.last_seen_time));
    table.pair("last inform", time(&device.last_inform_time));
    table.pair("last events", device.last_events.join(", "));
    table.pair("last boot", time(&device.last_boot_time));
    table.pair("last bootstrap", time(&device.last_bootstrap_time));
    table.pair("first seen", time(&device.first_seen_time));
    table.pair("informs", device.inform_count.to_string());
    if device.periodic_inform_interval > 0 {
        table.pair(
            "inform interval",
            format!("{}s", device.periodic_inform_interval),
        );
    }
    table.pair("CWMP", &device.cwmp_namespace);
    if let Some(choice) = &device.profile {
        table.pair("quirk profile", crate::commands::chosen(choice));
    }
    if let Some(model) = &device.learned {
        table.pair("learned of model", crate::commands::learned(model));
    }
    app.print_table(table, "nothing is known of it")
}

/// `accepted by http, 2026-11-22 22:00:00 (5 min ago): the device accepted …`
fn last_wake(wake: &nb::LastWake, time: &str) -> String {
    let way = match wake.way.as_str() {
        "" => String::new(),
        way => format!(" by {way}"),
    };
    format!("{}{way}, {time}: {}", wake.outcome, wake.detail)
}
