//! Which task comes next: all kinds, by weight, on all devices, from one seed.

mod optional;

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_proto::types::v1 as ty;
use hearth_proto::types::v1::task_spec::Kind as Spec;

use super::book::{Class, Wish};
use crate::Dice;

/// What the planner knows of a device.
#[derive(Clone, Debug)]
pub struct Target {
    /// `Device.` or `InternetGatewayDevice.`
    pub root: String,
    /// Factory resets are asked of it, and no transfers: a reset forgets transfers, so the two
    /// together have no single right outcome.
    pub resets: bool,
}

impl Target {
    /// Set by tasks, never by the device itself.
    pub fn set_paths(&self) -> [String; 2] {
        ["DeviceInfo.ProvisioningCode", "Time.NTPServer1"]
            .map(|name| format!("{}{name}", self.root))
    }

    /// Changed by the device itself, never by tasks; its attributes are set by tasks.
    pub fn own_path(&self) -> String {
        format!("{}Time.NTPServer2", self.root)
    }

    /// The table in which instances are made and deleted.
    pub fn table(&self) -> String {
        let table = match self.root.as_str() {
            "Device." => "Users.User.",
            _ => "Layer3Forwarding.Forwarding.",
        };
        format!("{}{table}", self.root)
    }

    /// A text parameter of an instance of the table.
    pub fn column(&self) -> &'static str {
        match self.root.as_str() {
            "Device." => "Username",
            _ => "DestIPAddress",
        }
    }
}

/// What there is to make tasks of. What is chosen is taken, except files.
#[derive(Debug, Default)]
pub struct Stock {
    /// Names of files that the server keeps.
    pub files: Vec<String>,
    /// Instances that may be deleted, by device.
    pub instances: BTreeMap<usize, Vec<String>>,
    /// UUIDs of deployment units, with their devices.
    pub units: Vec<(usize, String)>,
    /// Names of tasks whose transfer the device has, with their devices.
    pub transfers: Vec<(usize, String)>,
}

/// The kinds of tasks, with how often each is asked.
const WEIGHTS: [(Choice, u64); 18] = [
    (Choice::Get, 12),
    (Choice::Set, 18),
    (Choice::Names, 5),
    (Choice::Refresh, 4),
    (Choice::GetAttributes, 4),
    (Choice::SetAttributes, 7),
    (Choice::Add, 14),
    (Choice::Delete, 6),
    (Choice::Download, 8),
    (Choice::Upload, 7),
    (Choice::Reboot, 8),
    (Choice::Reset, 6),
    (Choice::Schedule, 4),
    (Choice::Methods, 3),
    (Choice::ScheduleDownload, 8),
    (Choice::CancelTransfer, 5),
    (Choice::QueuedTransfers, 3),
    (Choice::ChangeUnits, 8),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Get,
    Set,
    Names,
    Refresh,
    GetAttributes,
    SetAttributes,
    Add,
    Delete,
    Download,
    Upload,
    Reboot,
    Reset,
    Schedule,
    Methods,
    ScheduleDownload,
    CancelTransfer,
    QueuedTransfers,
    ChangeUnits,
}

/// Plans tasks.
#[derive(Debug)]
pub struct Planner {
    dice: Dice,
    targets: Vec<Target>,
    /// Time that a normal task has.
    deadline: Duration,
    number: u64,
}

impl Planner {
    /// The same seed and targets give the same plan, as far as the server's answers don't decide
    /// (which instances there are to delete, which files to download).
    pub fn new(dice: Dice, targets: Vec<Target>, deadline: Duration) -> Self {
        Self {
            dice,
            targets,
            deadline,
            number: 0,
        }
    }

