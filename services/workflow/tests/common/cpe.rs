//! A device: executes RPCs on a small tree, counts them, and tells of what it did as TR-069 has it.

use hearth_proto::{
    events::v1::{DuStateChange, InformEvent, TransferComplete},
    types::v1::{DuResult, Fault, ParameterAttributes, ParameterName, ParameterValue, ValueType},
    workflow::v1 as wf,
};
use std::collections::{BTreeMap, HashMap};
use wf::{request::Rpc, request_outcome::Kind as Answer};

pub struct Cpe {
    pub values: BTreeMap<String, String>,
    pub parameter_key: String,
    /// RPCs executed, by name.
    pub executed: HashMap<&'static str, u32>,
    /// Executed AddObject, Reboot, Download, Upload, by task.
    pub by_task: HashMap<(String, &'static str), u32>,
    /// Answers this fault to the next so many of an RPC.
    pub faults: HashMap<&'static str, (u32, u32)>,
    /// Most names or values in one RPC; more is 9004.
    pub most: usize,
    /// Partial paths with more below them are 9004 too.
    pub strict_partial: bool,
    pub refuses_empty_path: bool,
    pub lacks_queued_transfers: bool,
    /// Tells `M Reboot` after a reboot.
    pub tells_reboot: bool,
    /// TransferComplete's fault code.
    pub transfer_fault: u32,
    /// Status of Download and Upload.
    pub transfer_status: u32,
    /// What GetRPCMethods names.
    pub methods: Vec<String>,
    /// A transfer of it can't be cancelled any more.
    pub uncancellable: bool,
    /// Fault of each operation of the next changes, 0 for none.
    pub unit_faults: Vec<u32>,
    /// The last request's values or its like, for looking at.
    pub last: Option<Rpc>,
    events: Vec<InformEvent>,
    reports: Vec<TransferComplete>,
    queued: Vec<String>,
    changes: Vec<(String, usize)>,
    unit_reports: Vec<DuStateChange>,
    reboot: Option<String>,
    reset: bool,
}

/// Optional RPCs; those of the baseline are not asked for.
const METHODS: [&str; 8] = [
    "Upload",
    "FactoryReset",
    "ScheduleInform",
    "GetAllQueuedTransfers",
    "GetQueuedTransfers",
    "ScheduleDownload",
    "CancelTransfer",
    "ChangeDUState",
];

fn fault(code: u32) -> Answer {
    Answer::Fault(Fault {
        code,
        text: "told to".into(),
        ..Fault::default()
    })
}

fn event(code: &str, key: &str) -> InformEvent {
    InformEvent {
        code: code.into(),
        command_key: key.into(),
    }
}

impl Cpe {
    pub fn new() -> Self {
        let mut values = BTreeMap::new();
        for (path, value) in [
            ("Device.DeviceInfo.SerialNumber", "1"),
            ("Device.DeviceInfo.SoftwareVersion", "1.0"),
            ("Device.ManagementServer.Password", ""),
            ("Device.ManagementServer.PeriodicInformInterval", "300"),
            ("Device.NAT.PortMapping.1.Enable", "true"),
            ("Device.NAT.PortMapping.1.Description", "first"),
        ] {
            values.insert(path.to_owned(), value.to_owned());
        }
        Self {
            values,
            parameter_key: String::new(),
            executed: HashMap::new(),
            by_task: HashMap::new(),
            faults: HashMap::new(),
            most: usize::MAX,
            strict_partial: false,
            refuses_empty_path: false,
            lacks_queued_transfers: false,
            tells_reboot: true,
            transfer_fault: 0,
            transfer_status: 1,
            methods: METHODS.map(str::to_owned).to_vec(),
            uncancellable: false,
            unit_faults: Vec::new(),
            last: None,
            events: vec![event("2 PERIODIC", "")],
            reports: Vec::new(),
            queued: Vec::new(),
            changes: Vec::new(),
            unit_reports: Vec::new(),
            reboot: None,
            reset: false,
        }
    }

