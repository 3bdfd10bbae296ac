//! `hearthctl param`, `attr` and `object`.

use crate::{
    api::{Api, all_pages},
    app::App,
    cli::{
        AttrCommand, AttrSetArgs, ObjectCommand, ParamCommand, ParamGetArgs, ParamSetArgs,
        TaskOptions,
    },
    error::{Error, id_of},
    resolve, show, values,
};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{
        AddObject, DeleteObject, GetParameterAttributes, GetParameterNames, GetParameterValues,
        ParameterAttributes, ParameterValue, SetParameterAttributes, SetParameterValues,
        task_spec::Kind,
    },
};

/// The largest page of parameters.
const PAGE: usize = 10_000;

/// Runs one command.
pub(crate) async fn run(command: ParamCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        ParamCommand::List {
            device,
            path,
            values_only,
            limit,
        } => {
            let api = app.api().await?;
            let name = resolve::device(&api, &device, false).await?.name;
            let path = path.unwrap_or_default();
            let (found, more) = known(&api, &name, &path, values_only, limit).await?;
            app.print(&found, |app, found| show::parameters(app, found))?;
            app.more(more, limit);
            Ok(())
        }
        ParamCommand::Get(args) if args.cached => get_cached(app, &args).await,
        ParamCommand::Get(args) => get(app, *args).await,
        ParamCommand::Set(args) => set(app, *args).await,
        ParamCommand::Discover {
            device,
            path,
            next_level,
            task,
        } => discover(app, &device, path, next_level, &task).await,
    }
}

/// Parameters as they are known, and whether there are more.
async fn known(
    api: &Api,
    device: &str,
    path: &str,
    values_only: bool,
    limit: usize,
) -> Result<(Vec<nb::Parameter>, bool), Error> {
    all_pages(limit, PAGE, |page_size, page_token| {
        let request = nb::ListParametersRequest {
            parent: device.to_owned(),
            path: path.to_owned(),
            page_size,
            page_token,
            values_only,
        };
        async move {
            let page = api.answer(api.devices().list_parameters(request)).await?;
            Ok((page.parameters, page.next_page_token))
        }
    })
    .await
}

async fn get_cached(app: &mut App<'_>, args: &ParamGetArgs) -> Result<(), Error> {
    let api = app.api().await?;
    let device = resolve::device(&api, &args.device, false).await?;
    let mut all = Vec::new();
    for path in &args.paths {
        let (found, _) = known(&api, &device.name, path, true, 0).await?;
        if found.is_empty() {
            app.note(&format!("nothing is known of {path}"));
        }
        all.extend(found);
    }
    if all.is_empty() {
        return Err(Error::NotFound {
            message: format!("nothing is known there of {}", device.id()),
            advice: "read it from the device: without --cached".into(),
        });
    }
    if args.raw {
        return all
            .iter()
            .try_for_each(|p| app.say(p.value.as_deref().unwrap_or_default()));
    }
    app.print(&all, |app, all| show::parameters(app, all))
}

async fn get(app: &mut App<'_>, args: ParamGetArgs) -> Result<(), Error> {
    let paths = args.paths.clone();
    let kind = Kind::GetParameterValues(GetParameterValues { paths });
    let Some(task) = app.perform(&args.device, kind, &args.task).await? else {
        return Ok(());
    };
    let result = task.result.unwrap_or_default();
    let mut read = result.values;
    if result.truncated {
        read = read_rest(app, &task.device, &args.paths, read).await?;
    }
    if args.raw {
        return read.iter().try_for_each(|value| app.say(&value.value));
    }
    app.print(&read, |app, read| show::values(app, read))
}

/// The result of a large read ends at 256 KiB; the values themselves are with the device's
/// parameters.
async fn read_rest(
    app: &mut App<'_>,
    device: &str,
    paths: &[String],
    read: Vec<ParameterValue>,
) -> Result<Vec<ParameterValue>, Error> {
    let api = app.api().await?;
    let mut all = read;
    let mut seen: std::collections::HashSet<String> = all.iter().map(|v| v.path.clone()).collect();
    for path in paths {
        let (known, _) = known(&api, device, path, true, 0).await?;
        for parameter in known {
            let value_type = parameter.r#type;
            if let Some(value) = parameter.value
                && seen.insert(parameter.path.clone())
            {
                all.push(ParameterValue {
                    path: parameter.path,
                    value,
                    r#type: value_type,
                    ..Default::default()
                });
            }
        }
    }
    Ok(all)
}

