//! Arbitrary CPEs against the gateway's turns, without sockets: two devices in two tenants, whose
//! sessions interleave, with any cookie they ever got, answers to requests that nobody made, faults,
//! garbage, time that passes, and a house behind the gateway that fails at times.
//!
//! Whatever they do: no panic; every answer is one of those that TR-069 and `docs/cwmp.md` name; a
//! request leaves for the device's newest session only; what is recorded is of a device that proved
//! itself; a password never comes back; and each session has an end.
//!
//! An input is a list of turns, three bytes each (see [`Step`]).
//!
//! `cargo +nightly fuzz run sessions fuzz/corpus/sessions fuzz/seeds/sessions -- -max_len=300`
#![no_main]

#[path = "../../services/gateway/tests/edge/support/doubles.rs"]
mod doubles;
#[path = "../../services/gateway/tests/edge/support/xml.rs"]
mod xml;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use doubles::{DeviceStateDouble, RecordingBus, ScriptedWorkflow};
use hearth_auth::SecretKeys;
use hearth_gateway::fuzzing::Handed;
use hearth_gateway::{Dependencies, GatewayConfig};
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use hearth_runtime::ManualClock;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use libfuzzer_sys::fuzz_target;
use wf::request::Rpc;

const PASSWORD: &str = "Zaphod-42";
/// Serial numbers, and the user that each may log in as.
const DEVICES: [(&str, &str); 2] = [("0001", "one"), ("0002", "two")];
const TENANTS: [(&str, &str); 2] = [("default", "/"), ("other", "/t/other")];
/// Empty POSTs that end any session for which there is no work: a repeated request, and the end.
const TO_THE_END: usize = 3;

/// What lives from one input to the next: to make it anew costs more than a hundred turns.
struct House {
    runtime: tokio::runtime::Runtime,
    gateway: Handed,
    bus: Arc<RecordingBus>,
    workflow: Arc<ScriptedWorkflow>,
    device_state: Arc<DeviceStateDouble>,
    clock: ManualClock,
}

impl House {
    fn new() -> Self {
        let bus = Arc::<RecordingBus>::default();
        let workflow = Arc::<ScriptedWorkflow>::default();
        let device_state = Arc::<DeviceStateDouble>::default();
        for (serial, user) in DEVICES {
            device_state.allow(user, PASSWORD, Some(&format!("0000CA-Router-{serial}")));
        }
        let clock = ManualClock::at(1_800_000_000_000_000);
        let dependencies = Dependencies {
            bus: bus.clone(),
            workflow: workflow.clone(),
            device_state: device_state.clone(),
            keys: SecretKeys::from_seed([7; 32]),
            clock: clock.shared(),
        };
        let gateway = Handed::new(GatewayConfig::default(), dependencies);
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime"),
            gateway: gateway.unwrap_or_else(|error| panic!("a gateway: {error}")),
            bus,
            workflow,
            device_state,
            clock,
        }
    }

    /// As it was, some hours later: no session of before is alive.
    fn again(&self) {
        self.bus.published.lock().clear();
        self.bus.full.store(false, Ordering::SeqCst);
        self.device_state.bootstraps.lock().clear();
        self.device_state.checked.lock().clear();
        self.device_state.refusals.lock().clear();
        let workflow = &self.workflow;
        workflow.script.lock().clear();
        workflow.opened.lock().clear();
        workflow.asked.lock().clear();
        workflow.transfers.lock().clear();
        workflow.du_changes.lock().clear();
        workflow.created.lock().clear();
        workflow.down.store(false, Ordering::SeqCst);
        workflow.idle.store(false, Ordering::SeqCst);
        self.clock.advance(Duration::from_secs(24 * 3600));
    }
}

thread_local! {
    static HOUSE: House = House::new();
}

fuzz_target!(|bytes: &[u8]| {
    HOUSE.with(|house| {
        house.again();
        house.runtime.block_on(
            Run {
                house,
                jar: Vec::new(),
                requests: 0,
            }
            .all(bytes),
        );
    });
});

/// A cookie as a gateway set it.
struct Cookie {
    tenant: usize,
    text: String,
}

struct Answer {
    status: u16,
    cookie: bool,
    body: String,
}

/// What a turn says.
enum Step<'a> {
    Inform {
        device: usize,
        user: usize,
        events: &'a [&'a str],
    },
    Post(String),
    Bytes(&'a [u8]),
}

/// One input.
struct Run<'a> {
    house: &'a House,
    jar: Vec<Cookie>,
    /// How many requests workflow was given.
    requests: u32,
}

