//! `hearthctl download`, `schedule-download`, `upload` and `transfer`: devices fetch and send files.

use super::{credential::password, file, seconds};
use crate::{
    app::App,
    cli::{DownloadArgs, FetchArgs, ScheduleDownloadArgs, TransferCommand, UploadArgs, When},
    error::{Error, id_of},
    show, times,
};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{
        CancelTransfer, Download, GetQueuedTransfers, ScheduleDownload, TimeWindow, Upload,
        task_spec::Kind,
    },
};
use std::path::Path;
use tonic::Code;

/// Has a device fetch a file.
pub(crate) async fn download(args: DownloadArgs, app: &mut App<'_>) -> Result<(), Error> {
    let fetched = Fetched::of(app, args.fetch).await?;
    let download = Download {
        url: fetched.url,
        file: fetched.file,
        file_type: fetched.file_type,
        file_size: fetched.file_size,
        target_file_name: fetched.target_file_name,
        username: fetched.username,
        password: fetched.password,
        delay_seconds: args.delay.map(seconds).transpose()?.unwrap_or_default(),
        success_url: args.success_url.unwrap_or_default(),
        failure_url: args.failure_url.unwrap_or_default(),
        ..Default::default()
    };
    let task = app
        .perform(&args.device, Kind::Download(download), &args.task)
        .await?;
    app.print_done(task, |task| {
        format!("{} has fetched the file", id_of(&task.device))
    })
}

/// What a device fetches, as a task has it: a file of the server or a URL, and its type.
struct Fetched {
    url: String,
    file: String,
    file_type: String,
    file_size: u64,
    target_file_name: String,
    username: String,
    password: String,
}

impl Fetched {
    async fn of(app: &mut App<'_>, args: FetchArgs) -> Result<Self, Error> {
        let mut fetched = Self {
            url: String::new(),
            file: String::new(),
            file_type: args.file_type.map(|t| t.to_string()).unwrap_or_default(),
            file_size: args.file_size,
            target_file_name: args.target_file_name,
            username: args.username.unwrap_or_default(),
            password: password(app, &args.password)?.unwrap_or_default(),
        };
        let has_login = !fetched.username.is_empty() || !fetched.password.is_empty();
        match Source::of(app, args.source, has_login).await? {
            Source::Url(_) if fetched.file_type.is_empty() => {
                return Err(Error::usage(
                    "--type is needed with a URL: firmware, config, web …",
                ));
            }
            Source::Url(url) => fetched.url = url,
            Source::File(file) => {
                fetched.file = file.name;
                if fetched.file_type.is_empty() {
                    fetched.file_type = file.file_type;
                }
            }
        }
        Ok(fetched)
    }
}

/// Where a device fetches from.
pub(super) enum Source {
    /// Any URL.
    Url(String),
    /// A file of the server.
    File(nb::File),
}

impl Source {
    /// Tells a URL from a file's name, and looks for the file.
    pub(super) async fn of(
        app: &mut App<'_>,
        source: String,
        has_login: bool,
    ) -> Result<Self, Error> {
        if source.contains("://") {
            return Ok(Self::Url(source));
        }
        if has_login {
            return Err(Error::usage(
                "a file of the server gets a login of its own for each transfer; leave out \
                 --username and the password",
            ));
        }
        let api = app.api().await?;
        let known = file::metadata(&api, &source).await;
        known
            .map(Self::File)
            .map_err(|error| file_missing(app, &source, error))
    }
}

