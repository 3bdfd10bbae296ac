//! What is planned.

#![allow(clippy::unwrap_used)]
use super::*;
use hearth_proto::types::v1::du_operation::Kind as Operation;
use std::collections::BTreeSet;

fn targets() -> Vec<Target> {
    let target = |(root, resets): (&str, bool)| Target {
        root: root.to_owned(),
        resets,
    };
    [
        ("Device.", false),
        ("Device.", true),
        ("InternetGatewayDevice.", false),
    ]
    .map(target)
    .into()
}

const DEADLINE: Duration = Duration::from_secs(40);

fn wishes() -> Vec<Wish> {
    let mut planner = Planner::new(Dice::new(3), targets(), DEADLINE);
    let mut stock = Stock {
        files: vec!["tenants/default/files/a".to_owned()],
        ..Stock::default()
    };
    (0..900)
        .map(|n| {
            let instance = format!("Device.Users.User.{n}.");
            stock.instances.entry(n % 3).or_default().push(instance);
            stock.units.push((2, format!("unit-{n}")));
            let task = format!("tenants/default/tasks/{n}");
            stock.transfers.push((0, task));
            planner.next(&mut stock)
        })
        .collect()
}

#[test]
fn every_kind_comes_and_a_seed_repeats() {
    let wishes = wishes();
    let kinds: BTreeSet<_> = wishes.iter().map(|wish| method(&wish.spec)).collect();
    assert_eq!(kinds.len(), WEIGHTS.len(), "{kinds:?}");
    let ids: BTreeSet<_> = wishes.iter().map(|wish| &wish.request_id).collect();
    assert_eq!(ids.len(), wishes.len());
    let again: Vec<_> = self::wishes()
        .into_iter()
        .map(|wish| wish.request_id)
        .collect();
    assert!(wishes.iter().map(|wish| &wish.request_id).eq(&again));
    for wish in &wishes {
        match method(&wish.spec) {
            // A reset forgets them.
            "Download" | "Upload" | "ScheduleDownload" | "ChangeDUState" => {
                assert_ne!(wish.device, 1);
            }
            "FactoryReset" => assert_eq!(wish.device, 1),
            _ => {}
        }
    }
}

#[test]
fn what_few_devices_have_goes_to_one_that_has_it() {
    let (mut cancelled, mut changed) = (0, BTreeSet::new());
    for wish in wishes() {
        match wish.spec.kind.unwrap() {
            Spec::CancelTransfer(cancel) => {
                assert_eq!(wish.device, 0);
                assert!(cancel.task.starts_with("tenants/default/tasks/"));
                cancelled += 1;
            }
            Spec::ChangeDuState(change) => {
                let [operation] = &change.operations[..] else {
                    panic!("{change:?}");
                };
                match operation.kind.as_ref().unwrap() {
                    Operation::Install(install) => {
                        assert_eq!(install.uuid.len(), 36, "{}", install.uuid);
                        changed.insert("install");
                    }
                    Operation::Update(update) => {
                        assert_eq!((wish.device, &update.uuid[..5]), (2, "unit-"));
                        changed.insert("update");
                    }
                    Operation::Uninstall(uninstall) => {
                        assert!(wish.device == 2 && uninstall.all_versions);
                        changed.insert("uninstall");
                    }
                }
            }
            Spec::ScheduleDownload(download) => {
                // The server refuses a deadline before the last window's end.
                let windows = &download.time_windows;
                let last = windows.last().unwrap().window_end;
                assert!(u64::from(last) < DEADLINE.as_secs());
                assert!(windows.iter().all(|w| w.window_start < w.window_end));
                assert!(windows.is_sorted_by_key(|w| w.window_start));
                assert!(wish.class != Class::Short);
            }
            _ => {}
        }
    }
    assert!(cancelled > 0 && changed.len() == 3, "{changed:?}");
    // Where there is nothing to cancel or to fetch, something else is asked.
    let mut planner = Planner::new(Dice::new(3), targets(), Duration::from_secs(2));
    let mut stock = Stock::default();
    for _ in 0..300 {
        let wish = planner.next(&mut stock);
        let kind = method(&wish.spec);
        assert!(!matches!(
            kind,
            "CancelTransfer" | "ScheduleDownload" | "ChangeDUState"
        ));
    }
}
