//! `hearthctl download` and `upload`: devices fetch and send files.

use super::{credential::password, file, seconds};
use crate::{
    app::App,
    cli::{DownloadArgs, UploadArgs},
    error::{Error, id_of},
};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{Download, Upload, task_spec::Kind},
};
use std::path::Path;
use tonic::Code;

/// Has a device fetch a file.
pub(crate) async fn download(args: DownloadArgs, app: &mut App<'_>) -> Result<(), Error> {
    let mut download = Download {
        file_type: args.file_type.map(|t| t.to_string()).unwrap_or_default(),
        file_size: args.file_size,
        target_file_name: args.target_file_name,
        delay_seconds: args.delay.map(seconds).transpose()?.unwrap_or_default(),
        username: args.username.unwrap_or_default(),
        password: password(app, &args.password)?.unwrap_or_default(),
        ..Default::default()
    };
    if args.source.contains("://") {
        if download.file_type.is_empty() {
            return Err(Error::usage(
                "--type is needed with a URL: firmware, config, web …",
            ));
        }
        download.url = args.source;
    } else {
        if !download.username.is_empty() || !download.password.is_empty() {
            return Err(Error::usage(
                "a file of the server gets a login of its own for each transfer; leave out \
                 --username and the password",
            ));
        }
        let api = app.api().await?;
        let known = file::metadata(&api, &args.source)
            .await
            .map_err(|error| file_missing(app, &args.source, error))?;
        if download.file_type.is_empty() {
            download.file_type = known.file_type;
        }
        download.file = known.name;
    }
    let task = app
        .perform(&args.device, Kind::Download(download), &args.task)
        .await?;
    app.print_done(task, |task| {
        format!("{} has fetched the file", id_of(&task.device))
    })
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
