//! The codes of findings: what each means and what is to be done. The manual's page on "why" has the
//! same table, checked by a test.
//!
//! A remedy may name what its finding is about: `{device}`, `{user}`, `{address}`, `{task}`.

/// What a code of a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindingCode {
    /// `wrong_password`; stays as it is.
    pub code: &'static str,
    /// In words.
    pub meaning: &'static str,
    /// What to do about it, may be empty.
    pub remedy: &'static str,
}

const fn code(code: &'static str, meaning: &'static str, remedy: &'static str) -> FindingCode {
    FindingCode {
        code,
        meaning,
        remedy,
    }
}

/// Requests of devices that are refused, by the reason of the refusal.
#[rustfmt::skip]
const REFUSALS: &[FindingCode] = &[
    code("unknown_user", "its user name is not known to this tenant", "Give the device a login that exists (`hearthctl credential onboarding` shows the one for new devices), or make the one that it has: `hearthctl credential set {device} --username {user} --password-file FILE`."),
    code("wrong_password", "its password is not the one that is kept for its user name", "Set the password that the device has: `hearthctl credential set {device} --username {user} --password-file FILE`; or reset the device to its factory settings, so that it begins with the onboarding login."),
    code("no_credentials", "it never sends credentials, however often it is asked for them", "Set ManagementServer.Username and Password on the device; `hearthctl credential onboarding` shows the login for new ones. Some devices need Basic: see `gateway.auth` in the configuration."),
    code("malformed", "its Authorization header can't be read, or has no user name", "Set a user name on the device; if it has one, its Digest is broken: try `gateway.auth: basic` over TLS."),
    code("scheme", "it answers by an authentication scheme that is not offered", "Offer it: `gateway.auth` in the configuration."),
    code("wrong_realm", "its Digest is for another realm", "The device keeps the realm of an ACS that it had before: restart it, or set `gateway.realm` to that one."),
    code("algorithm", "its Digest uses an algorithm that was not offered", "Update the device's firmware, or let it use Basic over TLS (`gateway.auth`)."),
    code("qop", "its Digest has no qop, or one that was not offered", "Set `gateway.digest_qop_required: false` for devices that can't."),
    code("wrong_uri", "its Digest is over another URL than the one that it asks for", "A proxy in between rewrites the URL: let it pass the path on as it is."),
    code("many_names", "its address tries one user name after the other", "Look who is at {address}: `hearthctl refusals list --address {address}`. Block it at the firewall if it is no device of yours."),
    code("identity", "its login or certificate is not for this device", "See whose the login is: `hearthctl credential list`; give this device one of its own: `hearthctl credential set {device} --username NAME`."),
    code("other_user", "another user came with the session of this device", "Two devices share a connection or a cookie: look for a proxy that joins them."),
    code("blocked", "an operator has blocked it", "`hearthctl device unblock {device}` lets it in."),
    code("retired", "an operator has taken it out of service", "`hearthctl device unblock {device}` lets it in."),
    code("not_expected", "the tenant takes expected devices only, and this one is not", "`hearthctl device expect {device}`."),
    code("line", "it does not come on the line, or from the network, that the tenant's policy asks for", "See `hearthctl line list` and `hearthctl policy show`; set the line that it has: `hearthctl line set PREFIX --device {device}`."),
    code("line_header", "the header that tells its line is not signed, or not by who may", "Check the proxy's secret and clock: `hearthctl policy show`."),
    code("client_certificate", "its client certificate is missing, has ended, is revoked, or is signed by nobody who is trusted", "Renew the device's certificate, or add its issuer to `gateway.tls.trust_anchors`."),
    code("forwarded_certificate", "a client certificate was passed on by who may not", "Add the proxy to `gateway.proxy.certificate_networks`, if it is yours."),
    code("tenant", "its ACS URL names another tenant than its server name does", "Set the ACS URL of its own tenant on the device: `/t/TENANT`."),
    code("busy_informs", "the server had too many Informs to work on, and asked it to come again later", "Nothing: it comes again. If it lasts, add gateways, or spread periodic Informs: `hearthctl device spread`."),
    code("busy_class", "in a storm the server put off Informs of its class", "Nothing: it comes again. If it lasts, add gateways, or spread periodic Informs: `hearthctl device spread`."),
    code("busy_bytes", "the server had too many large bodies in memory", "Nothing: it comes again. If it lasts, raise `gateway.max_body_in_flight`."),
    code("unavailable", "a part of the server could not work, and it was asked to come again later", "Look at the server's health: `/readyz` and its log."),
    code("undecodable", "what it sent is no SOAP envelope", "Record a session of it and look: the device is broken, or not a CPE."),
    code("no_session", "it sent something else than an Inform without a session", "It loses its session cookie, or is slower than `gateway.idle_timeout`: raise that, or update its firmware."),
    code("inform_fault", "its Inform was answered by a fault", ""),
    code("encoding", "it packs its body in a way that is not understood", "Only gzip and deflate are; switch packing off on the device."),
    code("bad_encoding", "its packed body does not unpack", "Switch packing off on the device, or update its firmware."),
    code("too_large", "its body was larger than the limit", "Raise `gateway.max_body`, or ask it for less at once."),
    code("oversize", "what it sent makes an event larger than the bus takes", "Raise the bus's message size, or ask the device for less at once."),
    code("timeout", "its body came too slowly", "Look at its line; raise `gateway.body_timeout` for very slow ones."),
    code("refused", "it was refused", "See the reason and the server's log."),
];

