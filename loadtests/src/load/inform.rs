//! The Informs of the load scenarios, written once and patched for each use: a generator that
//! writes XML for every session would measure itself.

use std::time::SystemTime;

use hearth_cwmp::{
    CpeRequest, DeviceId, EncodeError, Envelope, EventStruct, Inform, Message, Namespace,
    ParameterValue, XsdType, encode,
};
use memchr::memmem;

use crate::cpe::cwmp_time;

/// What stands where a device's number goes: as long as the number itself.
const NUMBER: &str = "9090909090";
/// What stands where a time of running goes.
const UPTIME: &str = "8080808080";

const OUI: &str = "00D09E";
const PRODUCT_CLASS: &str = "LoadRouter";

/// An Inform with places to fill in.
#[derive(Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
    uptimes: Vec<usize>,
}

impl Template {
    fn new(event: &str, values: Vec<ParameterValue>) -> Result<Self, EncodeError> {
        let inform = Inform {
            device_id: DeviceId {
                manufacturer: "Hearth Simulations".to_owned(),
                oui: OUI.to_owned(),
                product_class: PRODUCT_CLASS.to_owned(),
                serial_number: NUMBER.to_owned(),
            },
            event: vec![EventStruct {
                event_code: event.to_owned(),
                command_key: String::new(),
            }],
            max_envelopes: 1,
            current_time: cwmp_time(SystemTime::now()),
            retry_count: 0,
            parameter_list: values,
        };
        let mut envelope = Envelope::new(Message::CpeRequest(CpeRequest::Inform(inform)));
        envelope.id = Some("1".to_owned());
        envelope.namespace = Namespace::V1_2;
        let bytes = encode(&envelope)?;
        let find = |what: &str| memmem::find_iter(&bytes, what.as_bytes()).collect();
        Ok(Self {
            numbers: find(NUMBER),
            uptimes: find(UPTIME),
            bytes,
        })
    }

    /// The Inform of a session with nothing to do: about 3 KB, with one value that changes.
    pub fn periodic() -> Result<Self, EncodeError> {
        let mut values = forced();
        values.extend(beyond_forced());
        Self::new("2 PERIODIC", values)
    }

    /// The Inform that makes a device known with this many parameters.
    pub fn first(parameters: usize) -> Result<Self, EncodeError> {
        let mut values = forced();
        values.extend(beyond_forced());
        values.extend(many().take(parameters.saturating_sub(values.len())));
        Self::new("0 BOOTSTRAP", values)
    }

    /// How long every Inform made from it is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the Inform of a device.
    pub fn write(&self, number: u32, uptime: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        for (places, value) in [(&self.numbers, number), (&self.uptimes, uptime)] {
            let digits = ten_digits(value);
            for place in places {
                out[start + place..start + place + 10].copy_from_slice(&digits);
            }
        }
    }
}

/// The id of a device with this number, as the ACS writes it.
pub(crate) fn device_id(number: u32) -> String {
    format!("{OUI}-{PRODUCT_CLASS}-{number:010}")
}

/// A number in ten digits, without the machinery of formatting.
fn ten_digits(mut value: u32) -> [u8; 10] {
    let mut out = [b'0'; 10];
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out
}

fn string(name: &str, value: &str) -> ParameterValue {
    ParameterValue::new(name, value, XsdType::String)
}

fn forced() -> Vec<ParameterValue> {
    vec![
        string("Device.RootDataModelVersion", "2.17"),
        string("Device.DeviceInfo.HardwareVersion", "A1"),
        string("Device.DeviceInfo.SoftwareVersion", "4.2.0"),
        string("Device.DeviceInfo.ProvisioningCode", ""),
        string("Device.DeviceInfo.SerialNumber", NUMBER),
        string("Device.ManagementServer.ParameterKey", ""),
        string(
            "Device.ManagementServer.ConnectionRequestURL",
            "http://198.18.7.9:7548/6f1d2a90c3e44b58",
        ),
        ParameterValue::new("Device.DeviceInfo.UpTime", UPTIME, XsdType::UnsignedInt),
        string(
            "Device.IP.Interface.1.IPv4Address.1.IPAddress",
            "198.18.7.9",
        ),
        ParameterValue::new(
            "Device.ManagementServer.AliasBasedAddressing",
            "false",
            XsdType::Boolean,
        ),
    ]
}

fn beyond_forced() -> impl Iterator<Item = ParameterValue> {
    (1..=6).map(|n| {
        string(
            &format!("Device.WiFi.AccessPoint.{n}.SSIDReference"),
            &format!("Device.WiFi.SSID.{n}."),
        )
    })
}

/// Parameters without end, as a router's host table has them.
fn many() -> impl Iterator<Item = ParameterValue> {
    (1..).flat_map(|n: u32| {
        let path = |name: &str| format!("Device.Hosts.Host.{n}.{name}");
        let mac = format!("02:00:00:00:{:02X}:{:02X}", (n >> 8) & 0xFF, n & 0xFF);
        [
            string(&path("PhysAddress"), &mac),
            string(
                &path("IPAddress"),
                &format!("192.168.{}.{}", n / 250, n % 250),
            ),
            string(&path("HostName"), &format!("host-{n}")),
            string(&path("Layer1Interface"), "Device.WiFi.Radio.1."),
            ParameterValue::new(path("Active"), "true", XsdType::Boolean),
            ParameterValue::new(path("LeaseTimeRemaining"), "3600", XsdType::Int),
        ]
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hearth_cwmp::{DecodeOptions, Receiver, decode};

    fn read(template: &Template) -> Inform {
        let mut bytes = Vec::new();
        template.write(42, 7, &mut bytes);
        assert_eq!(bytes.len(), template.len());
        let decoded = decode(&bytes, &DecodeOptions::new(Receiver::Acs)).unwrap();
        assert!(decoded.repairs.is_clean());
        match decoded.envelope.message {
            Message::CpeRequest(CpeRequest::Inform(inform)) => inform,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_inform_of_three_kilobytes() {
        let template = Template::periodic().unwrap();
        assert!(
            (2_900..3_500).contains(&template.len()),
            "{}",
            template.len()
        );
        let inform = read(&template);
        assert_eq!(inform.device_id.serial_number, "0000000042");
        let uptime = &inform.parameter_list[7];
        assert_eq!(
            (uptime.name.as_str(), uptime.value.as_str()),
            ("Device.DeviceInfo.UpTime", "0000000007")
        );
        assert_eq!(inform.parameter_list[4].value, "0000000042");
    }

    #[test]
    fn a_thousand_parameters() {
        let inform = read(&Template::first(1000).unwrap());
        assert_eq!(inform.parameter_list.len(), 1000);
    }
}
