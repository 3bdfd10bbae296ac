//! The tour: what an OSS does with the server, by the public API, shown as it
//! happens.

use super::show::Show;
use anyhow::{Context, Result, bail};
use hearth_auth::{ApiToken, ExposeSecret, SecretString};
use hearth_proto::northbound::v1 as nb;
use hearth_proto::northbound::v1::{
    credential_service_client::CredentialServiceClient, device_service_client::DeviceServiceClient,
    file_service_client::FileServiceClient, task_service_client::TaskServiceClient,
};
use hearth_proto::types::v1::{
    Download, GetParameterValues, ParameterValue, Reboot, SetParameterValues, TaskSpec, TaskState,
    task_spec::Kind,
};
use std::{net::SocketAddr, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// The tenant of the tour.
const TENANT: &str = "tenants/default";
/// No step of the tour takes longer.
const STEP: Duration = Duration::from_secs(60);

/// A client of the public API, as any OSS would write it.
pub struct Tour {
    channel: Channel,
    token: MetadataValue<Ascii>,
    show: Show,
}

impl Tour {
    /// Connects to the API of the server that just started.
    pub async fn connect(api: SocketAddr, token: &ApiToken, show: Show) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{api}"))?
            .connect()
            .await
            .context("can't connect to the API")?;
        let bearer = SecretString::from(format!("Bearer {}", token.expose()));
        let mut token: MetadataValue<Ascii> = bearer.expose_secret().parse()?;
        token.set_sensitive(true);
        Ok(Self {
            channel,
            token,
            show,
        })
    }

    /// Tells the server what all devices of the fleet are asked to connect
    /// with.
    pub async fn set_connection_request_login(
        &self,
        username: &str,
        password: &SecretString,
    ) -> Result<()> {
        let credential = nb::Credential {
            username: username.into(),
            kind: nb::CredentialKind::ConnectionRequest.into(),
            ..Default::default()
        };
        let request = self.ask(nb::SetCredentialRequest {
            parent: TENANT.into(),
            credential: Some(credential),
            password: password.expose_secret().into(),
        });
        let mut client = CredentialServiceClient::new(self.channel.clone());
        client.set_credential(request).await?;
        Ok(())
    }

    /// The whole tour over `count` devices.
    pub async fn run(&self, count: usize) -> Result<()> {
        let devices = self.wait_for_devices(count).await?;
        let router = pick(&devices, "Device.")?;
        let other = devices
            .iter()
            .find(|device| device.name != router.name)
            .unwrap_or(router);
        self.read_and_set(router).await?;
        self.reboot(other).await?;
        self.upgrade(router).await
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.token.clone());
        request
    }

    async fn wait_for_devices(&self, count: usize) -> Result<Vec<nb::Device>> {
        self.show
            .step("Devices connect", "Each opens a CWMP session and informs.");
        let mut client = DeviceServiceClient::new(self.channel.clone());
        let deadline = Instant::now() + STEP;
        loop {
            let request = self.ask(nb::ListDevicesRequest {
                parent: TENANT.into(),
                page_size: 1000,
                ..Default::default()
            });
            let devices = client.list_devices(request).await?.into_inner().devices;
            if devices.len() >= count.min(1000) {
                for device in devices.iter().take(6) {
                    let id = id_of(&device.name);
                    let line = format!(
                        "{id:<36} {:<24} software {}",
                        device.manufacturer, device.software_version
                    );
                    self.show.line(&line);
                }
                if devices.len() > 6 {
                    self.show.line(&format!("… and {} more", devices.len() - 6));
                }
                return Ok(devices);
            }
            if Instant::now() > deadline {
                bail!("only {} of {count} devices have informed", devices.len());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn read_and_set(&self, device: &nb::Device) -> Result<()> {
        let id = id_of(&device.name);
        let path = "Device.WiFi.SSID.1.SSID";
        self.show.step(
            "Read and set a parameter",
            &format!("hearthctl param get {id} {path}"),
        );
        let read = Kind::GetParameterValues(GetParameterValues {
            paths: vec![path.into()],
        });
        let task = self.run_task(device, read.clone()).await?;
        let before = value_of(&task, path)?;
        self.show.line(&format!("{path} = {before:?}"));
        let wanted = "Hearth demo";
        self.show
            .command(&format!("hearthctl param set {id} '{path}={wanted}'"));
        let set = Kind::SetParameterValues(SetParameterValues {
            values: vec![ParameterValue {
                path: path.into(),
                value: wanted.into(),
                ..Default::default()
            }],
        });
        self.run_task(device, set).await?;
        let task = self.run_task(device, read).await?;
        let after = value_of(&task, path)?;
        self.show
            .line(&format!("{path} = {after:?}, read back from the device"));
        if after != wanted {
            bail!("the device has {after:?} where {wanted:?} was set");
        }
        Ok(())
    }

    async fn reboot(&self, device: &nb::Device) -> Result<()> {
        let id = id_of(&device.name);
        self.show
            .step("Reboot a device", &format!("hearthctl device reboot {id}"));
        self.run_task(device, Kind::Reboot(Reboot {})).await?;
        self.show
            .line("it came back with M Reboot, which proves it");
        Ok(())
    }

    async fn upgrade(&self, device: &nb::Device) -> Result<()> {
        let id = id_of(&device.name);
        self.show.step(
            "Upgrade the firmware",
            "hearthctl file put demo-firmware.bin --type firmware",
        );
        let version = "9.9.1-demo";
        let name = format!("{TENANT}/files/demo-firmware.bin");
        self.put_file(&name, version).await?;
        self.show.command(&format!(
            "hearthctl download {id} demo-firmware.bin --type firmware"
        ));
        let download = Kind::Download(Download {
            file_type: "1 Firmware Upgrade Image".into(),
            file: name,
            ..Default::default()
        });
        self.run_task(device, download).await?;
        let now = self.wait_for_version(device, version).await?;
        self.show
            .line(&format!("software {} → {now}", device.software_version));
        Ok(())
    }

    async fn put_file(&self, name: &str, version: &str) -> Result<()> {
        let metadata = nb::File {
            name: name.into(),
            file_type: "1 Firmware Upgrade Image".into(),
            version: version.into(),
            ..Default::default()
        };
        let mut bytes = format!("version={version}\n").into_bytes();
        bytes.resize(256 * 1024, 0x5a);
        let parts = [
            nb::upload_file_request::Part::File(metadata),
            nb::upload_file_request::Part::Chunk(bytes),
            nb::upload_file_request::Part::End(true),
        ]
        .map(|part| nb::UploadFileRequest { part: Some(part) });
        let request = self.ask(tokio_stream::iter(parts));
        let mut client = FileServiceClient::new(self.channel.clone());
        let kept = client.upload_file(request).await?.into_inner().file;
        if let Some(file) = kept {
            let short: String = file.sha256.chars().take(12).collect();
            self.show
                .line(&format!("{} bytes, sha256 {short}…", file.size));
        }
        Ok(())
    }

    async fn wait_for_version(&self, device: &nb::Device, version: &str) -> Result<String> {
        let mut client = DeviceServiceClient::new(self.channel.clone());
        let deadline = Instant::now() + STEP;
        loop {
            let request = self.ask(nb::GetDeviceRequest {
                name: device.name.clone(),
            });
            let now = client.get_device(request).await?.into_inner().device;
            let now = now.unwrap_or_default().software_version;
            if now == version {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("the device still has software {now}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Makes a task and shows its states until it ended well.
    async fn run_task(&self, device: &nb::Device, kind: Kind) -> Result<nb::Task> {
        let mut client = TaskServiceClient::new(self.channel.clone());
        let task = nb::Task {
            spec: Some(TaskSpec { kind: Some(kind) }),
            ..Default::default()
        };
        let request = self.ask(nb::CreateTaskRequest {
            parent: device.name.clone(),
            task: Some(task),
            ..Default::default()
        });
        let created = client.create_task(request).await?.into_inner().task;
        let name = created.context("the answer has no task")?.name;
        let request = self.ask(nb::WatchTaskRequest { name });
        let mut changes = client.watch_task(request).await?.into_inner();
        let mut states = self.show.states();
        let end = timeout(STEP, async {
            loop {
                let change = changes.message().await?.and_then(|change| change.task);
                let task = change.context("the watch ended before the task")?;
                states.push(task.state().label());
                if task.state().is_final() {
                    return Ok::<_, anyhow::Error>(task);
                }
            }
        });
        let task = end.await.context("the task did not end in time")??;
        states.end();
        if task.state() != TaskState::Succeeded {
            bail!(
                "the task ended as {}: {}",
                task.state().label(),
                task.reason
            );
        }
        Ok(task)
    }
}

fn pick<'a>(devices: &'a [nb::Device], root: &str) -> Result<&'a nb::Device> {
    devices
        .iter()
        .find(|device| device.root == root && device.product_class.contains("Router"))
        .or_else(|| devices.iter().find(|device| device.root == root))
        .context("no device of the fleet fits the tour")
}

fn id_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn value_of(task: &nb::Task, path: &str) -> Result<String> {
    task.result
        .iter()
        .flat_map(|result| &result.values)
        .find(|value| value.path == path)
        .map(|value| value.value.clone())
        .with_context(|| format!("the device did not answer {path}"))
}