    pub fn count(&self, rpc: &str) -> u32 {
        self.executed.get(rpc).copied().unwrap_or(0)
    }

    pub fn tells(&mut self, code: &str, key: &str) {
        self.events.push(event(code, key));
    }

    /// The next Inform's events.
    pub fn inform(&mut self) -> Vec<InformEvent> {
        let mut events = std::mem::take(&mut self.events);
        if !self.reports.is_empty() {
            events.push(event("7 TRANSFER COMPLETE", ""));
            for report in &self.reports {
                events.push(event("M Download", &report.command_key));
            }
        }
        for report in &self.unit_reports {
            events.push(event("11 DU STATE CHANGE COMPLETE", ""));
            events.push(event("M ChangeDUState", &report.command_key));
        }
        if events.is_empty() {
            events.push(event("2 PERIODIC", ""));
        }
        events
    }

    /// TransferCompletes of this session.
    pub fn reports(&mut self) -> Vec<TransferComplete> {
        std::mem::take(&mut self.reports)
    }

    /// DUStateChangeCompletes of this session.
    pub fn unit_reports(&mut self) -> Vec<DuStateChange> {
        std::mem::take(&mut self.unit_reports)
    }

    /// Changes of units that were accepted are complete.
    pub fn change_units(&mut self) {
        for (command_key, operations) in std::mem::take(&mut self.changes) {
            let results = (0..operations).map(|index| {
                let code = self.unit_faults.get(index).copied().unwrap_or(0);
                DuResult {
                    uuid: format!("85f8a1c2-5d3e-4c1b-9b7a-00000000000{index}"),
                    version: "1.0".into(),
                    current_state: if code == 0 { "Installed" } else { "Failed" }.into(),
                    deployment_unit_ref: format!("Device.SoftwareModules.DeploymentUnit.{index}"),
                    fault: (code != 0).then(|| Fault {
                        code,
                        text: "told to".into(),
                        ..Fault::default()
                    }),
                    ..DuResult::default()
                }
            });
            let results = results.collect();
            self.unit_reports.push(DuStateChange {
                command_key,
                results,
                autonomous: false,
            });
        }
    }

    /// What was accepted is done now.
    pub fn session_ended(&mut self) {
        if let Some(key) = self.reboot.take() {
            self.tells("1 BOOT", "");
            if self.tells_reboot {
                self.tells("M Reboot", &key);
            }
        }
        if std::mem::take(&mut self.reset) {
            self.events.clear();
            self.queued.clear();
            self.changes.clear();
            self.tells("0 BOOTSTRAP", "");
            self.tells("1 BOOT", "");
        }
    }

    /// Transfers that were accepted are complete.
    pub fn transfer(&mut self) {
        for key in std::mem::take(&mut self.queued) {
            self.reports.push(TransferComplete {
                command_key: key,
                fault_code: self.transfer_fault,
                start_time: "2026-01-31T12:00:00Z".into(),
                complete_time: "2026-01-31T12:01:00Z".into(),
                ..TransferComplete::default()
            });
        }
    }

    fn did(&mut self, key: &str, rpc: &'static str) {
        let task = key.split('.').next().unwrap().to_owned();
        *self.by_task.entry((task, rpc)).or_default() += 1;
    }

    /// Executes a request, and answers it as the gateway tells it.
    pub fn outcome(&mut self, request: wf::Request) -> wf::RequestOutcome {
        wf::RequestOutcome {
            request_id: request.id,
            kind: Some(self.execute(request.rpc.unwrap())),
            ..wf::RequestOutcome::default()
        }
    }