const EVENTS: [&[&str]; 6] = [
    &["2 PERIODIC"],
    &["0 BOOTSTRAP", "1 BOOT"],
    &["6 CONNECTION REQUEST"],
    &["M Reboot"],
    &["X 0000CA odd"],
    &[],
];

const ANSWERS: [&str; 10] = [
    "<cwmp:GetParameterValuesResponse><ParameterList><ParameterValueStruct><Name>Device.A</Name>\
     <Value>1</Value></ParameterValueStruct></ParameterList></cwmp:GetParameterValuesResponse>",
    "<cwmp:GetParameterNamesResponse><ParameterList><ParameterInfoStruct><Name>Device.</Name>\
     <Writable>0</Writable></ParameterInfoStruct></ParameterList></cwmp:GetParameterNamesResponse>",
    "<cwmp:SetParameterValuesResponse><Status>0</Status></cwmp:SetParameterValuesResponse>",
    "<cwmp:RebootResponse/>",
    "<cwmp:AddObjectResponse><InstanceNumber>1</InstanceNumber><Status>0</Status></cwmp:AddObjectResponse>",
    "<cwmp:InformResponse><MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse>",
    "<cwmp:GetParameterValuesResponse><ParameterList><ParameterValueStruct>",
    "<SOAP-ENV:Fault><faultcode>Client</faultcode><faultstring>CWMP fault</faultstring><detail>\
     <cwmp:Fault><FaultCode>9003</FaultCode><FaultString>no</FaultString></cwmp:Fault></detail></SOAP-ENV:Fault>",
    "<SOAP-ENV:Fault><faultcode>Client</faultcode><faultstring>no</faultstring></SOAP-ENV:Fault>",
    "<SOAP-ENV:Fault><faultcode>Server</faultcode><faultstring>CWMP fault</faultstring><detail>\
     <cwmp:Fault><FaultCode>8005</FaultCode></cwmp:Fault></detail></SOAP-ENV:Fault>",
];

const REQUESTS: [&str; 9] = [
    "<cwmp:GetRPCMethods/>",
    "<cwmp:TransferComplete><CommandKey>01hzy3v7k2q4w6e8r0t2y4a6d8.1</CommandKey><FaultStruct><FaultCode>0</FaultCode>\
     <FaultString/></FaultStruct><StartTime>2027-01-15T08:00:00Z</StartTime>\
     <CompleteTime>2027-01-15T08:00:01Z</CompleteTime></cwmp:TransferComplete>",
    "<cwmp:TransferComplete/>",
    "<cwmp:Kicked><Command>c</Command><Referer>r</Referer><Arg>a</Arg><Next>http://n/</Next></cwmp:Kicked>",
    "<cwmp:RequestDownload><FileType>1 Firmware Upgrade Image</FileType><FileTypeArg/></cwmp:RequestDownload>",
    "<cwmp:AutonomousTransferComplete/>",
    "<cwmp:DUStateChangeComplete><Results/><CommandKey>k</CommandKey></cwmp:DUStateChangeComplete>",
    "<cwmp:AutonomousDUStateChangeComplete/>",
    "<cwmp:Frobnicate/>",
];