async fn set(app: &mut App<'_>, args: ParamSetArgs) -> Result<(), Error> {
    let values = values::read(app, &args.values, &args.value_file, &args.types)?;
    let kind = Kind::SetParameterValues(SetParameterValues { values });
    let task = app.perform(&args.device, kind, &args.task).await?;
    app.print_done(task, |task| {
        let count = match task.spec.as_ref().and_then(|spec| spec.kind.as_ref()) {
            Some(Kind::SetParameterValues(set)) => set.values.len(),
            _ => 0,
        };
        let plural = if count == 1 { "value" } else { "values" };
        format!("{}: {count} {plural} set", id_of(&task.device))
    })
}

async fn discover(
    app: &mut App<'_>,
    device: &str,
    path: Option<String>,
    next_level: bool,
    options: &TaskOptions,
) -> Result<(), Error> {
    let api = app.api().await?;
    let found = resolve::device(&api, device, options.unseen).await?;
    let root = || {
        found
            .device
            .as_ref()
            .map(|d| d.root.clone())
            .filter(|root| !root.is_empty())
    };
    let Some(path) = path.or_else(root) else {
        return Err(Error::usage(
            "the root of the device's data model is not known; give `Device.` or \
             `InternetGatewayDevice.`",
        ));
    };
    let kind = Kind::GetParameterNames(GetParameterNames { path, next_level });
    let Some(task) = app.perform_on(&api, &found.name, kind, options).await? else {
        return Ok(());
    };
    let result = task.result.unwrap_or_default();
    app.print(&result.names, |app, names| show::names(app, names))?;
    if result.truncated {
        let id = found.id().to_owned();
        app.note(&format!(
            "{} in all; the rest: hearthctl param list {id}",
            result.total
        ));
    }
    Ok(())
}

/// `hearthctl attr`.
pub(crate) async fn attr(command: AttrCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        AttrCommand::Get {
            device,
            paths,
            task,
        } => {
            let kind = Kind::GetParameterAttributes(GetParameterAttributes { paths });
            let Some(task) = app.perform(&device, kind, &task).await? else {
                return Ok(());
            };
            let result = task.result.unwrap_or_default();
            app.print(&result.attributes, |app, read| show::attributes(app, read))?;
            if result.truncated {
                app.note(&format!("{} in all; ask for less at a time", result.total));
            }
            Ok(())
        }
        AttrCommand::Set(args) => attr_set(app, *args).await,
    }
}

async fn attr_set(app: &mut App<'_>, args: AttrSetArgs) -> Result<(), Error> {
    let nobody = ["nobody", "none"];
    let set_access_list = !args.access.is_empty();
    let access_list: Vec<String> = match args.access.as_slice() {
        [only] if nobody.contains(&only.to_ascii_lowercase().as_str()) => Vec::new(),
        many => many.to_vec(),
    };
    let attributes: Vec<_> = args
        .paths
        .iter()
        .map(|path| ParameterAttributes {
            path: path.clone(),
            notification: args.notification,
            access_list: access_list.clone(),
            set_access_list,
        })
        .collect();
    let count = attributes.len();
    let kind = Kind::SetParameterAttributes(SetParameterAttributes { attributes });
    let task = app.perform(&args.device, kind, &args.task).await?;
    app.print_done(task, |task| {
        format!("{}: attributes set ({count})", id_of(&task.device))
    })
}

/// `hearthctl object`.
pub(crate) async fn object(command: ObjectCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        ObjectCommand::Add {
            device,
            object,
            values: given,
            types,
            task,
        } => {
            let values = values::read(app, &given, &[], &types)?;
            let object = dotted(object);
            // The answer is a number, also where an alias was asked for.
            let table = object.strip_suffix("].").and_then(|body| body.rfind(".["));
            let base = table
                .map_or(object.as_str(), |dot| &object[..=dot])
                .to_owned();
            let kind = Kind::AddObject(AddObject { object, values });
            let task = app.perform(&device, kind, &task).await?;
            app.print_done(task, |task| {
                let number = task
                    .result
                    .as_ref()
                    .map_or(0, |result| result.instance_number);
                format!("{base}{number}.")
            })
        }
        ObjectCommand::Delete {
            device,
            object,
            task,
        } => {
            let object = dotted(object);
            let name = object.clone();
            let kind = Kind::DeleteObject(DeleteObject { object });
            let task = app.perform(&device, kind, &task).await?;
            app.print_done(task, |_| format!("{name} deleted"))
        }
    }
}

/// An object's path ends in a dot; a forgotten one is meant.
fn dotted(mut path: String) -> String {
    if !path.ends_with('.') {
        path.push('.');
    }
    path
}
