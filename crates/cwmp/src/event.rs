//! Event codes of an Inform (TR-069 3.7.1.5).

/// What an EventCode means. Real CPEs vary the words, so that the leading number alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventCode<'a> {
    /// `0 BOOTSTRAP`.
    Bootstrap,
    /// `1 BOOT`.
    Boot,
    /// `2 PERIODIC`.
    Periodic,
    /// `3 SCHEDULED`.
    Scheduled,
    /// `4 VALUE CHANGE`.
    ValueChange,
    /// `5 KICKED`.
    Kicked,
    /// `6 CONNECTION REQUEST`.
    ConnectionRequest,
    /// `7 TRANSFER COMPLETE`.
    TransferComplete,
    /// `8 DIAGNOSTICS COMPLETE`.
    DiagnosticsComplete,
    /// `9 REQUEST DOWNLOAD`.
    RequestDownload,
    /// `10 AUTONOMOUS TRANSFER COMPLETE`.
    AutonomousTransferComplete,
    /// `11 DU STATE CHANGE COMPLETE`.
    DuStateChangeComplete,
    /// `12 AUTONOMOUS DU STATE CHANGE COMPLETE`.
    AutonomousDuStateChangeComplete,
    /// `13 WAKEUP`.
    Wakeup,
    /// `14 HEARTBEAT`.
    Heartbeat,
    /// A standard number that is not known here.
    Numbered(u32),
    /// `M <method>`: the named method was done; the CommandKey tells which one.
    Method(&'a str),
    /// `X <OUI> …` and anything else.
    Vendor(&'a str),
}

impl<'a> EventCode<'a> {
    /// Reads an EventCode. Never fails: what is not known is [`EventCode::Vendor`].
    pub fn parse(text: &'a str) -> Self {
        let text = text.trim();
        if let Some(method) = text.strip_prefix("M ") {
            return Self::Method(method.trim());
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = text[..digits].parse::<u32>() else {
            return Self::Vendor(text);
        };
        match number {
            0 => Self::Bootstrap,
            1 => Self::Boot,
            2 => Self::Periodic,
            3 => Self::Scheduled,
            4 => Self::ValueChange,
            5 => Self::Kicked,
            6 => Self::ConnectionRequest,
            7 => Self::TransferComplete,
            8 => Self::DiagnosticsComplete,
            9 => Self::RequestDownload,
            10 => Self::AutonomousTransferComplete,
            11 => Self::DuStateChangeComplete,
            12 => Self::AutonomousDuStateChangeComplete,
            13 => Self::Wakeup,
            14 => Self::Heartbeat,
            other => Self::Numbered(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EventCode;

    #[test]
    fn the_number_decides() {
        for (text, expected) in [
            ("0 BOOTSTRAP", EventCode::Bootstrap),
            (" 2 periodic ", EventCode::Periodic),
            ("4", EventCode::ValueChange),
            ("14 HEARTBEAT", EventCode::Heartbeat),
            ("99 NEW", EventCode::Numbered(99)),
            ("M Reboot", EventCode::Method("Reboot")),
            ("M X_00D09E_Do", EventCode::Method("X_00D09E_Do")),
            ("X 00D09E Thing", EventCode::Vendor("X 00D09E Thing")),
            ("99999999999 X", EventCode::Vendor("99999999999 X")),
            ("", EventCode::Vendor("")),
        ] {
            assert_eq!(EventCode::parse(text), expected, "{text}");
        }
    }
}
