//! `hearthctl capture`.

use crate::{
    app::App,
    cli::{CaptureCommand, CaptureStartArgs},
    error::{Error, id_of},
    resolve,
    table::Table,
    times::{both, relative},
};
use hearth_proto::{
    northbound::v1 as nb,
    types::v1::{Capture, CaptureRule, CaptureState},
};
use std::path::PathBuf;

/// Runs one command.
pub(crate) async fn run(command: CaptureCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        CaptureCommand::Start(args) => start(app, *args).await,
        CaptureCommand::List => {
            let api = app.api().await?;
            let parent = api.tenant_name();
            let request = nb::ListCapturesRequest { parent };
            let answer = api.answer(api.captures().list_captures(request)).await?;
            app.print(&answer.captures, |app, captures| list(app, captures))
        }
        CaptureCommand::Get { capture } => {
            let api = app.api().await?;
            let parent = api.tenant_name();
            let request = nb::GetCaptureRequest { parent, capture };
            let answer = api.answer(api.captures().get_capture(request)).await?;
            print(app, &answer.capture.unwrap_or_default())
        }
        CaptureCommand::Stop { capture } => {
            let api = app.api().await?;
            let parent = api.tenant_name();
            let request = nb::StopCaptureRequest { parent, capture };
            let answer = api.answer(api.captures().stop_capture(request)).await?;
            print(app, &answer.capture.unwrap_or_default())
        }
        CaptureCommand::Download { capture, file } => download(app, capture, file).await,
        CaptureCommand::Delete { capture } => {
            let api = app.api().await?;
            let parent = api.tenant_name();
            let said = format!("capture {capture} is deleted");
            let request = nb::DeleteCaptureRequest { parent, capture };
            api.answer(api.captures().delete_capture(request)).await?;
            app.note(&said);
            Ok(())
        }
    }
}

async fn start(app: &mut App<'_>, args: CaptureStartArgs) -> Result<(), Error> {
    let api = app.api().await?;
    let device = match &args.device {
        Some(device) => resolve::device(&api, device, true).await?.name,
        None => String::new(),
    };
    let seconds = u32::try_from(args.duration.as_secs()).unwrap_or(u32::MAX);
    let capture = Capture {
        rule: Some(CaptureRule {
            device,
            oui: args.oui.unwrap_or_default(),
            product_class: args.product_class.unwrap_or_default(),
            software_version: args.software.unwrap_or_default(),
            any: args.any,
        }),
        max_sessions: args.sessions.unwrap_or_default(),
        duration_seconds: seconds,
        ..Capture::default()
    };
    let request = nb::StartCaptureRequest {
        parent: api.tenant_name(),
        capture: Some(capture),
    };
    let answer = api.answer(api.captures().start_capture(request)).await?;
    print(app, &answer.capture.unwrap_or_default())
}

async fn download(app: &mut App<'_>, capture: String, file: Option<PathBuf>) -> Result<(), Error> {
    let api = app.api().await?;
    let mut text = String::new();
    let mut page_token = String::new();
    loop {
        let request = nb::DownloadCaptureRequest {
            parent: api.tenant_name(),
            capture: capture.clone(),
            page_token,
        };
        let piece = api.answer(api.captures().download_capture(request)).await?;
        text.push_str(&piece.text);
        page_token = piece.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let Some(file) = file else {
        return app.say(text.trim_end());
    };
    std::fs::write(&file, &text)
        .map_err(|error| Error::usage(format!("{}: {error}", file.display())))?;
    app.note(&format!("{} bytes in {}", text.len(), file.display()));
    Ok(())
}

fn state(capture: &Capture) -> &'static str {
    match capture.state() {
        CaptureState::Active => "active",
        CaptureState::Full => "full",
        CaptureState::Over => "over",
        CaptureState::Stopped => "stopped",
        CaptureState::Unspecified => "",
    }
}

/// Whose sessions, in words.
fn whose(rule: &CaptureRule) -> String {
    if !rule.device.is_empty() {
        return id_of(&rule.device).to_owned();
    }
    let said = [&rule.oui, &rule.product_class, &rule.software_version];
    let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
    match said.is_empty() {
        true => "any".to_owned(),
        false => said
            .iter()
            .map(|text| text.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn list(app: &mut App<'_>, captures: &[Capture]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table = Table::new(["CAPTURE", "OF", "STATE", "SESSIONS", "BYTES", "ENDS"]);
    for capture in captures {
        let rule = capture.rule.clone().unwrap_or_default();
        table.row([
            (&capture.id).into(),
            whose(&rule).into(),
            state(capture).into(),
            format!("{}/{}", capture.sessions, capture.max_sessions).into(),
            capture.bytes.to_string().into(),
            relative(capture.end_time.as_ref(), now).into(),
        ]);
    }
    app.print_table(
        table,
        "nothing is captured; see: hearthctl capture start --help",
    )
}

fn print(app: &mut App<'_>, capture: &Capture) -> Result<(), Error> {
    app.print(capture, |app, capture| {
        let now = (app.host.now)();
        let zone = app.host.zone.clone();
        let rule = capture.rule.clone().unwrap_or_default();
        let mut table = Table::pairs();
        table.pair("capture", &capture.id);
        table.pair("of", whose(&rule));
        table.pair("state", state(capture));
        let sessions = format!("{} of {}", capture.sessions, capture.max_sessions);
        table.pair("sessions", sessions);
        table.pair("bytes", capture.bytes.to_string());
        if capture.left_out > 0 {
            table.pair("left out", format!("{} turns", capture.left_out));
        }
        table.pair("started", both(capture.start_time.as_ref(), now, &zone));
        table.pair("ends", both(capture.end_time.as_ref(), now, &zone));
        table.pair("deleted", both(capture.delete_time.as_ref(), now, &zone));
        app.print_table(table, "")
    })
}