    pub fn execute(&mut self, rpc: Rpc) -> Answer {
        self.last = Some(rpc.clone());
        let name = name(&rpc);
        if let Some((code, left)) = self.faults.get_mut(name)
            && *left > 0
        {
            *left -= 1;
            return fault(*code);
        }
        *self.executed.entry(name).or_default() += 1;
        match rpc {
            Rpc::GetParameterValues(get) => self.get(&get.paths),
            Rpc::SetParameterValues(set) => self.set(set),
            Rpc::GetParameterNames(get) => self.names(&get.path, get.next_level),
            Rpc::GetParameterAttributes(get) => {
                if get.paths.len() > self.most {
                    return fault(9004);
                }
                let attributes = get.paths.into_iter().map(|path| ParameterAttributes {
                    path,
                    notification: Some(1),
                    ..ParameterAttributes::default()
                });
                Answer::Attributes(wf::Attributes {
                    attributes: attributes.collect(),
                })
            }
            Rpc::SetParameterAttributes(_) | Rpc::ScheduleInform(_) => Answer::Empty(wf::Empty {}),
            Rpc::AddObject(add) => self.add(&add),
            Rpc::DeleteObject(delete) => self.delete(&delete),
            Rpc::Download(download) => self.take(download.command_key, "Download"),
            Rpc::Upload(upload) => self.take(upload.command_key, "Upload"),
            Rpc::Reboot(reboot) => {
                self.did(&reboot.command_key, "Reboot");
                self.reboot = Some(reboot.command_key);
                Answer::Empty(wf::Empty {})
            }
            Rpc::FactoryReset(_) => {
                self.reset = true;
                Answer::Empty(wf::Empty {})
            }
            Rpc::GetRpcMethods(_) => Answer::Methods(wf::Methods {
                names: self.methods.clone(),
            }),
            Rpc::GetQueuedTransfers(_) => Answer::Transfers(wf::Transfers {
                transfers: self.queued(),
            }),
            Rpc::ScheduleDownload(schedule) => {
                let key = schedule.download.unwrap().command_key;
                self.did(&key, "ScheduleDownload");
                self.queued.push(key);
                Answer::Empty(wf::Empty {})
            }
            Rpc::CancelTransfer(cancel) => {
                if self.uncancellable || !self.queued.contains(&cancel.command_key) {
                    return fault(9021);
                }
                self.queued.retain(|key| *key != cancel.command_key);
                Answer::Empty(wf::Empty {})
            }
            Rpc::ChangeDuState(change) => {
                self.did(&change.command_key, "ChangeDUState");
                self.changes
                    .push((change.command_key, change.operations.len()));
                Answer::Empty(wf::Empty {})
            }
            Rpc::GetAllQueuedTransfers(_) if self.lacks_queued_transfers => fault(9000),
            Rpc::GetAllQueuedTransfers(_) => Answer::Transfers(wf::Transfers {
                transfers: self.queued(),
            }),
        }
    }

    fn queued(&self) -> Vec<wf::QueuedTransfer> {
        let transfers = self.queued.iter().map(|key| wf::QueuedTransfer {
            command_key: key.clone(),
            state: 1,
            ..wf::QueuedTransfer::default()
        });
        transfers.collect()
    }

    fn take(&mut self, key: String, rpc: &'static str) -> Answer {
        self.did(&key, rpc);
        if self.transfer_status == 1 {
            self.queued.push(key);
        }
        Answer::Applied(wf::Applied {
            status: self.transfer_status,
            start_time: "2026-01-31T12:00:00Z".into(),
            complete_time: "2026-01-31T12:01:00Z".into(),
            ..wf::Applied::default()
        })
    }

