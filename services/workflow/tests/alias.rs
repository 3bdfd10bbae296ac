//! AddObject by alias (TR-069 3.6.1): the alias tells which instance is the task's.

use crate::common::{Loss, Script, World, cpe::Cpe, value};
use hearth_proto::types::v1::{AddObject, TaskState, task_spec::Kind};

const TABLE: &str = "Device.NAT.PortMapping.";

fn add(object: &str) -> Kind {
    Kind::AddObject(AddObject {
        object: object.into(),
        values: vec![value("Description", "web")],
    })
}

fn by_alias() -> Kind {
    add("Device.NAT.PortMapping.[web].")
}

/// The answer to AddObject is lost: the first request reads the instances.
const LOST: Script = Script {
    lose: Some((1, Loss::After)),
    duplicate: false,
};

async fn instance(world: &World, id: &str) -> u32 {
    let task = world.task(id).await;
    assert_eq!(task.state(), TaskState::Succeeded, "{}", task.reason);
    task.result.unwrap().instance_number
}

#[tokio::test]
async fn an_instance_is_made_under_its_alias() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(by_alias()).await;
    world.session(&mut cpe).await;
    assert_eq!(instance(&world, &id).await, 2);
    assert_eq!(cpe.values["Device.NAT.PortMapping.2.Alias"], "web");
    assert_eq!(cpe.values["Device.NAT.PortMapping.2.Description"], "web");
}

#[tokio::test]
async fn in_doubt_it_is_looked_for_and_not_made_again() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(by_alias()).await;
    world.session_as(&mut cpe, LOST).await;
    world.session(&mut cpe).await;
    assert_eq!(instance(&world, &id).await, 2);
    assert_eq!(cpe.count("AddObject"), 1);
}

#[tokio::test]
async fn of_several_new_instances_the_alias_tells() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(by_alias()).await;
    world.session_as(&mut cpe, LOST).await;
    // Meanwhile somebody else made two.
    for (number, alias) in [(3, "cpe-3"), (4, "other")] {
        for (name, value) in [("Alias", alias), ("Description", "")] {
            let path = format!("{TABLE}{number}.{name}");
            cpe.values.insert(path, value.into());
        }
    }
    world.session(&mut cpe).await;
    assert_eq!(instance(&world, &id).await, 2);
    assert_eq!(cpe.values["Device.NAT.PortMapping.2.Description"], "web");
    assert_eq!(cpe.values["Device.NAT.PortMapping.4.Description"], "");
    // Where none has it, that is said.
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let id = world.create(by_alias()).await;
    world.session_as(&mut cpe, LOST).await;
    for path in ["2.Alias", "3.Alias", "3.Description"] {
        cpe.values.insert(format!("{TABLE}{path}"), "x".into());
    }
    world.session(&mut cpe).await;
    let task = world.task(&id).await;
    assert_eq!(task.state(), TaskState::UnknownOutcome, "{}", task.reason);
    assert!(task.reason.contains("alias"), "{}", task.reason);
}

#[tokio::test]
async fn no_two_on_one_table_in_doubt() {
    let (mut world, mut cpe) = (World::new().await, Cpe::new());
    let first = world.create(by_alias()).await;
    world.session_as(&mut cpe, LOST).await;
    let second = world.create(add(TABLE)).await;
    world.session(&mut cpe).await;
    assert_eq!(instance(&world, &first).await, 2);
    world.advance(5);
    world.session(&mut cpe).await;
    assert_eq!(instance(&world, &second).await, 3);
}

#[tokio::test]
async fn wrong_aliases_are_refused() {
    let world = World::new().await;
    let long = "x".repeat(65);
    for alias in ["", "1st", "cpe-1", "a]b", long.as_str()] {
        let object = format!("{TABLE}[{alias}].");
        assert_eq!(
            world.refused(add(&object)).await,
            "spec.add_object.object",
            "{object}"
        );
    }
}
