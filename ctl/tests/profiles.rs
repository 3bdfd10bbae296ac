//! Quirk profiles: put, checked, listed, shown, deleted, and what a device shows of its own.

use crate::common::{Fake, ROUTER};
use hearth_proto::northbound::v1::LearnedModel;
use hearth_proto::types::v1::{BooleanForm, ProfileChoice, Quirks};
use hearthctl::Exit;

const FILE: &str = "\
id: acme-old
description: Acme routers before 2.0
priority: 10
matches:
  - oui: \"00D09E\"
    product_class: IGD*
    software_below: \"2.0\"
quirks:
  triple_empty_end: true
  boolean_form: digits
  missing_rpcs: [Upload]
";

#[tokio::test]
async fn profiles_are_checked_put_listed_shown_and_deleted() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("acme.yaml");
    std::fs::write(&file, FILE).unwrap();
    let file = file.to_str().unwrap();

    let ran = fake.run(&["profile", "check", "-f", file]).await.ok();
    assert_eq!(ran.out, "acme-old is valid; it would be version 4\n");
    assert!(fake.state.lock().unwrap().profiles.is_empty());

    let ran = fake.run(&["profile", "put", "-f", file]).await.ok();
    assert_eq!(ran.out, "acme-old is kept as version 4\n");
    let kept = fake.state.lock().unwrap().profiles[0].clone();
    assert_eq!(kept.matches[0].product_class, "IGD*");
    assert_eq!(kept.quirks.unwrap().boolean_form(), BooleanForm::Digits);

    let ran = fake.run(&["profile", "list"]).await.ok();
    for text in ["acme-old", "tenant", "booleans as 0/1", "no Upload"] {
        assert!(ran.out.contains(text), "{ran:?}");
    }
    // What is shown can be put again.
    let shown = fake.run(&["profile", "get", "acme-old"]).await.ok().out;
    let again = folder.path().join("again.yaml");
    std::fs::write(&again, &shown).unwrap();
    let again = again.to_str().unwrap();
    fake.run(&["profile", "put", "-f", again]).await.ok();
    let both = fake.state.lock().unwrap().profiles.clone();
    assert_eq!(both[0], both[1]);
    let ran = fake
        .run(&["profile", "get", "acme-old", "-o", "json"])
        .await;
    assert_eq!(ran.ok().json()["quirks"]["boolean_form"], "digits");

    let ran = fake.run(&["profile", "delete", "acme-old"]).await.ok();
    assert!(ran.err.contains("comes with the server"), "{ran:?}");
    let ran = fake.run(&["profile", "get", "none"]).await;
    ran.fails(Exit::NotFound, &[]);
}

#[tokio::test]
async fn a_slip_in_a_file_is_named_before_anything_is_sent() {
    let fake = Fake::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, FILE.replace("boolean_form", "boolen_form")).unwrap();
    let ran = fake
        .run(&["profile", "put", "-f", file.to_str().unwrap()])
        .await;
    ran.fails(Exit::Usage, &["bad.yaml", "boolen_form", "boolean_form"]);
    assert!(fake.state.lock().unwrap().profiles.is_empty());
}

#[tokio::test]
async fn a_device_shows_its_profile_and_what_was_learned_apart() {
    let fake = Fake::start().await;
    fake.with(|state| {
        state.devices[0].profile = Some(ProfileChoice {
            id: "acme-old".into(),
            version: 3,
            reason: "oui 00D09E; priority 10".into(),
            quirks: Some(Quirks {
                max_names_per_read: 50,
                ..Quirks::default()
            }),
            ..ProfileChoice::default()
        });
        state.devices[0].learned = Some(LearnedModel {
            max_names_per_read: 8,
            missing_rpcs: vec!["Upload".into()],
            ..LearnedModel::default()
        });
    });
    let ran = fake.run(&["device", "get", ROUTER]).await.ok();
    for text in ["acme-old@3", "oui 00D09E", "at most 50 names a read"] {
        assert!(ran.out.contains(text), "{ran:?}");
    }
    for text in ["learned", "at most 8 names a read", "no Upload"] {
        assert!(ran.out.contains(text), "{ran:?}");
    }
}