/// What is known of a device.
#[rustfmt::skip]
const DEVICE: &[FindingCode] = &[
    code("informed", "It informs as it should.", ""),
    code("in_session", "It is in a session now.", ""),
    code("never_seen", "It has never informed here, and nobody has registered it.", "Check the ACS URL on the device, its DNS and firewalls between. `hearthctl refusals list` shows who was turned away, `hearthctl device list` who came."),
    code("never_informed", "It is registered, and has never informed.", "Check the ACS URL on the device, its DNS and firewalls between. `hearthctl refusals list` shows who was turned away."),
    code("no_way_in", "Neither it nor its tenant has a login that it may begin with.", "`hearthctl credential onboarding` makes and shows one; or `hearthctl credential set {device} --username NAME`."),
    code("silent", "It has not informed for long, and no request of it was refused.", "It is off, offline, or asks elsewhere: check its power and line, its ACS URL, and `hearthctl device wake {device}`."),
    code("overdue", "Its periodic Inform is overdue.", "Wait a little, or `hearthctl device wake {device}`."),
    code("login_unused", "It has a login of its own that it has never proved.", "Check that the device has this login; the onboarding one serves until it has."),
    code("identity_alert", "Something about its identity is odd.", "Look which of the two is the real one; block the other: `hearthctl device block ID`."),
    code("clock_off", "Its clock is far off.", "Set NTP on it (`Device.Time.`): certificates and windows of downloads go by its clock."),
    code("learned", "What was learned of its model is minded.", "After a firmware update ask it again: `hearthctl device rpc-methods {device}`."),
    code("quirk_profile", "A quirk profile is in force.", ""),
];

/// What is known of asking it to connect.
#[rustfmt::skip]
const WAKING: &[FindingCode] = &[
    code("wake_accepted", "It accepted the last request to connect.", ""),
    code("wake_ignored", "It accepted the last request to connect, and did not come.", "It may be unable to reach its ACS URL: check that from its side; restart it."),
    code("wake_unreachable", "It could not be reached to ask it to connect.", "Check that this server can reach its ConnectionRequestURL; behind a NAT it needs STUN or XMPP, or a port forwarded (see the page on waking)."),
    code("wake_credentials", "It refused the login of the request to connect.", "Set the login that it has: `hearthctl credential set {device} --connection-request --username NAME --password-file FILE`, or let credentials rotate."),
    code("wake_busy", "It was busy when it was asked to connect.", "Nothing: it is in a session, or asked again."),
    code("wake_rate_limited", "It was asked to connect a moment ago.", "Nothing: it is asked again."),
    code("wake_forbidden", "Its ConnectionRequestURL is in a range that may not be asked.", "Allow the range: `wakeup.allow` in the configuration."),
    code("wake_no_address", "No way to ask it to connect is known.", "Its next Inform tells; until then tasks wait for that."),
    code("wake_offline", "It is not connected to its XMPP server.", "Check its XMPP connection (`Device.XMPP.`)."),
    code("wake_planned", "It is asked to connect again.", ""),
    code("no_address", "It has told no ConnectionRequestURL.", "Make it tell: its Inform must have ManagementServer.ConnectionRequestURL; until then tasks wait for its own Informs."),
    code("no_wake_login", "There is no login for requests to connect.", "`hearthctl credential set {device} --connection-request --username NAME`."),
    code("behind_nat", "It is behind a NAT.", "Give it STUN or XMPP (see the page on waking), so that it can be asked to connect."),
];

