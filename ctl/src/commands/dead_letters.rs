//! `hearthctl dead-letters`.

use crate::{
    api::{Api, all_pages},
    app::App,
    cli::{DeadLetterFilterArgs, DeadLettersCommand},
    error::{Error, id_of},
    table::{Table, clean},
    times,
};
use hearth_proto::{ProtoTimestamp, northbound::v1 as nb};
use serde_json::{Value, json};

/// The largest page of the API.
const PAGE: usize = 1000;

/// Runs one command.
pub(crate) async fn run(command: DeadLettersCommand, app: &mut App<'_>) -> Result<(), Error> {
    let api = app.api().await?;
    match command {
        DeadLettersCommand::List { which, limit } => list(app, &api, which, limit).await,
        DeadLettersCommand::Get { number } => {
            let name = name(&api, number);
            let request = nb::GetDeadLetterRequest { name };
            let answer = api
                .answer(api.operations().get_dead_letter(request))
                .await?;
            let letter = answer.dead_letter.unwrap_or_default();
            app.print(&document(&letter), |app, _| show(app, &letter))
        }
        DeadLettersCommand::Replay {
            numbers,
            all,
            which,
        } => match numbers.is_empty() {
            true => replay_many(app, &api, which, all).await,
            false => replay(app, &api, &numbers).await,
        },
        DeadLettersCommand::Delete { numbers } => {
            for number in numbers {
                let name = name(&api, number);
                let request = nb::DeleteDeadLetterRequest { name: name.clone() };
                api.answer(api.operations().delete_dead_letter(request))
                    .await?;
                super::device::deleted(app, &name)?;
            }
            Ok(())
        }
    }
}

fn name(api: &Api, number: u64) -> String {
    format!("tenants/{}/deadLetters/{number}", api.tenant)
}

/// Whose, and which.
fn scope(api: &Api, which: DeadLetterFilterArgs) -> (String, nb::DeadLetterFilter) {
    let parent = match which.all_tenants {
        true => "tenants/-".to_owned(),
        false => api.tenant_name(),
    };
    let filter = nb::DeadLetterFilter {
        stream: which.stream.unwrap_or_default(),
        device: which.device.unwrap_or_default(),
        reason: which.reason.unwrap_or_default(),
    };
    (parent, filter)
}

async fn list(
    app: &mut App<'_>,
    api: &Api,
    which: DeadLetterFilterArgs,
    limit: usize,
) -> Result<(), Error> {
    let everybodys = which.all_tenants;
    let (parent, filter) = scope(api, which);
    let (letters, more) = all_pages(limit, PAGE, |page_size, page_token| {
        let request = nb::ListDeadLettersRequest {
            parent: parent.clone(),
            page_size,
            page_token,
            filter: Some(filter.clone()),
        };
        async move {
            let page = api
                .answer(api.operations().list_dead_letters(request))
                .await?;
            Ok((page.dead_letters, page.next_page_token))
        }
    })
    .await?;
    app.print(&letters, |app, letters| {
        let header = ["NUMBER", "DIED", "KIND", "DEVICE", "TRIES", "REASON"];
        let mut table = Table::new(header).flexible(&[5]);
        for letter in letters {
            let device = match everybodys {
                true => letter.device.as_str(),
                false => id_of(&letter.device),
            };
            table.row([
                id_of(&letter.name).into(),
                times::relative(letter.death_time.as_ref(), (app.host.now)()).into(),
                (&letter.stream).into(),
                device.into(),
                letter.deliveries.to_string().into(),
                (&letter.reason).into(),
            ]);
        }
        app.print_table(table, "no dead letters")
    })?;
    app.more(more, limit);
    Ok(())
}

/// The letter with its event as part of the document, not as a text in it.
fn document(letter: &nb::DeadLetter) -> Value {
    let mut value = serde_json::to_value(letter).unwrap_or_default();
    let event = serde_json::from_str(&letter.event_json);
    if let (Some(fields), Ok(event)) = (value.as_object_mut(), event) {
        fields.remove("eventJson");
        fields.insert("event".to_owned(), event);
    }
    value
}

fn time(app: &App<'_>, time: &Option<ProtoTimestamp>) -> String {
    times::both(time.as_ref(), (app.host.now)(), &app.host.zone)
}

fn show(app: &mut App<'_>, letter: &nb::DeadLetter) -> Result<(), Error> {
    let mut table = Table::pairs();
    table.pair("number", id_of(&letter.name));
    table.pair("reason", &letter.reason);
    table.pair("consumer", &letter.consumer);
    table.pair("died", time(app, &letter.death_time));
    table.pair("kind", &letter.stream);
    table.pair("device", &letter.device);
    table.pair("event's time", time(app, &letter.event_time));
    table.pair("tries", letter.deliveries.to_string());
    table.pair("bytes", letter.size.to_string());
    table.pair("unreadable", &letter.unreadable);
    app.print_table(table, "")?;
    let Ok(event) = serde_json::from_str::<Value>(&letter.event_json) else {
        return Ok(());
    };
    let text = serde_json::to_string_pretty(&event).unwrap_or_default();
    app.say("")?;
    text.lines().try_for_each(|line| app.say(clean(line)))
}

async fn replay(app: &mut App<'_>, api: &Api, numbers: &[u64]) -> Result<(), Error> {
    for number in numbers {
        let name = name(api, *number);
        let request = nb::ReplayDeadLetterRequest { name: name.clone() };
        let answer = api
            .answer(api.operations().replay_dead_letter(request))
            .await?;
        let document = json!({ "name": name, "sequence": answer.sequence });
        app.print(&document, |app, _| app.say(format!("{number} replayed")))?;
    }
    Ok(())
}

async fn replay_many(
    app: &mut App<'_>,
    api: &Api,
    which: DeadLetterFilterArgs,
    all: bool,
) -> Result<(), Error> {
    let (parent, filter) = scope(api, which);
    if !all && filter == nb::DeadLetterFilter::default() {
        return Err(Error::usage(
            "which? Give their numbers, a condition (--stream, --device, --reason), or --all",
        ));
    }
    let mut replayed = 0;
    let mut page_token = String::new();
    loop {
        let request = nb::ReplayDeadLettersRequest {
            parent: parent.clone(),
            filter: Some(filter.clone()),
            page_size: 0,
            page_token,
        };
        let answer = api
            .answer(api.operations().replay_dead_letters(request))
            .await?;
        replayed += answer.replayed;
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let document = json!({ "replayed": replayed });
    app.print(&document, |app, _| {
        app.say(format!("{replayed} dead letters replayed"))
    })
}