    fn below(&self, path: &str) -> Vec<(String, String)> {
        let partial = path.is_empty() || path.ends_with('.');
        let all = self.values.iter();
        all.filter(|(name, _)| {
            if partial {
                name.starts_with(path)
            } else {
                name.as_str() == path
            }
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
    }

    fn get(&self, paths: &[String]) -> Answer {
        if paths.len() > self.most {
            return fault(9004);
        }
        let mut values = Vec::new();
        for path in paths {
            let found = self.below(path);
            if found.is_empty() {
                return fault(9005);
            }
            if self.strict_partial && found.len() > self.most {
                return fault(9004);
            }
            values.extend(found.into_iter().map(|(path, value)| ParameterValue {
                path,
                value,
                r#type: ValueType::String.into(),
                sealed: Vec::new(),
            }));
        }
        Answer::Values(wf::Values { values })
    }

    fn set(&mut self, set: wf::SetParameterValuesRpc) -> Answer {
        if let Some(bad) = set
            .values
            .iter()
            .find(|v| !self.values.contains_key(&v.path))
        {
            let parameters = vec![hearth_proto::types::v1::ParameterFault {
                path: bad.path.clone(),
                code: 9005,
                text: "Invalid parameter name".into(),
            }];
            return Answer::Fault(Fault {
                code: 9003,
                text: "Invalid arguments".into(),
                parameters,
                ..Fault::default()
            });
        }
        for value in set.values {
            self.values.insert(value.path, value.value);
        }
        self.parameter_key = set.parameter_key;
        Answer::Applied(wf::Applied::default())
    }

    fn names(&self, path: &str, next_level: bool) -> Answer {
        if path.is_empty() && self.refuses_empty_path {
            return fault(9005);
        }
        let found = self.below(path);
        if found.is_empty() && !path.ends_with("PortMapping.") {
            return fault(9005);
        }
        if !next_level && self.strict_partial && found.len() > self.most {
            return fault(9004);
        }
        let mut names: Vec<String> = found
            .iter()
            .map(|(name, _)| match name[path.len()..].find('.') {
                Some(dot) if next_level => name[..=path.len() + dot].to_owned(),
                _ => name.clone(),
            })
            .collect();
        names.dedup();
        let names = names.into_iter().map(|path| ParameterName {
            path,
            writable: true,
        });
        Answer::Names(wf::Names {
            names: names.collect(),
        })
    }

    fn add(&mut self, add: &wf::ObjectRpc) -> Answer {
        self.did(&add.parameter_key, "AddObject");
        let alias = add
            .object
            .strip_suffix("].")
            .and_then(|o| o.split_once('['));
        let (table, alias) = alias.unwrap_or((&add.object, ""));
        let taken = |n: u32| {
            let path = format!("{table}{n}.");
            self.values.keys().any(|name| name.starts_with(&path))
        };
        let number = (1..).find(|n| !taken(*n)).unwrap();
        for (name, value) in [("Alias", alias), ("Enable", "false"), ("Description", "")] {
            let path = format!("{table}{number}.{name}");
            self.values.insert(path, value.to_owned());
        }
        self.parameter_key.clone_from(&add.parameter_key);
        Answer::Applied(wf::Applied {
            instance_number: number,
            ..wf::Applied::default()
        })
    }

    fn delete(&mut self, delete: &wf::ObjectRpc) -> Answer {
        let before = self.values.len();
        self.values
            .retain(|name, _| !name.starts_with(&delete.object));
        if self.values.len() == before {
            return fault(9005);
        }
        self.parameter_key.clone_from(&delete.parameter_key);
        Answer::Applied(wf::Applied::default())
    }
}

fn name(rpc: &Rpc) -> &'static str {
    match rpc {
        Rpc::GetParameterValues(_) => "GetParameterValues",
        Rpc::SetParameterValues(_) => "SetParameterValues",
        Rpc::GetParameterNames(_) => "GetParameterNames",
        Rpc::GetParameterAttributes(_) => "GetParameterAttributes",
        Rpc::SetParameterAttributes(_) => "SetParameterAttributes",
        Rpc::AddObject(_) => "AddObject",
        Rpc::DeleteObject(_) => "DeleteObject",
        Rpc::Download(_) => "Download",
        Rpc::Upload(_) => "Upload",
        Rpc::Reboot(_) => "Reboot",
        Rpc::FactoryReset(_) => "FactoryReset",
        Rpc::ScheduleInform(_) => "ScheduleInform",
        Rpc::GetRpcMethods(_) => "GetRPCMethods",
        Rpc::GetAllQueuedTransfers(_) => "GetAllQueuedTransfers",
        Rpc::ScheduleDownload(_) => "ScheduleDownload",
        Rpc::CancelTransfer(_) => "CancelTransfer",
        Rpc::GetQueuedTransfers(_) => "GetQueuedTransfers",
        Rpc::ChangeDuState(_) => "ChangeDUState",
    }
}
