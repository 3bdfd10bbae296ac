//! Inform and the other methods about the session itself.

use crate::event::EventCode;
use crate::rpc::parameters::NAME;
use crate::time::CwmpTime;
use crate::value::ParameterValue;
use crate::wire::Item;

/// Longest CommandKey and ParameterKey.
pub(crate) const KEY: usize = 32;

wire! {
    /// DeviceIdStruct (TR-069 A.3.3.1): what identifies a CPE.
    struct DeviceId {
        /// Manufacturer, for display.
        manufacturer: String = token("Manufacturer", 64),
        /// Six hexadecimal digits, upper case.
        oui: String = oui("OUI") required,
        /// Class of product; may be empty.
        product_class: String = token("ProductClass", 64),
        /// Serial number, unique within OUI and product class.
        serial_number: String = token("SerialNumber", 64) required,
    }

    /// EventStruct (TR-069 A.3.3.1).
    struct EventStruct {
        /// The code as text, such as `2 PERIODIC`.
        event_code: String = token("EventCode", 64),
        /// The CommandKey of the method that caused the event; empty for most events.
        command_key: String = text("CommandKey", KEY),
    }

    /// Inform (TR-069 A.3.3.1): opens a session and says why.
    struct Inform {
        /// Who it is.
        device_id: DeviceId = one("DeviceId") required,
        /// Why it informs.
        event: Vec<EventStruct> = array("Event", 0..=64),
        /// How many envelopes in one HTTP message; to be ignored, always 1.
        max_envelopes: u32 = number("MaxEnvelopes", 0..=u32::MAX),
        /// The CPE's own clock.
        current_time: CwmpTime = time("CurrentTime"),
        /// How often this session was tried before.
        retry_count: u32 = number("RetryCount", 0..=u32::MAX),
        /// The forced parameters, and those whose change is notified.
        parameter_list: Vec<ParameterValue> = array("ParameterList", 0..=usize::MAX),
    }

    /// InformResponse.
    struct InformResponse {
        /// Always 1.
        max_envelopes: u32 = number("MaxEnvelopes", 1..=u32::MAX),
    }

    /// GetRPCMethodsResponse (TR-069 A.3.1.1), of both sides.
    struct GetRpcMethodsResponse {
        /// Names of methods.
        method_list: Vec<String> = strings("MethodList", 1, 64),
    }

    /// Kicked (TR-069 A.4.2.1), deprecated.
    struct Kicked {
        /// Any command.
        command: String = text("Command", 32),
        /// Where the user came from.
        referer: String = text("Referer", 64),
        /// Any argument.
        arg: String = text("Arg", 256),
        /// Where the user is to go.
        next: String = text("Next", 1024),
    }

    /// KickedResponse.
    struct KickedResponse {
        /// Where to send the user.
        next_url: String = text("NextURL", 1024),
    }

    /// Reboot (TR-069 A.3.2.9).
    struct Reboot {
        /// Comes back in the event `M Reboot`.
        command_key: String = text("CommandKey", KEY),
    }

    /// ScheduleInform (TR-069 A.4.1.2).
    struct ScheduleInform {
        /// Seconds from now.
        delay_seconds: u32 = number("DelaySeconds", 1..=u32::MAX),
        /// Comes back in the event `M ScheduleInform`.
        command_key: String = text("CommandKey", KEY),
    }

    /// ArgStruct of RequestDownload (TR-069 A.4.2.2).
    struct ArgStruct {
        /// The argument's name.
        name: String = text("Name", 64),
        /// Its value.
        value: String = text("Value", NAME),
    }

    /// RequestDownload (TR-069 A.4.2.2).
    struct RequestDownload {
        /// The type of file wanted.
        file_type: String = token("FileType", 64),
        /// Which file of that type.
        file_type_arg: Vec<ArgStruct> = array("FileTypeArg", 0..=16),
    }
}

impl EventStruct {
    /// What the code means.
    pub fn code(&self) -> EventCode<'_> {
        EventCode::parse(&self.event_code)
    }
}

impl Item for EventStruct {
    const ELEMENT: &'static str = "EventStruct";
}

impl Item for ArgStruct {
    const ELEMENT: &'static str = "ArgStruct";
}