/// What is known of a task.
#[rustfmt::skip]
const TASK: &[FindingCode] = &[
    code("task_succeeded", "It is done.", ""),
    code("applied_at_reboot", "The device applies it at its next restart.", "`hearthctl device reboot {device}`."),
    code("task_fault", "The device answered with a fault.", ""),
    code("task_failed", "It could not be done.", "`hearthctl task get {task}` shows each try; `hearthctl task retry {task}` makes it anew."),
    code("rpc_unsupported", "The device's model does not implement its RPC.", "After a firmware update ask a device again: `hearthctl device rpc-methods {device}`."),
    code("task_expired", "Its deadline passed before it was done.", "`hearthctl task retry {task}` makes it anew."),
    code("task_cancelled", "It was cancelled.", "`hearthctl task retry {task}` makes it anew."),
    code("task_unknown_outcome", "It was sent, and whether the device did it can't be known.", "Look at the device before `hearthctl task retry {task}`."),
    code("queue_rebuilding", "The queue of its device is being rebuilt.", "Nothing: it takes seconds."),
    code("in_flight", "Its RPC was sent, and the device's answer is awaited.", ""),
    code("session_lost", "Its RPC was sent, and the session ended before the answer.", "The device's next session settles it: `hearthctl device wake {device}`."),
    code("next_in_session", "A session of the device is under way, and it is next.", ""),
    code("behind_task", "Another task of the device is ahead of it.", "See that one: `hearthctl task why TASK`; a higher `--priority` goes first."),
    code("retry_later", "It failed in a way that may pass, and is tried again later.", ""),
    code("awaiting_event", "The device has accepted, and its event is awaited.", "It comes with the device's next Informs: see `hearthctl device why {device}`."),
    code("awaiting_transfer", "The device has accepted the transfer, and its report of the end is awaited.", "See whether the device fetches the file: `hearthctl transfer list {device}`."),
    code("waking", "The device is being asked to connect.", ""),
    code("not_waking", "It waits for the device's own next session: it was made so.", "`hearthctl device wake {device}`."),
    code("waiting_for_session", "It waits for the device's next session.", "`hearthctl device wake {device}`."),
    code("next_inform", "The device's next periodic Inform is due.", ""),
    code("deadline", "It has a deadline.", ""),
];

/// All codes of findings.
pub const FINDINGS: &[&[FindingCode]] = &[REFUSALS, DEVICE, WAKING, TASK];

/// What an answer by a fault of the ACS means (TR-069 A.5.2), and what is to be done.
#[rustfmt::skip]
pub const ACS_FAULTS: &[(u32, &str, &str)] = &[
    (8000, "the method is not supported by the ACS", "The device asks for something that an ACS need not have; update its firmware if its session ends at that."),
    (8001, "the request was denied", "The policy says so: `hearthctl policy show`."),
    (8002, "the server had an internal error", "See the server's log."),
    (8003, "an argument is invalid: its DeviceId can't be an identity", "The OUI must have six hexadecimal digits, and a serial number be there: mend the device's configuration."),
    (8004, "it is more than the server takes at once", "Let the device send less with its Inform, or raise the bus's message size."),
    (8005, "it was asked to send the same again", "Nothing: it does."),
    (8006, "it asked for a version of CWMP that the server does not speak", "Update the device's firmware, or tell its SupportedCWMPVersions right."),
];

/// What a code means.
pub(super) fn find(code: &str) -> Option<&'static FindingCode> {
    FINDINGS
        .iter()
        .copied()
        .flatten()
        .find(|known| known.code == code)
}

/// What a reason of a refusal means; parts of the server that could not work are one.
pub(super) fn of_reason(reason: &str) -> &'static FindingCode {
    const PARTS: [&str; 7] = [
        "workflow",
        "device_state",
        "bus",
        "encoder",
        "turn",
        "sealer",
        "policy",
    ];
    let of = |code: &str| REFUSALS.iter().find(|known| known.code == code);
    let named = match PARTS.contains(&reason) {
        true => of("unavailable"),
        false => of(reason),
    };
    named.unwrap_or(&REFUSALS[REFUSALS.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_one_word_each_and_there_once() {
        let mut seen = HashSet::new();
        for known in FINDINGS.iter().copied().flatten() {
            assert!(seen.insert(known.code), "{} is there twice", known.code);
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(known.code.chars().all(word), "{}", known.code);
            assert!(!known.meaning.is_empty() && !known.meaning.contains('|'));
        }
        assert_eq!(
            ACS_FAULTS.iter().map(|of| of.0).collect::<Vec<_>>(),
            (8000..=8006).collect::<Vec<_>>()
        );
    }

    #[test]
    fn reasons_have_their_meaning() {
        assert_eq!(of_reason("wrong_password").code, "wrong_password");
        assert_eq!(of_reason("device_state").code, "unavailable");
        assert_eq!(of_reason("something new").code, "refused");
    }
}