    /// The devices.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.dice.number().checked_rem(from.len() as u64)?;
        from.get(usize::try_from(at).ok()?)
    }

    fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.dice.number() % u64::from(limit)).unwrap_or(0)
    }

    /// The next task.
    pub fn next(&mut self, stock: &mut Stock) -> Wish {
        self.number += 1;
        let device = (self.dice.number() % self.targets.len() as u64) as usize;
        let choice = self.choose();
        // What is about something that few devices have goes to one that has it.
        let taken = match choice {
            Choice::CancelTransfer => stock.transfers.pop(),
            Choice::ChangeUnits if self.dice.chance(0.5) => {
                let at = self.dice.number().checked_rem(stock.units.len() as u64);
                at.map(|at| stock.units.swap_remove(at as usize))
            }
            _ => None,
        };
        let (device, taken) = match taken {
            Some((device, taken)) => (device, Some(taken)),
            None => (device, None),
        };
        let target = self.targets[device].clone();
        let (spec, class) = self
            .spec(choice, device, &target, taken, stock)
            .unwrap_or_else(|| (self.get(&target), Class::Normal));
        // The windows of a scheduled download must fit into its time.
        let may_be_short = !matches!(spec, Spec::ScheduleDownload(_));
        let class = match class {
            Class::Normal if may_be_short && self.dice.chance(0.04) => Class::Short,
            Class::Normal if self.dice.chance(0.04) => Class::Cancelled,
            class => class,
        };
        Wish {
            request_id: format!("kill-{:x}-{}", self.dice.number(), self.number),
            device,
            spec: ty::TaskSpec { kind: Some(spec) },
            class,
        }
    }

    fn choose(&mut self) -> Choice {
        let total: u64 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut left = self.dice.number() % total;
        for (choice, weight) in WEIGHTS {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        Choice::Get
    }

    /// `None` where this can't be asked of this device now.
    fn spec(
        &mut self,
        choice: Choice,
        device: usize,
        target: &Target,
        taken: Option<String>,
        stock: &mut Stock,
    ) -> Option<(Spec, Class)> {
        let refused = self.dice.chance(0.1);
        let root = &target.root;
        let spec = match choice {
            Choice::Get if refused => {
                let paths = vec![format!("{root}NoSuch.Parameter")];
                let spec = Spec::GetParameterValues(ty::GetParameterValues { paths });
                return Some((spec, Class::Refused));
            }
            Choice::Get => self.get(target),
            Choice::Set if refused => {
                let path = format!("{root}DeviceInfo.SerialNumber");
                return Some((set(vec![(path, "stolen".to_owned())]), Class::Refused));
            }
            Choice::Set => {
                let mut values: Vec<_> = target.set_paths().map(|path| (path, self.value())).into();
                values.truncate(1 + usize::from(self.dice.chance(0.5)));
                set(values)
            }
            Choice::Names => Spec::GetParameterNames(ty::GetParameterNames {
                path: format!("{root}DeviceInfo."),
                next_level: self.dice.chance(0.5),
            }),
            Choice::Refresh => Spec::Refresh(ty::Refresh {
                path: format!("{root}Time."),
            }),
            Choice::GetAttributes => Spec::GetParameterAttributes(ty::GetParameterAttributes {
                paths: vec![target.own_path()],
            }),
            Choice::SetAttributes => Spec::SetParameterAttributes(ty::SetParameterAttributes {
                attributes: vec![ty::ParameterAttributes {
                    path: target.own_path(),
                    notification: Some(u32::try_from(self.dice.number() % 3).unwrap_or(0)),
                    ..ty::ParameterAttributes::default()
                }],
            }),
            Choice::Add if refused => {
                let object = format!("{root}DeviceInfo.");
                let values = Vec::new();
                let spec = Spec::AddObject(ty::AddObject { object, values });
                return Some((spec, Class::Refused));
            }
            Choice::Add => self.add(target),
            Choice::Delete => {
                let list = stock.instances.get_mut(&device)?;
                let object = list.pop()?;
                // A reset may have taken it already, or another instance may have its number.
                Spec::DeleteObject(ty::DeleteObject { object })
            }
            Choice::Download => {
                let file = self.pick(&stock.files)?.clone();
                if target.resets {
                    return None;
                }
                Spec::Download(ty::Download {
                    file_type: download_type(&file),
                    file,
                    delay_seconds: self.below(4),
                    ..ty::Download::default()
                })
            }
            Choice::Upload | Choice::ScheduleDownload | Choice::ChangeUnits if target.resets => {
                return None;
            }
            Choice::Upload => Spec::Upload(ty::Upload {
                file_type: match self.dice.chance(0.5) {
                    true => "1 Vendor Configuration File".to_owned(),
                    false => "2 Vendor Log File".to_owned(),
                },
                ..ty::Upload::default()
            }),
            Choice::Reboot => Spec::Reboot(ty::Reboot {}),
            Choice::Reset if !target.resets => return None,
            Choice::Reset => Spec::FactoryReset(ty::FactoryReset {}),
            Choice::Schedule => Spec::ScheduleInform(ty::ScheduleInform {
                delay_seconds: 1 + self.below(20),
            }),
            Choice::Methods => Spec::GetRpcMethods(ty::GetRpcMethods {}),
            Choice::ScheduleDownload => {
                let file = self.pick(&stock.files)?.clone();
                self.schedule(file)?
            }
            Choice::CancelTransfer => optional::cancel(taken?),
            Choice::QueuedTransfers => Spec::GetQueuedTransfers(ty::GetQueuedTransfers {
                deprecated_method: self.dice.chance(0.2),
            }),
            Choice::ChangeUnits => {
                let file = self.pick(&stock.files).cloned();
                self.change_units(taken, file)?
            }
        };
        Some((spec, Class::Normal))
    }

    fn get(&mut self, target: &Target) -> Spec {
        let [first, second] = target.set_paths();
        let serial = format!("{}DeviceInfo.SerialNumber", target.root);
        Spec::GetParameterValues(ty::GetParameterValues {
            paths: vec![first, second, serial, target.own_path()],
        })
    }

    fn add(&mut self, target: &Target) -> Spec {
        let mut values = Vec::new();
        if self.dice.chance(0.6) {
            let value = match target.column() {
                "Username" => self.value(),
                _ => format!("10.0.{}.{}", self.number / 256 % 256, self.number % 256),
            };
            values.push(value_of(target.column().to_owned(), value));
        }
        Spec::AddObject(ty::AddObject {
            object: target.table(),
            values,
        })
    }

    /// A value that no other task or device uses.
    fn value(&mut self) -> String {
        format!("t{}-{:08x}", self.number, self.dice.number() >> 32)
    }
}

