//! What the verification looks at: what the devices did, what the server says, what was
//! acknowledged. Plain data, so that the verification itself can be tested.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hearth_proto::northbound::v1 as nb;
use tonic::{Code, Status};

use super::api::{Api, KeptFile, TENANT, repeat};
use super::book::{Book, Kept, Known, Tags, id_of};
use super::plan::Target;
use crate::{Acknowledged, Device, Executed, Transferred};

/// Calls at once.
const CALLS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a device is and did, by the simulator's own books.
#[derive(Clone, Debug)]
pub struct Truth {
    /// `tenants/{tenant}/devices/{device}`
    pub name: String,
    /// Its serial number.
    pub serial: String,
    /// Its tree's root and what is asked of it.
    pub target: Target,
    /// RPCs, faults included, oldest first.
    pub executed: Vec<Executed>,
    /// Informs whose response it has read, oldest first.
    pub acknowledged: Vec<Acknowledged>,
    /// File transfers that ended.
    pub transferred: Vec<Transferred>,
    /// CommandKeys whose TransferComplete or DUStateChangeComplete was acknowledged, and when.
    pub reported: Vec<(String, SystemTime)>,
    /// Values, at the end, of the paths that the test looks at.
    pub values: BTreeMap<String, String>,
    /// Notification attribute of the path that the device changes itself, at the end.
    pub notification: Option<u32>,
    /// Objects below the table in which instances are made.
    pub instances: BTreeSet<String>,
    /// UUIDs of its deployment units, at the end.
    pub units: BTreeSet<String>,
}

impl Truth {
    /// What a device is and did.
    pub fn of(device: &Device, name: &str, target: &Target) -> Self {
        let own = target.own_path();
        let [first, second] = target.set_paths();
        let paths = [first, second, own.clone()];
        let value = |path: String| device.value(&path).map(|value| (path, value));
        let table = target.table();
        Self {
            name: name.to_owned(),
            serial: device.serial().to_owned(),
            target: target.clone(),
            executed: device.executed(),
            acknowledged: device.acknowledged(),
            transferred: device.with_ledger(|ledger| ledger.transferred().to_vec()),
            reported: device.with_ledger(|ledger| ledger.reported().to_vec()),
            values: paths.into_iter().filter_map(value).collect(),
            notification: device
                .with_tree(|tree| tree.attributes(&own))
                .map(|a| a.notification.into()),
            instances: device.with_tree(|tree| tree.objects(&table).map(str::to_owned).collect()),
            units: device.units().into_iter().map(|(uuid, _)| uuid).collect(),
        }
    }
}

/// What the server says of a device.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The device; `None` if it doesn't know it.
    pub device: Option<nb::Device>,
    /// Parameters by path.
    pub parameters: BTreeMap<String, nb::Parameter>,
    /// History, newest first.
    pub history: Vec<nb::HistoryEntry>,
    /// Whether a search for one of its tags finds it; `None` if it has none.
    pub found_by_tag: Option<bool>,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Evidence {
    /// The devices, by their number in the fleet.
    pub truth: Vec<Truth>,
    /// What the server says of each.
    pub said: Vec<Said>,
    /// Tasks that were acknowledged, by id.
    pub known: BTreeMap<String, Known>,
    /// What the server answers to GetTask, by id. Absent if it knows no such task.
    pub tasks: BTreeMap<String, nb::Task>,
    /// Ids of all tasks that it lists.
    pub listed: BTreeSet<String>,
    /// Ids of tasks that others made: earlier ones, and canaries.
    pub others: BTreeSet<String>,
    /// Creates that never were answered: their tasks may or may not be there.
    pub unanswered: usize,
    /// Requests that the server refused although they were good.
    pub refused: Vec<String>,
    /// Files that were acknowledged.
    pub files: Vec<Kept>,
    /// Files as the server gives them, by name, uploads of devices among them.
    pub kept: BTreeMap<String, KeptFile>,
    /// Tags that were acknowledged, by device.
    pub tags: BTreeMap<usize, Tags>,
    /// Devices that informed before the test proper.
    pub preloaded: u64,
    /// Devices that the server counts.
    pub counted: u64,
    /// Times from starting the server to readiness.
    pub restarts: Vec<Duration>,
    /// The longest that a start may take.
    pub restart_limit: Duration,
    /// Ends of the server that nobody asked for, and panics in its log.
    pub accidents: Vec<String>,
}

/// Asks the server for everything.
///
/// # Errors
/// When it doesn't answer.
pub async fn gather(api: &Api, truth: Vec<Truth>, book: &Book) -> Result<Evidence> {
    let mut evidence = Evidence {
        known: book.tasks.clone(),
        unanswered: book.unanswered,
        refused: book.refused.clone(),
        files: book.files.clone(),
        tags: book.tags.clone(),
        ..Evidence::default()
    };
    let names: Vec<_> = book
        .tasks
        .values()
        .map(|known| known.name.clone())
        .collect();
    let tasks: Vec<Option<nb::Task>> = stream::iter(names)
        .map(|name| get_task(api, name))
        .buffer_unordered(CALLS)
        .try_collect()
        .await
        .context("GetTask")?;
    let tasks = tasks.into_iter().flatten();
    evidence.tasks = tasks
        .map(|task| (id_of(&task.name).to_owned(), task))
        .collect();
    evidence.listed = list_tasks(api).await.context("ListTasks")?;
    let asked = truth.iter().enumerate().map(|(number, truth)| {
        let tag = book.tags.get(&number).and_then(|tags| tags.present.first());
        (truth.name.clone(), tag.cloned())
    });
    evidence.said = stream::iter(asked.collect::<Vec<_>>())
        .map(|(name, tag)| said(api, name, tag))
        .buffered(CALLS)
        .try_collect()
        .await
        .context("devices")?;
    let mut files: BTreeSet<String> = book.files.iter().map(|file| file.name.clone()).collect();
    let results = evidence
        .tasks
        .values()
        .filter_map(|task| task.result.as_ref());
    files.extend(
        results
            .map(|result| result.file.clone())
            .filter(|file| !file.is_empty()),
    );
    let kept: Vec<_> = stream::iter(files)
        .map(|name| read_file(api, name))
        .buffer_unordered(CALLS)
        .try_collect()
        .await
        .context("files")?;
    evidence.kept = kept.into_iter().flatten().collect();
    evidence.counted = count_devices(api).await.context("CountDevices")?;
    evidence.truth = truth;
    Ok(evidence)
}