impl Run<'_> {
    async fn all(mut self, bytes: &[u8]) {
        for (at, step) in bytes.chunks_exact(3).enumerate() {
            let (with, a, b) = (step[1], step[2], step[0] >> 4);
            match step[0] & 15 {
                0 | 1 => {
                    let events = EVENTS[usize::from(b) % EVENTS.len()];
                    let (device, user) = (usize::from(a & 1), usize::from(a >> 1 & 3));
                    self.turn(
                        with,
                        a,
                        Step::Inform {
                            device,
                            user,
                            events,
                        },
                    )
                    .await;
                }
                2..=4 => self.turn(with, a, Step::Post(String::new())).await,
                5 | 6 => {
                    let id = self.id_of_last(b);
                    let body = xml::envelope(&id, ANSWERS[usize::from(b) % ANSWERS.len()]);
                    self.turn(with, a, Step::Post(body)).await;
                }
                7 => {
                    let body = xml::envelope("7", REQUESTS[usize::from(b) % REQUESTS.len()]);
                    self.turn(with, a, Step::Post(body)).await;
                }
                8 => self.turn(with, a, Step::Bytes(&bytes[3 * at..])).await,
                9 => {
                    // An envelope that ends early.
                    let whole = xml::envelope("1", REQUESTS[1]);
                    let cut = whole.len() * usize::from(b) / 16;
                    self.turn(with, a, Step::Post(whole[..cut].to_owned()))
                        .await;
                }
                10 => self
                    .house
                    .clock
                    .advance(Duration::from_millis(u64::from(with) * u64::from(a))),
                11 => self.work(a),
                12 => self.house.workflow.down.store(a & 1 == 1, Ordering::SeqCst),
                13 => self.house.bus.full.store(a & 1 == 1, Ordering::SeqCst),
                14 => self.house.workflow.idle.store(a & 1 == 1, Ordering::SeqCst),
                _ => self.spoil(with, a),
            }
        }
        self.end().await;
    }

    /// The id of the request that was given first and isn't answered, or another.
    fn id_of_last(&self, other: u8) -> String {
        match self.house.workflow.script.lock().front() {
            Some(request) if other & 8 == 0 => request.id.clone(),
            _ => format!("01hzy3v7k2q4w6e8r0t2y4a6d8.{other}.0"),
        }
    }

    fn work(&mut self, kind: u8) {
        self.requests += 1;
        let rpc = match kind % 5 {
            0 => Rpc::GetParameterValues(ty::GetParameterValues {
                paths: vec!["Device.".to_owned()],
            }),
            1 => Rpc::GetParameterNames(ty::GetParameterNames {
                path: "Device.".to_owned(),
                next_level: true,
            }),
            2 => Rpc::FactoryReset(wf::Empty {}),
            3 => Rpc::Reboot(wf::CommandKeyRpc::default()),
            // What can't be written.
            _ => Rpc::Reboot(wf::CommandKeyRpc {
                command_key: "k".repeat(33),
            }),
        };
        let id = format!("01hzy3v7k2q4w6e8r0t2y4a6d8.1.{}", self.requests);
        self.house.workflow.will_send(&id, rpc);
    }

    /// A cookie that nobody set, made of one that was.
    fn spoil(&mut self, which: u8, how: u8) {
        let Some(cookie) = self.pick(which) else {
            return;
        };
        let mut text = cookie.text.clone();
        let tenant = cookie.tenant ^ usize::from(how & 1);
        match how >> 1 & 3 {
            0 => text.truncate(text.len() * usize::from(how) / 256),
            1 => text = quoted(&text, usize::from(how)),
            2 => text.push('A'),
            // Of another tenant, where the bit says so.
            _ => {}
        }
        self.jar.push(Cookie { tenant, text });
    }

    fn pick(&self, which: u8) -> Option<&Cookie> {
        // 0 is none; then the newest first.
        let back = usize::from(which).checked_sub(1)? % self.jar.len().max(1);
        self.jar.iter().rev().nth(back)
    }

    async fn turn(&mut self, with: u8, a: u8, step: Step<'_>) {
        let picked = self
            .pick(with)
            .map(|cookie| (cookie.tenant, cookie.text.clone()));
        let (tenant, cookie) = match picked {
            Some((tenant, cookie)) => (tenant, Some(cookie)),
            None => (usize::from(a >> 3 & 1), None),
        };
        let (user, body) = match step {
            Step::Inform {
                device,
                user,
                events,
            } => (user, Bytes::from(xml::inform_of(DEVICES[device].0, events))),
            Step::Post(body) => (usize::from(a >> 4 & 3), Bytes::from(body)),
            Step::Bytes(bytes) => (usize::from(a >> 4 & 3), Bytes::copy_from_slice(bytes)),
        };
        // In mid-session most send none.
        let credentials = match user {
            0 if cookie.is_none() => Some(("one", PASSWORD)),
            0 => None,
            1 => Some(("two", PASSWORD)),
            2 => Some(("one", PASSWORD)),
            _ => Some(("one", "wrong")),
        };
        let cookies: Vec<&str> = cookie.iter().map(String::as_str).collect();
        self.exchange(tenant, &cookies, credentials, body, a).await;
    }

    async fn exchange(
        &mut self,
        tenant: usize,
        cookies: &[&str],
        credentials: Option<(&str, &str)>,
        body: Bytes,
        a: u8,
    ) -> Answer {
        let mut request = Request::post(TENANTS[tenant].1).header(header::HOST, "acs.example");
        for cookie in cookies {
            request = request.header(header::COOKIE, *cookie);
        }
        if let Some((user, password)) = credentials {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            request = request.header(header::AUTHORIZATION, format!("Basic {pair}"));
        }
        match a >> 6 {
            1 => request = request.header(header::CONTENT_TYPE, "text/xml; charset=iso-8859-1"),
            2 => request = request.header(header::CONTENT_ENCODING, "gzip"),
            _ => {}
        }
        let workflow = &self.house.workflow;
        let (asked, published) = (
            workflow.asked.lock().len(),
            self.house.bus.published.lock().len(),
        );
        let empty = body.is_empty();
        let request = request.body(Full::new(body)).expect("a request");
        let reply = self.house.gateway.serve(request).await;
        let set = reply.headers().get(header::SET_COOKIE).map(text_of);
        let status = reply.status().as_u16();
        let closes = reply
            .headers()
            .get(header::CONNECTION)
            .is_some_and(|value| value == "close");
        let body = reply
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert!(!body.contains(PASSWORD), "{body}");
        self.check(status, closes, empty, &body);
        self.check_recorded(tenant, asked, published, &body);
        if let Some(set) = &set {
            assert!(
                set.len() < 512 && set.ends_with("; Path=/; HttpOnly"),
                "{set}"
            );
            let text = set.split(';').next().unwrap_or_default().to_owned();
            self.jar.push(Cookie { tenant, text });
        }
        Answer {
            status,
            cookie: set.is_some(),
            body,
        }
    }

    fn check(&self, status: u16, closes: bool, empty: bool, body: &str) {
        let failing = self.house.workflow.down.load(Ordering::SeqCst)
            || self.house.bus.full.load(Ordering::SeqCst);
        match status {
            200 => assert!(body.contains("cwmp:") || body.contains("Fault"), "{body}"),
            204 => assert!(body.is_empty()),
            400 => assert!(closes, "{body}"),
            401 | 403 | 415 => {}
            503 => assert!(failing, "{body}"),
            // Of empty bodies nothing else can be said.
            status => assert!(!empty && status == 413, "{status}: {body}"),
        }
    }

    /// What went to workflow and to the bus is of this tenant, and of who proved to be its device.
    fn check_recorded(&self, tenant: usize, asked: usize, published: usize, body: &str) {
        let opened = self.house.workflow.opened.lock();
        let mut newest = HashMap::new();
        let mut known = HashMap::new();
        for open in opened.iter() {
            newest.insert(
                (open.tenant.clone(), open.device.clone()),
                open.session.clone(),
            );
            known.insert(
                open.session.clone(),
                (open.tenant.clone(), open.device.clone()),
            );
        }
        let asked = &self.house.workflow.asked.lock()[asked..];
        for asked in asked {
            assert_eq!(asked.tenant, TENANTS[tenant].0);
            let whose = known
                .get(&asked.session)
                .expect("a session that was opened");
            assert_eq!(*whose, (asked.tenant.clone(), asked.device.clone()));
        }
        for (_, _, event) in &self.house.bus.published.lock()[published..] {
            assert_eq!(event.tenant, TENANTS[tenant].0);
            assert!(
                DEVICES
                    .iter()
                    .any(|(serial, _)| event.device == format!("0000CA-Router-{serial}"))
            );
        }
        let ours = [
            "GetParameterValues>",
            "GetParameterNames>",
            "FactoryReset",
            "Reboot>",
        ];
        if ours
            .iter()
            .any(|request| body.contains(&format!("<cwmp:{request}")))
        {
            let last = asked.last().expect("a request comes from workflow");
            let whose = (last.tenant.clone(), last.device.clone());
            assert_eq!(
                newest.get(&whose),
                Some(&last.session),
                "a request for a session that is fenced"
            );
        }
    }

    /// With the house in order again each session ends, and one at most per device is alive.
    async fn end(mut self) {
        self.house.workflow.down.store(false, Ordering::SeqCst);
        self.house.bus.full.store(false, Ordering::SeqCst);
        self.work(2);
        let cookies: Vec<_> = self
            .jar
            .iter()
            .map(|cookie| (cookie.tenant, cookie.text.clone()))
            .collect();
        let mut alive = HashMap::new();
        for (tenant, mut cookie) in cookies {
            for turn in 0.. {
                assert!(turn <= TO_THE_END, "a session without an end");
                let had = self.house.workflow.asked.lock().len();
                let before = self.jar.len();
                let answer = self
                    .exchange(tenant, &[&cookie], None, Bytes::new(), 0)
                    .await;
                if answer.status == 200 && answer.body.contains("<cwmp:") {
                    let asked = self.house.workflow.asked.lock();
                    let asked = asked[had..].last().expect("a request comes from workflow");
                    let whose = (asked.tenant.clone(), asked.device.clone());
                    let first = alive.entry(whose).or_insert_with(|| asked.session.clone());
                    assert_eq!(*first, asked.session, "two live sessions of a device");
                }
                if !answer.cookie {
                    break;
                }
                cookie = self.jar[before].text.clone();
            }
        }
    }
}

/// A cookie in quotes, and another one after it.
fn quoted(cookie: &str, more: usize) -> String {
    let value = cookie.strip_prefix("hs=").unwrap_or(cookie);
    format!("hs=\"{value}\", hs={}", "A".repeat(more))
}

fn text_of(value: &HeaderValue) -> String {
    value.to_str().expect("printable").to_owned()
}
