//! SpreadService: periodic Informs of a fleet, spread evenly over their interval.
//!
//! The fleet is walked twice: to survey it, and, to apply, to make a task for each device that is
//! not as proposed. Nothing is kept in between but the plan's sums: who stops in the middle and
//! begins again finds the tasks that were made, by their keys, and leaves alone what was set.

mod apply;
mod plan;

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid};
use crate::filter;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use hearth_clients::Error;
use hearth_proto::northbound::v1::{self as nb, spread_service_server::SpreadService};
use hearth_proto::types::v1::DeviceState;
use hearth_proto::{devicestate::v1 as ds, northbound::v1::spread_periodic_informs_response::Kind};
use hearth_types::TenantId;
use plan::{Known, Survey};
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

/// Devices of a page, and devices whose parameters are read at once.
const PAGE: u32 = 200;
const AT_ONCE: usize = 8;
/// Parameters of ManagementServer that are looked at: more than any device has.
const PARAMETERS: u32 = 1000;
const DEFAULT_RATE: u32 = 50;
const DEFAULT_SLOTS: u32 = 60;

/// The service.
pub(crate) struct Spreads(pub(crate) Arc<Core>);

/// What is asked for, read.
struct Wanted {
    core: Arc<Core>,
    tenant: TenantId,
    conditions: Vec<ds::Condition>,
    /// 0: each device's own.
    interval: u32,
    slots: usize,
    rate: u32,
    apply: bool,
}

type Answer = Result<nb::SpreadPeriodicInformsResponse, Status>;

#[tonic::async_trait]
impl SpreadService for Spreads {
    type SpreadPeriodicInformsStream = BoxStream<'static, Answer>;

    async fn spread_periodic_informs(
        &self,
        request: Request<nb::SpreadPeriodicInformsRequest>,
    ) -> Result<Response<Self::SpreadPeriodicInformsStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let slots = within("slots", request.slots, 1..=1440, DEFAULT_SLOTS)?;
        let wanted = Wanted {
            core: self.0.clone(),
            tenant: caller.tenant("parent", &request.parent)?,
            conditions: filter::parse(&request.filter)?,
            interval: within(
                "interval_seconds",
                request.interval_seconds,
                60..=604_800,
                0,
            )?,
            slots: usize::try_from(slots).unwrap_or(1),
            rate: within(
                "tasks_per_second",
                request.tasks_per_second,
                1..=1000,
                DEFAULT_RATE,
            )?,
            apply: request.apply,
        };
        // The work ends when nobody takes its answers any more.
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(status) = wanted.work(&sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        let answers = stream::unfold(answers, |mut answers| async {
            answers.recv().await.map(|answer| (answer, answers))
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// A number within its bounds; 0 stands for the default.
fn within(
    field: &str,
    asked: u32,
    bounds: RangeInclusive<u32>,
    default: u32,
) -> Result<u32, Status> {
    match asked {
        0 => Ok(default),
        asked if bounds.contains(&asked) => Ok(asked),
        _ => Err(invalid(
            field,
            format!(
                "expected {} to {}, or 0 for the default",
                bounds.start(),
                bounds.end()
            ),
        )),
    }
}

fn answer(kind: Kind) -> Answer {
    Ok(nb::SpreadPeriodicInformsResponse { kind: Some(kind) })
}

impl Wanted {
    async fn work(&self, answers: &mpsc::Sender<Answer>) -> Result<(), Status> {
        let mut survey = Survey::default();
        let mut fleet = self.fleet();
        while let Some(known) = fleet.try_next().await? {
            survey.add(&known.verdict(self.interval));
            if answers.is_closed() {
                return Ok(());
            }
        }
        let plan = survey.plan(self.interval, self.slots);
        let taken = answers.send(answer(Kind::Plan(plan))).await.is_ok();
        match self.apply && taken {
            true => self.set(survey.differing(), answers).await,
            false => Ok(()),
        }
    }

    /// The devices, in the order of their ids.
    fn fleet(&self) -> BoxStream<'_, Result<Known, Status>> {
        let pages = stream::try_unfold(Some(String::new()), move |token| async move {
            let Some(token) = token else { return Ok(None) };
            let page = self.page(token).await?;
            let next = (!page.next_page_token.is_empty()).then_some(page.next_page_token);
            Ok::<_, Status>(Some((page.devices, next)))
        });
        pages
            .map_ok(|devices| stream::iter(devices.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(move |device| async move { self.known(device).await })
            .try_buffered(AT_ONCE)
            .boxed()
    }

    async fn page(&self, page_token: String) -> Result<ds::ListDevicesResponse, Status> {
        let request = ds::ListDevicesRequest {
            tenant: self.tenant.to_string(),
            conditions: self.conditions.clone(),
            page_size: PAGE,
            page_token,
        };
        let context = Context::default().fields(&[("conditions", "filter"), ("tenant", "parent")]);
        let page = self.core.clients.device_state.list_devices(request).await;
        page.map_err(|error| context.status(error))
    }

    async fn known(&self, device: ds::Device) -> Result<Known, Status> {
        let mut known = Known {
            is_let_in: !matches!(
                device.state(),
                DeviceState::Expected | DeviceState::Blocked | DeviceState::Retired
            ),
            interval: device.periodic_inform_interval,
            last_inform: device.last_inform_us.div_euclid(1_000_000),
            device: device.id,
            root: device.root,
            ..Known::default()
        };
        if known.root.is_empty() {
            return Ok(known);
        }
        let path = format!("{}ManagementServer.", known.root);
        let request = ds::ListParametersRequest {
            tenant: self.tenant.to_string(),
            device: known.device.clone(),
            path: path.clone(),
            page_size: PARAMETERS,
            values_only: true,
            ..ds::ListParametersRequest::default()
        };
        let found = self
            .core
            .clients
            .device_state
            .list_parameters(request)
            .await;
        let found = match found {
            Ok(found) => found.parameters,
            // It was deleted meanwhile.
            Err(Error {
                kind: hearth_clients::Kind::NotFound,
                ..
            }) => Vec::new(),
            Err(error) => return Err(Context::default().status(error)),
        };
        for parameter in found.into_iter().filter(|parameter| parameter.has_value) {
            let value = parameter.value.trim();
            match parameter.path.strip_prefix(&path) {
                Some("PeriodicInformEnable") => {
                    known.enabled = match value.to_ascii_lowercase().as_str() {
                        "1" | "true" => Some(true),
                        "0" | "false" => Some(false),
                        _ => None,
                    };
                }
                Some("PeriodicInformInterval") => {
                    known.interval = value.parse().unwrap_or(known.interval);
                }
                Some("PeriodicInformTime") => value.clone_into(&mut known.time),
                _ => {}
            }
        }
        Ok(known)
    }
}