/// Has a device fetch a file in a window of time.
pub(crate) async fn schedule(args: ScheduleDownloadArgs, app: &mut App<'_>) -> Result<(), Error> {
    if args.mode.len() > args.window.len() {
        return Err(Error::usage("more --mode than --window"));
    }
    let mut time_windows = Vec::new();
    for (index, window) in args.window.iter().enumerate() {
        let mode = args.mode.get(index).or(args.mode.last());
        let mut made = TimeWindow {
            window_mode: mode.map_or("", |mode| mode.as_str()).to_owned(),
            user_message: args.message.clone(),
            max_retries: args.max_retries.map_or(-1, i32::from),
            ..Default::default()
        };
        match (window.from, window.to) {
            (When::Distance(from), When::Distance(to)) => {
                (made.window_start, made.window_end) = (seconds(from)?, seconds(to)?);
            }
            (from, to) => {
                let now = (app.host.now)();
                made.start_time = Some(times::write(from.after(now)));
                made.end_time = Some(times::write(to.after(now)));
            }
        }
        time_windows.push(made);
    }
    let fetched = Fetched::of(app, args.fetch).await?;
    let download = ScheduleDownload {
        url: fetched.url,
        file: fetched.file,
        file_type: fetched.file_type,
        file_size: fetched.file_size,
        target_file_name: fetched.target_file_name,
        username: fetched.username,
        password: fetched.password,
        time_windows,
        ..Default::default()
    };
    let kind = Kind::ScheduleDownload(download);
    let task = app.perform(&args.device, kind, &args.task).await?;
    app.print_done(task, |task| {
        format!("{} has fetched the file", id_of(&task.device))
    })
}

/// `hearthctl transfer`.
pub(crate) async fn run(command: TransferCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        TransferCommand::List {
            device,
            deprecated,
            task,
        } => {
            let kind = Kind::GetQueuedTransfers(GetQueuedTransfers {
                deprecated_method: deprecated,
            });
            let Some(task) = app.perform(&device, kind, &task).await? else {
                return Ok(());
            };
            let transfers = task.result.unwrap_or_default().transfers;
            app.print(&transfers, |app, list| show::transfers(app, list))
        }
        TransferCommand::Cancel {
            device,
            transfer,
            key,
            task,
        } => {
            let api = app.api().await?;
            let name = transfer.map(|id| api.name("tasks", &id)).transpose()?;
            let cancel = CancelTransfer {
                task: name.unwrap_or_default(),
                command_key: key.unwrap_or_default(),
            };
            let kind = Kind::CancelTransfer(cancel);
            let task = app.perform(&device, kind, &task).await?;
            app.print_done(task, |task| {
                format!("{} has cancelled the transfer", id_of(&task.device))
            })
        }
    }
}

/// A file that lies here must go to the server first.
fn file_missing(app: &App<'_>, source: &str, error: Error) -> Error {
    let missing = matches!(&error, Error::Api(status) if status.code() == Code::NotFound)
        || matches!(&error, Error::Usage(_));
    if !missing {
        return error;
    }
    let here = app.path(Path::new(source)).is_file();
    Error::NotFound {
        message: format!("the server has no file `{source}`"),
        advice: match here {
            true => format!("it lies here; send it first: hearthctl file put {source} --type …"),
            false => "see: hearthctl file list; send one: hearthctl file put PATH --type …".into(),
        },
    }
}

/// Has a device send a file.
pub(crate) async fn upload(args: UploadArgs, app: &mut App<'_>) -> Result<(), Error> {
    if let Some(path) = &args.output_file {
        // Better before the device has sent it than after.
        file::check_target(app, path, args.force)?;
    }
    let password = password(app, &args.password)?.unwrap_or_default();
    if !password.is_empty() && args.url.is_none() {
        return Err(Error::usage("a password goes with --url only"));
    }
    let upload = Upload {
        file_type: args.file_type.to_string(),
        url: args.url.unwrap_or_default(),
        username: args.username.unwrap_or_default(),
        password,
        delay_seconds: args.delay.map(seconds).transpose()?.unwrap_or_default(),
        ..Default::default()
    };
    let Some(task) = app
        .perform(&args.device, Kind::Upload(upload), &args.task)
        .await?
    else {
        return Ok(());
    };
    let name = task.result.as_ref().map_or("", |result| &result.file);
    match args.output_file {
        Some(path) if !name.is_empty() => {
            let api = app.api().await?;
            let kept = file::metadata(&api, name).await?;
            file::fetch(app, &api, &kept, &path, args.force).await
        }
        Some(_) => Err(Error::NotFound {
            message: "the device has sent its file, but the task names none".into(),
            advice: "see: hearthctl file list".into(),
        }),
        None => app.print_done(Some(task), kept_line),
    }
}

fn kept_line(task: &nb::Task) -> String {
    match task.result.as_ref().map_or("", |result| &result.file) {
        "" => format!("{} has sent its file", id_of(&task.device)),
        name => format!("kept as {}", id_of(name)),
    }
}
