//! `hearthctl device sessions`.

use crate::{
    app::App,
    error::{Error, id_of},
    resolve,
    table::{Cell, Table},
    times::{both, relative},
};
use comfy_table::Color;
use hearth_proto::northbound::v1 as nb;

/// The last sessions of a device, or one with its turns.
pub(crate) async fn run(
    app: &mut App<'_>,
    device: &str,
    session: Option<String>,
    limit: u8,
) -> Result<(), Error> {
    let api = app.api().await?;
    let parent = resolve::device(&api, device, true).await?.name;
    let Some(session) = session else {
        let page_size = i32::from(limit);
        let request = nb::ListSessionsRequest { parent, page_size };
        let answer = api.answer(api.sessions().list_sessions(request)).await?;
        return app.print(&answer.sessions, |app, sessions| list(app, sessions));
    };
    let request = nb::GetSessionRequest { parent, session };
    let answer = api.answer(api.sessions().get_session(request)).await?;
    app.print(&answer.session.unwrap_or_default(), |app, session| {
        one(app, session)
    })
}

/// How a session ended; colours for what should not be.
fn end(session: &nb::Session) -> Cell {
    match session.end.as_str() {
        "" => "".into(),
        good @ ("idle" | "ended") => good.into(),
        bad => Cell::colored(bad, Color::Yellow),
    }
}

fn list(app: &mut App<'_>, sessions: &[nb::Session]) -> Result<(), Error> {
    let now = (app.host.now)();
    let mut table = Table::new(["SESSION", "WHEN", "EVENTS", "TURNS", "END"]).flexible(&[2]);
    for session in sessions {
        let turns = match session.turn_count {
            0 => String::new(),
            count => (count + session.turns_left_out).to_string(),
        };
        table.row([
            (&session.id).into(),
            relative(session.start_time.as_ref(), now).into(),
            session.events.join(", ").into(),
            turns.into(),
            end(session),
        ]);
    }
    app.print_table(table, "no session of it is known any more")
}

fn one(app: &mut App<'_>, session: &nb::Session) -> Result<(), Error> {
    let now = (app.host.now)();
    let zone = app.host.zone.clone();
    let mut table = Table::pairs();
    table.pair("session", &session.id);
    table.pair("started", both(session.start_time.as_ref(), now, &zone));
    table.pair(
        "last turn",
        both(session.last_turn_time.as_ref(), now, &zone),
    );
    table.pair("address", &session.address);
    table.pair("events", session.events.join(", "));
    table.pair("proof", &session.proof);
    let ended = match session.end_detail.as_str() {
        "" => session.end.clone(),
        detail => format!("{} ({detail})", session.end),
    };
    table.pair("end", ended);
    if session.turns_left_out > 0 {
        table.pair("left out", format!("{} turns", session.turns_left_out));
    }
    app.print_table(table, "")?;
    if session.turns.is_empty() {
        return Ok(());
    }
    app.say("")?;
    let head = [
        "MS", "DEVICE", "SERVER", "TASK", "IN", "OUT", "HTTP", "FAULT", "TOOK",
    ];
    let mut table = Table::new(head);
    for turn in &session.turns {
        let fault = match turn.fault_code {
            0 => String::new(),
            code => code.to_string(),
        };
        table.row([
            turn.offset_ms.to_string().into(),
            (&turn.received).into(),
            (&turn.sent).into(),
            id_of(&turn.task).into(),
            turn.bytes_in.to_string().into(),
            turn.bytes_out.to_string().into(),
            turn.status.to_string().into(),
            Cell::colored(fault, Color::Yellow),
            format!("{} ms", turn.spent_ms).into(),
        ]);
    }
    app.print_table(table, "")
}