/// What a file of the test is to a device.
fn download_type(file: &str) -> String {
    match file.contains("firmware") {
        true => "1 Firmware Upgrade Image".to_owned(),
        false => "3 Vendor Configuration File".to_owned(),
    }
}

fn value_of(path: String, value: String) -> ty::ParameterValue {
    ty::ParameterValue {
        path,
        value,
        r#type: ty::ValueType::String.into(),
        ..ty::ParameterValue::default()
    }
}

fn set(values: Vec<(String, String)>) -> Spec {
    Spec::SetParameterValues(ty::SetParameterValues {
        values: values
            .into_iter()
            .map(|(path, value)| value_of(path, value))
            .collect(),
    })
}

/// A task's kind in words: the name of the method on the wire.
pub fn method(spec: &ty::TaskSpec) -> &'static str {
    match &spec.kind {
        Some(Spec::GetParameterValues(_)) => "GetParameterValues",
        Some(Spec::SetParameterValues(_)) => "SetParameterValues",
        Some(Spec::GetParameterNames(_)) => "GetParameterNames",
        Some(Spec::Refresh(_)) => "Refresh",
        Some(Spec::GetParameterAttributes(_)) => "GetParameterAttributes",
        Some(Spec::SetParameterAttributes(_)) => "SetParameterAttributes",
        Some(Spec::AddObject(_)) => "AddObject",
        Some(Spec::DeleteObject(_)) => "DeleteObject",
        Some(Spec::Download(_)) => "Download",
        Some(Spec::Upload(_)) => "Upload",
        Some(Spec::Reboot(_)) => "Reboot",
        Some(Spec::FactoryReset(_)) => "FactoryReset",
        Some(Spec::ScheduleInform(_)) => "ScheduleInform",
        Some(Spec::GetRpcMethods(_)) => "GetRPCMethods",
        Some(Spec::ScheduleDownload(_)) => "ScheduleDownload",
        Some(Spec::CancelTransfer(_)) => "CancelTransfer",
        Some(Spec::GetQueuedTransfers(_)) => "GetAllQueuedTransfers",
        Some(Spec::ChangeDuState(_)) => "ChangeDUState",
        None => "",
    }
}

#[cfg(test)]
mod tests;
