//! `hearthctl device`.

use crate::{
    api::all_pages,
    app::App,
    cli::{DeviceCommand, Format, When},
    error::{Error, id_of},
    exit::Exit,
    filter,
    resolve::{self, Found},
    show, times,
};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{DeviceState, FactoryReset, GetRpcMethods, Reboot, Refresh, task_spec::Kind},
};
use std::time::Duration;

use super::life;
use tokio::time::{Instant, timeout_at};

/// The largest page of the API.
const PAGE: usize = 1000;

/// Runs one command.
pub(crate) async fn run(command: DeviceCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        DeviceCommand::List { filter, limit } => list(app, filter.unwrap_or_default(), limit).await,
        DeviceCommand::Search(search) => {
            let filter = filter::of(&search)?;
            if filter.is_empty() {
                return Err(Error::usage(
                    "no condition is given; see: hearthctl device search --help; all devices: \
                     hearthctl device list",
                ));
            }
            list(app, filter, search.limit).await
        }
        DeviceCommand::Get { device } => {
            let api = app.api().await?;
            let found = resolve::device(&api, &device, false).await?;
            let device = found.device.unwrap_or_default();
            app.print(&device, |app, device| show::device(app, device))
        }
        DeviceCommand::Count => count(app).await,
        DeviceCommand::Watch {
            device,
            limit,
            duration,
        } => watch(app, device, limit, duration).await,
        DeviceCommand::Delete { device, yes } => delete(app, &device, yes).await,
        DeviceCommand::Tag {
            device,
            tags,
            remove,
        } => tag(app, &device, tags, remove).await,
        DeviceCommand::Expect { device } => {
            life::set_state(app, &device, DeviceState::Expected, None).await
        }
        DeviceCommand::Block { device, reason } => {
            life::set_state(app, &device, DeviceState::Blocked, reason).await
        }
        DeviceCommand::Unblock { device } => {
            life::set_state(app, &device, DeviceState::Active, None).await
        }
        DeviceCommand::Retire { device, reason } => {
            life::set_state(app, &device, DeviceState::Retired, reason).await
        }
        DeviceCommand::Wake { device } => wake(app, &device).await,
        DeviceCommand::Refresh { device, path, task } => {
            let path = path.unwrap_or_default();
            let task = app
                .perform(&device, Kind::Refresh(Refresh { path }), &task)
                .await?;
            app.print_done(task, |task| {
                let total = task.result.as_ref().map_or(0, |result| result.total);
                format!("{}: {total} values were read", id_of(&task.device))
            })
        }
        DeviceCommand::Reboot { device, task } => {
            let task = app.perform(&device, Kind::Reboot(Reboot {}), &task).await?;
            app.print_done(task, |task| {
                format!("{} has restarted", id_of(&task.device))
            })
        }
        DeviceCommand::FactoryReset { device, yes, task } => {
            let api = app.api().await?;
            let found = resolve::device(&api, &device, task.unseen).await?;
            if !yes && !app.host.in_is_terminal {
                return Err(Error::usage(format!(
                    "{} will lose all its settings and nobody can be asked; if it is to be so: --yes",
                    found.id()
                )));
            }
            sure(app, &found, yes, "reset to its factory settings")?;
            let kind = Kind::FactoryReset(FactoryReset {});
            let task = app.perform_on(&api, &found.name, kind, &task).await?;
            app.print_done(task, |task| {
                format!("{} has its factory settings", id_of(&task.device))
            })
        }
        DeviceCommand::History {
            device,
            path,
            since,
            until,
            limit,
        } => history(app, &device, path, since, until, limit).await,
        DeviceCommand::Why { device } => super::explain::device(app, &device).await,
        DeviceCommand::Spread(args) => super::spread::run(args, app).await,
        DeviceCommand::Sessions {
            device,
            session,
            limit,
        } => super::sessions::run(app, &device, session, limit).await,
        DeviceCommand::RpcMethods { device, task } => {
            let kind = Kind::GetRpcMethods(GetRpcMethods {});
            let Some(task) = app.perform(&device, kind, &task).await? else {
                return Ok(());
            };
            let methods = task.result.unwrap_or_default().methods;
            app.print(&methods, |app, methods| {
                methods.iter().try_for_each(|m| app.say(m))
            })
        }
    }
}

async fn list(app: &mut App<'_>, filter: String, limit: usize) -> Result<(), Error> {
    let api = app.api().await?;
    let (devices, more) = all_pages(limit, PAGE, |page_size, page_token| {
        let request = nb::ListDevicesRequest {
            parent: api.tenant_name(),
            page_size,
            page_token,
            filter: filter.clone(),
        };
        let api = &api;
        async move {
            let page = api.answer(api.devices().list_devices(request)).await?;
            Ok((page.devices, page.next_page_token))
        }
    })
    .await?;
    app.print(&devices, |app, devices| show::devices(app, devices))?;
    app.more(more, limit);
    Ok(())
}

impl App<'_> {
    /// Says that a list was cut.
    pub(crate) fn more(&mut self, more: bool, limit: usize) {
        if more {
            self.note(&format!("there are more than {limit}; all: --limit 0"));
        }
    }
}

