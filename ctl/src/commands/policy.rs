//! `hearthctl policy`.

use crate::{app::App, cli::PolicyCommand, error::Error, table::Table};
use hearth_proto::{northbound::v1 as nb, types::v1::EdgePolicy};
use serde_json::{Map, Value};
use std::path::Path;

/// Runs one command.
pub(crate) async fn run(command: PolicyCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        PolicyCommand::Show => {
            let api = app.api().await?;
            let parent = api.tenant_name();
            let request = nb::GetEdgePolicyRequest { parent };
            let answer = api.answer(api.policies().get_edge_policy(request)).await?;
            print(app, &answer.policy.unwrap_or_default())
        }
        PolicyCommand::Set { fields } => set(app, &fields).await,
    }
}

async fn set(app: &mut App<'_>, fields: &[String]) -> Result<(), Error> {
    let mut policy = Map::new();
    let mut paths = Vec::new();
    for field in fields {
        let (name, text) = field
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("`{field}` is not FIELD=VALUE")))?;
        let text = match text.strip_prefix('@') {
            Some(file) => app.read_text(Path::new(file))?,
            None => text.to_owned(),
        };
        if !text.is_empty() {
            policy.insert(name.to_owned(), value(name, &text)?);
        }
        paths.push(name.to_owned());
    }
    let policy: EdgePolicy = read(Value::Object(policy)).map_err(Error::usage)?;
    let api = app.api().await?;
    let request = nb::UpdateEdgePolicyRequest {
        parent: api.tenant_name(),
        policy: Some(policy),
        update_mask: Some(pbjson_types::FieldMask { paths }),
    };
    let answer = api
        .answer(api.policies().update_edge_policy(request))
        .await?;
    print(app, &answer.policy.unwrap_or_default())
}

/// A field's value: JSON, a word, or the word of an enumeration without its prefix.
fn value(name: &str, text: &str) -> Result<Value, Error> {
    let plain = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    let long = format!("{name}_{text}").to_ascii_uppercase();
    let of_field = |value: &Value| {
        read(Value::Object(
            [(name.to_owned(), value.clone())].into_iter().collect(),
        ))
    };
    match (of_field(&plain), of_field(&Value::from(long.as_str()))) {
        (Ok(_), _) => Ok(plain),
        (Err(_), Ok(_)) => Ok(Value::from(long)),
        (Err(error), Err(_)) => Err(Error::usage(format!("{name}: {error}"))),
    }
}

fn read(policy: Value) -> Result<EdgePolicy, String> {
    serde_json::from_value(policy).map_err(|error| error.to_string())
}

fn print(app: &mut App<'_>, policy: &EdgePolicy) -> Result<(), Error> {
    app.print(policy, |app, policy| {
        let mut table = Table::pairs();
        let json = serde_json::to_value(policy).unwrap_or_default();
        for (name, value) in json.as_object().into_iter().flatten() {
            let name = snake(name);
            let text = match value {
                Value::String(text) => word(&name, text),
                other => other.to_string(),
            };
            table.pair(&name, text);
        }
        app.print_table(table, "")
    })
}

/// A text as it is, and an enumeration's value as the word that `policy set` takes.
fn word(name: &str, text: &str) -> String {
    let prefix = format!("{}_", name.to_ascii_uppercase());
    match text.strip_prefix(&prefix) {
        Some(word) => word.to_ascii_lowercase(),
        None => text.to_owned(),
    }
}

/// A field's name as `policy set` takes it.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_words_numbers_and_json() {
        let long = Value::from("ROTATE_CREDENTIALS_ONBOARDING");
        assert_eq!(value("rotate_credentials", "onboarding").unwrap(), long);
        assert_eq!(
            value("silent_after_intervals", "5").unwrap(),
            Value::from(5)
        );
        assert!(value("expected_devices_only", "true").is_ok());
        assert!(value("trusted_networks", "[{\"prefix\":\"192.0.2.0/24\"}]").is_ok());
        assert!(value("rotate_credentials", "daily").is_err());
        assert!(value("silent_after_intervals", "often").is_err());
        assert_eq!(snake("silentAfterIntervals"), "silent_after_intervals");
        let shown = word("identity_proof", "IDENTITY_PROOF_EITHER");
        assert_eq!(shown, "either");
        assert!(value("identity_proof", &shown).is_ok());
        assert_eq!(word("kicked_url", "https://a.example"), "https://a.example");
    }
}
