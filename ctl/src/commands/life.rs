//! `hearthctl device expect|block|unblock|retire`, `hearthctl line` and `credential import`.

use crate::{
    api::{Api, all_pages},
    app::App,
    cli::{CredentialImportArgs, LineCommand},
    error::{Error, id_of},
    exit::Exit,
    resolve,
    table::Table,
};
use hearth_proto::{northbound::v1 as nb, types::v1 as ty};
use std::time::Duration;

/// Characters of a file that one call carries, at most a line more.
const CHUNK: usize = 256 * 1024;
/// Lines that one call carries.
const CHUNK_LINES: usize = 2000;

/// Sets where a device stands.
pub(crate) async fn set_state(
    app: &mut App<'_>,
    device: &str,
    state: ty::DeviceState,
    reason: Option<String>,
) -> Result<(), Error> {
    let api = app.api().await?;
    let unseen = matches!(state, ty::DeviceState::Expected | ty::DeviceState::Blocked);
    let name = resolve::device(&api, device, unseen).await?.name;
    let request = nb::SetDeviceStateRequest {
        name,
        state: state.into(),
        reason: reason.unwrap_or_default(),
    };
    let answer = api.answer(api.devices().set_device_state(request)).await?;
    let device = answer.device.unwrap_or_default();
    app.print(&device, |app, device| {
        app.say(format!(
            "{} is {}",
            id_of(&device.name),
            word(device.state())
        ))
    })
}

/// A state in a word.
pub(crate) const fn word(state: ty::DeviceState) -> &'static str {
    match state {
        ty::DeviceState::Unspecified => "",
        ty::DeviceState::Expected => "expected",
        ty::DeviceState::New => "new",
        ty::DeviceState::Active => "active",
        ty::DeviceState::Silent => "silent",
        ty::DeviceState::Retired => "retired",
        ty::DeviceState::Blocked => "blocked",
    }
}

/// `hearthctl line`.
pub(crate) async fn line(command: LineCommand, app: &mut App<'_>) -> Result<(), Error> {
    let api = app.api().await?;
    match command {
        LineCommand::Set {
            prefix,
            circuit_id,
            remote_id,
            device,
            expire,
        } => {
            let device = match &device {
                Some(device) => resolve::device(&api, device, true).await?.name,
                None => String::new(),
            };
            let line = ty::Line {
                prefix,
                circuit_id: circuit_id.unwrap_or_default(),
                remote_id: remote_id.unwrap_or_default(),
                device,
                expire_time: expire.map(|after| at(app, after)),
            };
            let request = nb::SetLineRequest {
                parent: api.tenant_name(),
                line: Some(line),
            };
            let answer = api.answer(api.policies().set_line(request)).await?;
            let line = answer.line.unwrap_or_default();
            app.print(&line, |app, line| {
                app.say(format!("line of {} set", line.prefix))
            })
        }
        LineCommand::List { limit } => list(app, &api, limit).await,
        LineCommand::Delete { prefix } => {
            let request = nb::DeleteLineRequest {
                parent: api.tenant_name(),
                prefix: prefix.clone(),
            };
            api.answer(api.policies().delete_line(request)).await?;
            super::device::deleted(app, &prefix)
        }
    }
}

fn at(app: &App<'_>, after: Duration) -> pbjson_types::Timestamp {
    let now = (app.host.now)();
    let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    pbjson_types::Timestamp {
        seconds: now.as_second().saturating_add(after),
        nanos: 0,
    }
}

async fn list(app: &mut App<'_>, api: &Api, limit: usize) -> Result<(), Error> {
    let (found, more) = all_pages(limit, 1000, |page_size, page_token| {
        let request = nb::ListLinesRequest {
            parent: api.tenant_name(),
            page_size,
            page_token,
        };
        async move {
            let page = api.answer(api.policies().list_lines(request)).await?;
            Ok((page.lines, page.next_page_token))
        }
    })
    .await?;
    app.print(&found, |app, found| {
        let mut table = Table::new(["ADDRESS", "CIRCUIT", "REMOTE", "DEVICE", "ENDS"]);
        for line in found {
            let ends = line.expire_time.as_ref().map(|t| t.seconds);
            let ends = ends.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            table.row([
                (&line.prefix).into(),
                (&line.circuit_id).into(),
                (&line.remote_id).into(),
                id_of(&line.device).into(),
                ends.map(|at| at.to_string()).unwrap_or_default().into(),
            ]);
        }
        app.print_table(table, "no lines")
    })?;
    app.more(more, limit);
    Ok(())
}

/// `hearthctl credential import`.
pub(crate) async fn import(app: &mut App<'_>, args: CredentialImportArgs) -> Result<(), Error> {
    let text = app.read_text(&args.file)?;
    let (header, rows) = text.split_once('\n').unwrap_or((text.as_str(), ""));
    let api = app.api().await?;
    let mut total = nb::ImportCredentialsResponse::default();
    let mut before = 1;
    for rows in chunks(rows) {
        let request = nb::ImportCredentialsRequest {
            parent: api.tenant_name(),
            csv: format!("{header}\n{rows}"),
            lines_before: before,
            dry_run: args.dry_run,
        };
        let answer = api
            .answer(api.credentials().import_credentials(request))
            .await?;
        total.imported += answer.imported;
        total.errors.extend(answer.errors);
        before += u32::try_from(rows.matches('\n').count()).unwrap_or(u32::MAX);
    }
    let wrong = total.errors.len();
    app.print(&total, |app, total| {
        for error in &total.errors {
            app.say(format!(
                "line {}: {}: {}",
                error.line, error.column, error.message
            ))?;
        }
        let done = match args.dry_run {
            true => "could be set",
            false => "set",
        };
        app.say(format!(
            "{} credentials {done}, {wrong} lines with errors",
            total.imported
        ))
    })?;
    match wrong {
        0 => Ok(()),
        _ => Err(Error::Said {
            exit: Exit::Failed,
            message: format!("{wrong} lines of {} have errors", args.file.display()),
            advice: "mend them and import the file again; what is set already stays as it is"
                .into(),
        }),
    }
}

/// Cuts CSV at the ends of its records; a quoted field may hold line ends.
fn chunks(text: &str) -> Vec<&str> {
    let mut chunks = Vec::new();
    let (mut start, mut lines, mut quoted) = (0, 0, false);
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => {
                lines += 1;
                if place - start >= CHUNK || lines >= CHUNK_LINES {
                    chunks.extend(text.get(start..=place));
                    (start, lines) = (place + 1, 0);
                }
            }
            _ => {}
        }
    }
    chunks.extend(
        text.get(start..)
            .filter(|rest| !rest.is_empty() || chunks.is_empty()),
    );
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_between_records() {
        let rows = "u,\"p\nq\"\n".repeat(CHUNK_LINES + 1);
        let cut = chunks(&rows);
        assert_eq!(cut.len(), 2);
        assert_eq!(cut.concat(), rows);
        assert_eq!(cut[1], "u,\"p\nq\"\n");
        assert_eq!(chunks(""), [""]);
        assert_eq!(chunks("a"), ["a"]);
    }
}
