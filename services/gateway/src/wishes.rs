//! What devices wish for themselves: RequestDownload and Kicked, answered as the tenant's policy has
//! it (TR-069 A.4.2.1, A.4.2.2).

use hearth_clients::Kind as ErrorKind;
use hearth_cwmp::{Kicked, RequestDownload};
use hearth_proto::types::v1::{
    self as ty, Download, DownloadOffer, EdgePolicy, TaskSpec, TaskState, task_spec,
};
use hearth_proto::workflow::v1 as wf;
use hearth_types::DeviceKey;

use crate::cookie::Session;
use crate::edge::Turn;
use crate::inform::workflow_failed;
use crate::refusal::Refusal;
use crate::turn::bad_cookie;

/// Open tasks that are looked through for the same download.
const LOOKED_THROUGH: u32 = 1000;

impl Turn {
    /// Where a user goes on whom the device's web page has sent here.
    pub(crate) async fn next_url(
        &self,
        session: &Session,
        kicked: &Kicked,
    ) -> Result<String, Refusal> {
        let policy = self.edge.lines.chosen(&session.tenant).await?;
        Ok(match policy.kicked() {
            ty::Kicked::Url => policy.kicked_url,
            ty::Kicked::None => String::new(),
            ty::Kicked::Next | ty::Kicked::Unspecified => kicked.next.clone(),
        })
    }

    /// The policy for a RequestDownload; `None`: it is not even recorded.
    pub(crate) async fn wish_policy(
        &self,
        session: &Session,
    ) -> Result<Option<EdgePolicy>, Refusal> {
        let policy = self.edge.lines.chosen(&session.tenant).await?;
        let ignored = policy.request_download() == ty::RequestDownload::Ignore;
        Ok((!ignored).then_some(policy))
    }

    /// Makes a task of a RequestDownload, where the policy offers a file for it.
    pub(crate) async fn fulfil(
        &self,
        session: &Session,
        policy: &EdgePolicy,
        wanted: &RequestDownload,
    ) -> Result<(), Refusal> {
        if policy.request_download() != ty::RequestDownload::Download {
            return Ok(());
        }
        let key = session.key().map_err(bad_cookie)?;
        let fitting = |offer: &&DownloadOffer| fits(offer, &key, wanted);
        let Some(offer) = policy.download_offers.iter().find(fitting) else {
            tracing::debug!(device = %key, file_type = wanted.file_type, "no file is offered for a RequestDownload");
            return Ok(());
        };
        if self.is_under_way(&key, &offer.file).await? {
            return Ok(());
        }
        let download = Download {
            file_type: offer.file_type.clone(),
            file: offer.file.clone(),
            target_file_name: offer.target_file_name.clone(),
            ..Download::default()
        };
        let request = wf::CreateTaskRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            spec: Some(TaskSpec {
                kind: Some(task_spec::Kind::Download(download)),
            }),
            // The same request sent again in this session makes one task.
            idempotency_key: format!("wish/{}/{}", session.id_text(), short(&offer.file)),
            ..wf::CreateTaskRequest::default()
        };
        match self.edge.workflow.create_task(request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_retryable() => Err(workflow_failed(&error)),
            Err(error) => {
                // The device is answered: it would only ask for the same again.
                let full = error.kind == ErrorKind::ResourceExhausted;
                tracing::warn!(device = %key, %error, full, "no task can be made of a RequestDownload");
                Ok(())
            }
        }
    }

    /// Whether the device has a task already that brings it this file.
    async fn is_under_way(&self, key: &DeviceKey, file: &str) -> Result<bool, Refusal> {
        let open = [
            TaskState::Queued,
            TaskState::Waking,
            TaskState::Running,
            TaskState::WaitingForDevice,
        ];
        let request = wf::ListTasksRequest {
            tenant: key.tenant.to_string(),
            device: key.device.to_string(),
            states: open.into_iter().map(i32::from).collect(),
            page_size: LOOKED_THROUGH,
            page_token: String::new(),
        };
        let listed = self.edge.workflow.list_tasks(request).await;
        let listed = listed.map_err(|error| workflow_failed(&error))?;
        Ok(listed.tasks.iter().any(|task| {
            let kind = task.spec.as_ref().and_then(|spec| spec.kind.as_ref());
            match kind {
                Some(task_spec::Kind::Download(download)) => download.file == file,
                Some(task_spec::Kind::ScheduleDownload(download)) => download.file == file,
                _ => false,
            }
        }))
    }
}

/// Whether an offer is for this device and what it wants.
fn fits(offer: &DownloadOffer, key: &DeviceKey, wanted: &RequestDownload) -> bool {
    let (_, product_class, _) = key.device.parts();
    let has = |(name, value): (&String, &String)| {
        let mut told = wanted.file_type_arg.iter();
        told.any(|one| one.name == *name && one.value == *value)
    };
    offer.file_type == wanted.file_type
        && (offer.product_class.is_empty() || offer.product_class == product_class)
        && offer.arguments.iter().all(has)
}

/// The end of a file's name, as much as a key may hold.
fn short(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or_default();
    name.chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect()
}
