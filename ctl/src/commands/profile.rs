//! `hearthctl profile`, and what a device shows of its profile and model.

use crate::{
    api::all_pages,
    app::App,
    cli::{ProfileCommand, ProfileFileArgs},
    error::Error,
    table::Table,
};
use hearth_proto::{
    northbound::v1 as nb,
    profile::{BooleanFormName, ProfileForm, QuirksForm},
    types::v1::{Profile, ProfileChoice},
};

/// Runs one command.
pub(crate) async fn run(command: ProfileCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        ProfileCommand::List { limit } => list(app, limit).await,
        ProfileCommand::Get { id } => {
            let api = app.api().await?;
            let request = nb::GetProfileRequest {
                parent: api.tenant_name(),
                id,
            };
            let answer = api.answer(api.profiles().get_profile(request)).await?;
            let form = ProfileForm::from(answer.profile.unwrap_or_default());
            app.print(&form, |app, form| {
                let text = crate::output::yaml(form)?;
                app.say(text.trim_end())
            })
        }
        ProfileCommand::Put(args) => put(app, &args, false).await,
        ProfileCommand::Check(args) => put(app, &args, true).await,
        ProfileCommand::Delete { id } => {
            let api = app.api().await?;
            let request = nb::DeleteProfileRequest {
                parent: api.tenant_name(),
                id: id.clone(),
            };
            let answer = api.answer(api.profiles().delete_profile(request)).await?;
            if answer.builtin {
                app.note("the profile of this id that comes with the server is in force now");
            }
            super::device::deleted(app, &id)
        }
    }
}

async fn list(app: &mut App<'_>, limit: usize) -> Result<(), Error> {
    let api = app.api().await?;
    let (found, more) = all_pages(limit, 100, |page_size, page_token| {
        let request = nb::ListProfilesRequest {
            parent: api.tenant_name(),
            page_size,
            page_token,
        };
        let api = &api;
        async move {
            let page = api.answer(api.profiles().list_profiles(request)).await?;
            Ok((page.profiles, page.next_page_token))
        }
    })
    .await?;
    let forms: Vec<_> = found.into_iter().map(ProfileForm::from).collect();
    app.print(&forms, |app, forms| {
        let mut table =
            Table::new(["ID", "VERSION", "FROM", "PRIORITY", "MATCHES", "QUIRKS"]).flexible(&[5]);
        for form in forms {
            let from = if form.builtin { "server" } else { "tenant" };
            table.row([
                (&form.id).into(),
                form.version.to_string().into(),
                from.into(),
                form.priority.to_string().into(),
                form.matches.len().to_string().into(),
                in_words(&form.quirks).join(", ").into(),
            ]);
        }
        app.print_table(table, "no profiles")
    })?;
    app.more(more, limit);
    Ok(())
}

async fn put(app: &mut App<'_>, args: &ProfileFileArgs, check_only: bool) -> Result<(), Error> {
    let text = app.read_text(&args.file)?;
    let form =
        read(&text).map_err(|error| Error::usage(format!("{}: {error}", args.file.display())))?;
    let api = app.api().await?;
    let request = nb::PutProfileRequest {
        parent: api.tenant_name(),
        profile: Some(Profile::from(form)),
        check_only,
    };
    let answer = api.answer(api.profiles().put_profile(request)).await?;
    let changed = answer.changed;
    let form = ProfileForm::from(answer.profile.unwrap_or_default());
    app.print(&form, |app, form| {
        let (id, version) = (&form.id, form.version);
        app.say(match (check_only, changed) {
            (true, true) => format!("{id} is valid; it would be version {version}"),
            (true, false) => format!("{id} is valid, and the same as version {version}"),
            (false, true) => format!("{id} is kept as version {version}"),
            (false, false) => format!("{id} is the same as version {version}"),
        })?;
        if form.matches.is_empty() {
            app.note("it matches no device: matches is empty");
        }
        Ok(())
    })
}

/// A profile of a file.
fn read(text: &str) -> Result<ProfileForm, String> {
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| error.to_string()),
        false => serde_yaml_ng::from_str(text).map_err(|error| error.to_string()),
    }
}

/// What a device shows of its profile: `acme@3 (oui 00D09E; priority 10): no Upload`.
pub(crate) fn chosen(choice: &ProfileChoice) -> String {
    let quirks = QuirksForm::from(choice.quirks.clone().unwrap_or_default());
    let from = if choice.builtin { "built in, " } else { "" };
    format!(
        "{}@{} ({from}{}): {}",
        choice.id,
        choice.version,
        choice.reason,
        in_words(&quirks).join(", ")
    )
}

/// What was learned about a device's model.
pub(crate) fn learned(model: &nb::LearnedModel) -> String {
    let mut words = in_words(&QuirksForm {
        max_names_per_read: model.max_names_per_read,
        refuses_empty_path: model.refuses_empty_path.then_some(true),
        missing_rpcs: model.missing_rpcs.clone(),
        boolean_form: model.boolean_form().into(),
        no_fractional_seconds: model.no_fractional_seconds,
        ..QuirksForm::default()
    });
    if !model.rpcs.is_empty() {
        words.push(format!("names {} RPCs", model.rpcs.len()));
    }
    words.join(", ")
}

fn in_words(quirks: &QuirksForm) -> Vec<String> {
    let mut words = Vec::new();
    let mut say = |is_so: bool, text: &str| {
        if is_so {
            words.push(text.to_owned());
        }
    };
    say(quirks.triple_empty_end, "ends by two empty exchanges");
    let form = quirks.boolean_form;
    say(form == BooleanFormName::Digits, "booleans as 0/1");
    say(form == BooleanFormName::Words, "booleans as false/true");
    say(quirks.no_fractional_seconds, "whole seconds");
    let refuses = quirks.refuses_empty_path;
    say(refuses == Some(true), "refuses the empty path");
    say(refuses == Some(false), "takes the empty path");
    say(quirks.empty_parameter_key, "ParameterKey empty");
    say(quirks.xml_declaration, "XML declaration");
    let number = |n: u32, text: &str| (n > 0).then(|| format!("at most {n} {text}"));
    words.extend(number(quirks.max_names_per_read, "names a read"));
    words.extend(number(quirks.max_request_bytes, "bytes a request"));
    words.extend(quirks.missing_rpcs.iter().map(|rpc| format!("no {rpc}")));
    words.extend(quirks.present_rpcs.iter().map(|rpc| format!("has {rpc}")));
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_are_yaml_or_json_and_slips_are_named() {
        // What reads as a number is taken as it is written.
        let yaml = "id: acme\nmatches:\n  - oui: 00E012\n    software_below: 2.10\n\
                    quirks:\n  boolean_form: digits\n";
        let json = r#"{"id":"acme","matches":[{"oui":"00E012","software_below":"2.10"}],
                "quirks":{"boolean_form":"digits"}}"#;
        assert_eq!(read(yaml).unwrap(), read(json).unwrap());
        let kept = ProfileForm::from(Profile::from(read(yaml).unwrap()));
        assert_eq!(kept, read(yaml).unwrap());
        let shown = serde_yaml_ng::to_string(&kept).unwrap();
        assert_eq!(read(&shown).unwrap(), kept);
        for (text, says) in [
            ("id: a\nquirks:\n  boolen_form: digits\n", "boolen_form"),
            ("id: a\nquirks:\n  boolean_form: maybe\n", "maybe"),
            ("id: a\nmatches:\n  - software: 2.0\n", "software_below"),
            ("{\"id\": 1}", "expected a string"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