/// How many devices the server counts.
///
/// # Errors
/// When it doesn't answer.
pub async fn count_devices(api: &Api) -> Result<u64> {
    let count = || async {
        let parent = TENANT.to_owned();
        let request = nb::CountDevicesRequest { parent };
        api.devices.clone().count_devices(request).await
    };
    Ok(repeat(PATIENCE, count).await?.total)
}

async fn get_task(api: &Api, name: String) -> Result<Option<nb::Task>> {
    let call = || async {
        let request = nb::GetTaskRequest { name: name.clone() };
        match api.tasks.clone().get_task(request).await {
            Err(status) if status.code() == Code::NotFound => {
                Ok(tonic::Response::new(nb::GetTaskResponse::default()))
            }
            answer => answer,
        }
    };
    Ok(repeat(PATIENCE, call).await?.task)
}

/// Ids of all tasks that the server lists.
///
/// # Errors
/// When it doesn't answer.
pub async fn list_tasks(api: &Api) -> Result<BTreeSet<String>> {
    let (mut ids, mut token) = (BTreeSet::new(), String::new());
    loop {
        let call = || async {
            let request = nb::ListTasksRequest {
                parent: TENANT.to_owned(),
                page_size: 1000,
                page_token: token.clone(),
                states: Vec::new(),
            };
            api.tasks.clone().list_tasks(request).await
        };
        let page = repeat(PATIENCE, call).await?;
        ids.extend(page.tasks.iter().map(|task| id_of(&task.name).to_owned()));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        token = page.next_page_token;
    }
}

async fn said(api: &Api, name: String, tag: Option<String>) -> Result<Said> {
    let get = || async {
        let request = nb::GetDeviceRequest { name: name.clone() };
        match api.devices.clone().get_device(request).await {
            Err(status) if status.code() == Code::NotFound => {
                Ok(tonic::Response::new(nb::GetDeviceResponse::default()))
            }
            answer => answer,
        }
    };
    let device = repeat(PATIENCE, get).await?.device;
    if device.is_none() {
        return Ok(Said::default());
    }
    let found_by_tag = match tag {
        Some(tag) => Some(find(api, &name, &tag).await?),
        None => None,
    };
    Ok(Said {
        device,
        parameters: parameters(api, &name).await?,
        history: history(api, &name).await?,
        found_by_tag,
    })
}

async fn find(api: &Api, name: &str, tag: &str) -> Result<bool> {
    let call = || async {
        let request = nb::ListDevicesRequest {
            parent: TENANT.to_owned(),
            filter: format!("tag = \"{tag}\""),
            ..nb::ListDevicesRequest::default()
        };
        api.devices.clone().list_devices(request).await
    };
    let found = repeat(PATIENCE, call).await?.devices;
    Ok(found.iter().any(|device| device.name == name))
}

async fn parameters(api: &Api, name: &str) -> Result<BTreeMap<String, nb::Parameter>> {
    let (mut out, mut token) = (BTreeMap::new(), String::new());
    loop {
        let call = || async {
            let request = nb::ListParametersRequest {
                parent: name.to_owned(),
                page_size: 5000,
                page_token: token.clone(),
                values_only: true,
                ..nb::ListParametersRequest::default()
            };
            api.devices.clone().list_parameters(request).await
        };
        let page = repeat(PATIENCE, call).await?;
        out.extend(page.parameters.into_iter().map(|p| (p.path.clone(), p)));
        if page.next_page_token.is_empty() {
            return Ok(out);
        }
        token = page.next_page_token;
    }
}

async fn history(api: &Api, name: &str) -> Result<Vec<nb::HistoryEntry>> {
    let (mut out, mut token) = (Vec::new(), String::new());
    loop {
        let call = || async {
            let request = nb::ListHistoryRequest {
                parent: name.to_owned(),
                page_size: 1000,
                page_token: token.clone(),
                ..nb::ListHistoryRequest::default()
            };
            api.devices.clone().list_history(request).await
        };
        let page = repeat(PATIENCE, call).await?;
        out.extend(page.entries);
        if page.next_page_token.is_empty() {
            return Ok(out);
        }
        token = page.next_page_token;
    }
}

async fn read_file(api: &Api, name: String) -> Result<Option<(String, KeptFile)>> {
    let call = || async {
        match api.read_file(&name).await {
            Ok(file) => Ok(tonic::Response::new(Some(file))),
            Err(status) if status.code() == Code::NotFound => Ok(tonic::Response::new(None)),
            Err(status) => Err::<_, Status>(status),
        }
    };
    let file = repeat(PATIENCE, call).await?;
    Ok(file.map(|file| (name.clone(), file)))
}
