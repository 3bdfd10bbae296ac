//! A CWMP client that nobody here wrote, PyPI's `CwmpClient`, where `scripts/tools` has put it.

use std::path::Path;

use hearth_proto::events::v1 as ev;
use hearth_proto::types::v1 as ty;
use hearth_proto::workflow::v1 as wf;
use wf::request::Rpc;
use wf::request_outcome::Kind;

use crate::support::{PASSWORD, USER, house};

#[tokio::test]
async fn a_foreign_client_informs_is_read_and_set() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !root.join(".tools/cwmpclient/bin/python").exists() {
        println!("SKIPPED: CwmpClient is not installed (scripts/tools cwmpclient)");
        return;
    }
    let house = house().await;
    let id = |step: u32| format!("01hzy3v7k2q4w6e8r0t2y4a6d8.1.{step}");
    let names = ty::GetParameterNames {
        path: "Device.".to_owned(),
        next_level: true,
    };
    house
        .workflow
        .will_send(&id(0), Rpc::GetParameterNames(names));
    let set = wf::SetParameterValuesRpc {
        values: vec![ty::ParameterValue {
            path: "Device.DeviceInfo.ProvisioningCode".to_owned(),
            value: "a <b> & c".to_owned(),
            r#type: i32::from(ty::ValueType::String),
            sealed: Vec::new(),
        }],
        parameter_key: "01hzy3v7k2q4w6e8r0t2y4a6d8.1".to_owned(),
        ..wf::SetParameterValuesRpc::default()
    };
    house
        .workflow
        .will_send(&id(1), Rpc::SetParameterValues(set));
    let get = ty::GetParameterValues {
        paths: vec!["Device.DeviceInfo.".to_owned()],
    };
    house
        .workflow
        .will_send(&id(2), Rpc::GetParameterValues(get));
    let output = tokio::process::Command::new(root.join("scripts/cwmpclient"))
        .arg(format!("http://localhost:{}/", house.address.port()))
        .args(["--user", USER, "--password", PASSWORD])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let events = house.bus.events();
    assert!(matches!(&events[0], ev::event::Kind::Inform(inform) if inform.oui == "FFFFFF"));
    let outcomes = house.workflow.outcomes();
    assert_eq!(outcomes.len(), 3, "{outcomes:?} {said}");
    assert!(
        matches!(&outcomes[0].kind, Some(Kind::Names(_))),
        "{outcomes:?}"
    );
    assert!(
        matches!(&outcomes[1].kind, Some(Kind::Applied(_))),
        "{outcomes:?}"
    );
    let Some(Kind::Values(read)) = &outcomes[2].kind else {
        panic!("values: {outcomes:?}")
    };
    let code = read
        .values
        .iter()
        .find(|value| value.path.ends_with(".ProvisioningCode"));
    assert_eq!(code.unwrap().value, "a <b> & c");
}
