//! `device why`, `task why`, `refusals list`, and a wait that ends without the task's end.

use crate::common::{Fake, ROUTER, TASK};
use hearth_proto::types::v1::TaskState;
use hearthctl::Exit;

#[tokio::test]
async fn why_is_told_with_its_facts_and_remedies() {
    let fake = Fake::start().await;
    let ran = fake.run(&["device", "why", "00D09E-Never-Seen"]).await.ok();
    assert_eq!(
        ran.out,
        "! The device was refused 3 times.  [wrong_password]\n    user=router1\n    → Set its \
         password: `hearthctl credential set`.\n"
    );
    let ran = fake.run(&["task", "why", TASK, "-o", "json"]).await.ok();
    let json = ran.json();
    assert_eq!(json["findings"][0]["code"], "wrong_password");
    assert_eq!(json["findings"][0]["severity"], "FINDING_SEVERITY_DECISIVE");
    let asked = fake.state.lock().unwrap().explained.clone();
    let task = format!("tenants/default/tasks/{TASK}");
    assert_eq!(asked, ["tenants/default/devices/00D09E-Never-Seen", &task]);
}

#[tokio::test]
async fn refusals_are_listed_by_whom_they_concern() {
    let fake = Fake::start().await;
    let list = ["refusals", "list", "--device", ROUTER, "--user", "router1"];
    let ran = fake
        .run(&[&list[..], &["--address", "192.0.2.7"]].concat())
        .await
        .ok();
    assert!(ran.out.starts_with("LAST"), "{ran:?}");
    assert!(
        ran.out.contains("unknown_user") && !ran.out.contains('\u{1b}'),
        "{ran:?}"
    );
    let asked = fake.state.lock().unwrap().explained.clone();
    let device = format!("tenants/default/devices/{ROUTER}");
    assert_eq!(asked, [format!("{device} router1 192.0.2.7")]);
}

#[tokio::test]
async fn a_wait_that_ends_first_says_why() {
    let fake = Fake::start().await;
    fake.with(|state| state.script = vec![TaskState::Queued]);
    let ran = fake
        .run(&["device", "reboot", ROUTER, "--wait-timeout", "1s"])
        .await;
    ran.fails(
        Exit::StillOpen,
        &[
            "The device was refused 3 times.",
            "hearthctl task why",
            "hearthctl task watch",
        ],
    );
}
