//! What an outcome brings besides its meaning: results, facts about the device, what was learned
//! about its model.

use hearth_clients::DeviceState;
use hearth_proto::{
    devicestate::v1::{GetModelRequest, Model, PutModelRequest},
    events::v1::event,
    types::v1::{BooleanForm, ParameterAttributes, ParameterName, ParameterValue, TaskResult},
};
use hearth_types::{DeviceKey, TaskId};
use prost::Message;

/// How much a result may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of values, names and attributes.
    pub(crate) max_result_bytes: usize,
}

/// Something about a model that holds for its other devices too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// The most names that one GetParameterValues may ask for.
    GpvBatch(u32),
    /// An empty path is refused.
    RefusesEmptyPath,
    /// An RPC that it answered with 9000.
    Unsupported(&'static str),
    /// What GetRPCMethods named.
    Methods(Vec<String>),
    /// It takes booleans in this form, and not in the other.
    BooleanForm(BooleanForm),
    /// It refuses a dateTime with a fraction of a second.
    WholeSeconds,
}

/// What an outcome brings.
#[derive(Debug)]
pub(crate) struct Gains {
    /// The task's result so far.
    pub(crate) result: TaskResult,
    /// Learned about the model.
    pub(crate) learned: Vec<Learned>,
    /// What happened to the device, to be published before the ledger is written.
    pub(crate) events: Vec<event::Kind>,
    /// The spec's values were set, their paths behind this prefix.
    pub(crate) set_values: Option<String>,
    /// The device has cancelled the transfer of this task.
    pub(crate) cancelled: Option<TaskId>,
    limits: Limits,
}

impl Gains {
    pub(crate) fn new(result: Option<TaskResult>, limits: Limits) -> Self {
        Self {
            result: result.unwrap_or_default(),
            learned: Vec::new(),
            events: Vec::new(),
            set_values: None,
            cancelled: None,
            limits,
        }
    }

    fn room(&self) -> usize {
        self.limits
            .max_result_bytes
            .saturating_sub(self.result.encoded_len())
    }

    /// Adds values read; those over the limit are counted only.
    pub(crate) fn add_values(&mut self, values: Vec<ParameterValue>) {
        let room = self.room();
        let kept = &mut self.result.values;
        let all = add(kept, values, room, &mut self.result.total);
        self.result.truncated |= !all;
    }

    /// Adds names found; those over the limit are counted only.
    pub(crate) fn add_names(&mut self, names: Vec<ParameterName>) {
        let room = self.room();
        let kept = &mut self.result.names;
        let all = add(kept, names, room, &mut self.result.total);
        self.result.truncated |= !all;
    }

    /// Adds attributes read; those over the limit are counted only.
    pub(crate) fn add_attributes(&mut self, attributes: Vec<ParameterAttributes>) {
        let room = self.room();
        let kept = &mut self.result.attributes;
        let all = add(kept, attributes, room, &mut self.result.total);
        self.result.truncated |= !all;
    }
}

/// Adds what fits; `false` when something was left out.
fn add<T: Message>(kept: &mut Vec<T>, more: Vec<T>, mut room: usize, total: &mut u32) -> bool {
    let mut all = true;
    for item in more {
        *total = total.saturating_add(1);
        // Tag and length of a field in a message.
        let size = item.encoded_len() + 4;
        if all && size <= room {
            room -= size;
            kept.push(item);
        } else {
            all = false;
        }
    }
    all
}

/// Keeps what was learned about a device's model.
pub(crate) async fn remember(
    device_state: &dyn DeviceState,
    device: &DeviceKey,
    learned: Vec<Learned>,
) -> hearth_clients::Result<()> {
    let (oui, product_class, _) = device.device.parts();
    let tenant = device.tenant.to_string();
    let request = GetModelRequest {
        tenant: tenant.clone(),
        oui: oui.clone(),
        product_class: product_class.clone(),
        device: String::new(),
    };
    let found = device_state.get_model(request).await?;
    let before = found.model.unwrap_or_default();
    let mut model = before.clone();
    for item in learned {
        item.enter(&mut model);
    }
    if model != before {
        let request = PutModelRequest {
            tenant,
            oui,
            product_class,
            model: Some(model),
        };
        device_state.put_model(request).await?;
    }
    Ok(())
}

impl Learned {
    fn enter(self, model: &mut Model) {
        match self {
            Self::GpvBatch(batch) if model.gpv_batch == 0 || batch < model.gpv_batch => {
                model.gpv_batch = batch;
            }
            Self::GpvBatch(_) => {}
            Self::RefusesEmptyPath => model.refuses_empty_path = true,
            Self::Unsupported(rpc) => {
                if !model.unsupported_rpcs.iter().any(|known| known == rpc) {
                    model.unsupported_rpcs.push(rpc.to_owned());
                }
            }
            Self::BooleanForm(form) => model.set_boolean_form(form),
            Self::WholeSeconds => model.no_fractional_seconds = true,
            // A new firmware may do what an old one did not.
            Self::Methods(methods) => {
                model.unsupported_rpcs.retain(|rpc| !methods.contains(rpc));
                model.rpcs = methods;
            }
        }
    }
}