async fn count(app: &mut App<'_>) -> Result<(), Error> {
    let api = app.api().await?;
    let parent = api.tenant_name();
    let request = nb::CountDevicesRequest { parent };
    let counts = api.answer(api.devices().count_devices(request)).await?;
    app.print(&counts, |app, counts| {
        app.say(format!(
            "{} devices, {} online",
            counts.total, counts.online
        ))
    })
}

async fn watch(
    app: &mut App<'_>,
    device: Option<String>,
    limit: Option<usize>,
    duration: Option<Duration>,
) -> Result<(), Error> {
    let api = app.api().await?;
    let parent = match device {
        Some(device) => resolve::device(&api, &device, true).await?.name,
        None => api.tenant_name(),
    };
    let request = nb::WatchDevicesRequest { parent };
    let mut events = api.answer(api.devices().watch_devices(request)).await?;
    let end = duration.map(|duration| Instant::now() + duration);
    let mut count = 0;
    while limit.is_none_or(|limit| count < limit) {
        let next = match end {
            None => events.message().await,
            Some(end) => match timeout_at(end, events.message()).await {
                Ok(next) => next,
                Err(_) => return Ok(()),
            },
        };
        let Some(event) = next? else {
            return Err(Error::Said {
                exit: Exit::Unavailable,
                message: "the server ended the watch".into(),
                advice: "try again in a moment".into(),
            });
        };
        if event.event.is_none() {
            app.note("watching; Ctrl-C ends it");
            continue;
        }
        app.print_line(&event, |app, event| show::event(app, event))?;
        count += 1;
    }
    Ok(())
}

/// Asks before what can't be undone; without anybody to ask, a short form is not enough.
fn sure(app: &mut App<'_>, found: &Found, yes: bool, what: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if !found.exact && !app.host.in_is_terminal {
        return Err(Error::usage(format!(
            "only the beginning of the id is given and nobody can be asked; give the whole id, {}, \
             or --yes",
            found.id()
        )));
    }
    app.confirm(&format!("{} will be {what}. Go on?", found.id()))
}

async fn delete(app: &mut App<'_>, device: &str, yes: bool) -> Result<(), Error> {
    let api = app.api().await?;
    // One that was never seen may have tasks, which go with it.
    let found = resolve::device(&api, device, true).await?;
    sure(
        app,
        &found,
        yes,
        "forgotten, with its parameters, history and open tasks",
    )?;
    let name = found.name.clone();
    let request = nb::DeleteDeviceRequest { name };
    api.answer(api.devices().delete_device(request)).await?;
    deleted(app, &found.name)
}

/// Says that something is gone.
pub(super) fn deleted(app: &mut App<'_>, name: &str) -> Result<(), Error> {
    let document = serde_json::json!({ "name": name, "deleted": true });
    app.print(&document, |app, _| {
        app.say(format!("{} deleted", id_of(name)))
    })
}

async fn tag(
    app: &mut App<'_>,
    device: &str,
    add_tags: Vec<String>,
    remove_tags: Vec<String>,
) -> Result<(), Error> {
    let api = app.api().await?;
    let found = resolve::device(&api, device, false).await?;
    let device = if add_tags.is_empty() && remove_tags.is_empty() {
        found.device
    } else {
        let request = nb::UpdateDeviceRequest {
            device: Some(nb::Device {
                name: found.name.clone(),
                ..Default::default()
            }),
            add_tags,
            remove_tags,
            ..Default::default()
        };
        api.answer(api.devices().update_device(request))
            .await?
            .device
    };
    app.print(&device.unwrap_or_default(), |app, device| {
        match device.tags.is_empty() {
            true => app.note("no tags"),
            false => app.say(device.tags.join("\n"))?,
        }
        Ok(())
    })
}

async fn wake(app: &mut App<'_>, device: &str) -> Result<(), Error> {
    let api = app.api().await?;
    let name = resolve::device(&api, device, false).await?.name;
    let request = nb::WakeDeviceRequest { name };
    let answer = api.answer(api.devices().wake_device(request)).await?;
    if answer.accepted {
        return app.print(&answer, |app, answer| {
            app.say(match answer.detail.as_str() {
                "" => "accepted; its Inform is due within 30 seconds",
                detail => detail,
            })
        });
    }
    if app.format() != Format::Table {
        app.print(&answer, |_, _| Ok(()))?;
    }
    Err(Error::Said {
        exit: Exit::Failed,
        message: format!("the device was not woken: {}", answer.outcome),
        advice: answer.detail,
    })
}

async fn history(
    app: &mut App<'_>,
    device: &str,
    path: String,
    since: Option<When>,
    until: Option<When>,
    limit: usize,
) -> Result<(), Error> {
    let api = app.api().await?;
    let now = (app.host.now)();
    let parent = resolve::device(&api, device, true).await?.name;
    let (entries, more) = all_pages(limit, PAGE, |page_size, page_token| {
        let request = nb::ListHistoryRequest {
            parent: parent.clone(),
            path: path.clone(),
            start_time: since.map(|when| times::write(when.before(now))),
            end_time: until.map(|when| times::write(when.before(now))),
            page_size,
            page_token,
        };
        let api = &api;
        async move {
            let page = api.answer(api.devices().list_history(request)).await?;
            Ok((page.entries, page.next_page_token))
        }
    })
    .await?;
    app.print(&entries, |app, entries| show::history(app, entries))?;
    app.more(more, limit);
    Ok(())
}
