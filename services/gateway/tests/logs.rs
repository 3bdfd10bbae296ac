//! What logs say of a session, at their most talkative: no secret, and no line that a device made. A
//! process of its own: a captured log and tests beside it disturb each other.
#![allow(clippy::unwrap_used)]

#[path = "edge/support/mod.rs"]
mod support;

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::client::basic;
use crate::support::doubles::REQUEST;
use crate::support::xml::{DEVICE, envelope, inform, inform_of, value};
use crate::support::{PASSWORD, USER, house};
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1::request::Rpc;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn secrets_and_forged_lines_stay_out() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(captured.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let house = house().await;
    house.device_state.allow(USER, PASSWORD, Some(DEVICE));
    house.workflow.will_send(
        REQUEST,
        Rpc::SetParameterValues(hearth_proto::workflow::v1::SetParameterValuesRpc {
            values: vec![ty::ParameterValue {
                path: "Device.ManagementServer.Password".to_owned(),
                value: "Deep-Thought".to_owned(),
                ..ty::ParameterValue::default()
            }],
            ..hearth_proto::workflow::v1::SetParameterValuesRpc::default()
        }),
    );
    let mut cpe = house.connect().await;
    let answer = cpe.post(&basic(), inform()).await;
    let answer = cpe.turn(&answer.cookie(), "").await;
    let read = value("Device.WiFi.X.KeyPassphrase", "Slartibartfast");
    let read = format!(
        "<cwmp:GetParameterValuesResponse><ParameterList>{read}</ParameterList></cwmp:GetParameterValuesResponse>"
    );
    cpe.turn(&answer.cookie(), envelope(REQUEST, &read)).await;
    // Wrong in every way, with line ends in what would be logged.
    let forged = "Authorization: Digest username=\"eve\\\u{85}2027 ERROR forged\"\r\n";
    cpe.post(forged, inform()).await;
    cpe.post(&basic(), inform_of("1&#10;2027 ERROR forged", &[]))
        .await;
    let unknown = envelope(
        "9",
        "<cwmp:Inform><A>&#10;2027 ERROR forged</A></cwmp:Inform>",
    );
    cpe.post(&basic(), unknown).await;

    let text = String::from_utf8(captured.0.lock().clone()).unwrap();
    assert!(
        text.contains("session opened") && text.contains("identity"),
        "{text}"
    );
    assert!(
        text.contains("wrong_password") || text.contains("unknown_user"),
        "{text}"
    );
    for secret in [PASSWORD, "Trillian", "Slartibartfast", "Deep-Thought"] {
        assert!(!text.contains(secret), "{secret} in the log");
    }
    assert!(!text.contains("hs="), "no cookie in the log");
    let forged = text.lines().any(|line| line.starts_with("2027"));
    assert!(!forged && !text.contains('\u{85}'), "{text}");
}
