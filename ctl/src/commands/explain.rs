//! `hearthctl device why`, `hearthctl task why` and `hearthctl refusals`.

use crate::{
    api::{Api, all_pages},
    app::App,
    cli::RefusalsCommand,
    error::{Error, id_of},
    resolve,
    table::{Table, clean},
    times,
};
use hearth_proto::northbound::v1::{self as nb, FindingSeverity as Severity};
use std::time::Duration;

/// How long a command that gives up waits to be told why.
const PATIENCE: Duration = Duration::from_secs(3);

/// `hearthctl device why`.
pub(crate) async fn device(app: &mut App<'_>, device: &str) -> Result<(), Error> {
    let api = app.api().await?;
    let name = resolve::device(&api, device, true).await?.name;
    let request = nb::ExplainDeviceRequest { name };
    let answer = api
        .answer(api.explanations().explain_device(request))
        .await?;
    show(app, answer.explanation.unwrap_or_default())
}

/// `hearthctl task why`.
pub(crate) async fn task(app: &mut App<'_>, task: &str) -> Result<(), Error> {
    let api = app.api().await?;
    let name = api.name("tasks", task)?;
    let request = nb::ExplainTaskRequest { name };
    let answer = api.answer(api.explanations().explain_task(request)).await?;
    show(app, answer.explanation.unwrap_or_default())
}

/// Why a task isn't done yet, in one sentence; empty where nobody can tell now.
pub(crate) async fn in_a_sentence(api: &Api, task: &str) -> String {
    let request = nb::ExplainTaskRequest {
        name: task.to_owned(),
    };
    let mut explanations = api.explanations();
    let call = explanations.explain_task(request);
    match tokio::time::timeout(PATIENCE, api.answer(call)).await {
        Ok(Ok(answer)) => clean(&answer.explanation.unwrap_or_default().sentence),
        _ => String::new(),
    }
}

fn show(app: &mut App<'_>, explanation: nb::Explanation) -> Result<(), Error> {
    app.print(&explanation, |app, explanation| {
        for finding in &explanation.findings {
            app.say(lines(finding))?;
        }
        if explanation.findings.is_empty() {
            app.say("nothing is known that explains it")?;
        }
        Ok(())
    })
}

/// A finding as people read it: what it is, then what to do.
fn lines(finding: &nb::Finding) -> String {
    let mark = match finding.severity() {
        Severity::Decisive => "!",
        Severity::Hint => "?",
        Severity::Ok | Severity::Unspecified => "·",
    };
    let sentence = clean(&finding.sentence);
    let mut text = format!("{mark} {sentence}  [{}]", clean(&finding.code));
    let mut facts: Vec<(&String, &String)> = finding.facts.iter().collect();
    facts.sort();
    let facts = facts
        .into_iter()
        .filter(|(_, value)| !sentence.contains(value.as_str()))
        .map(|(name, value)| format!("{}={}", clean(name), clean(value)));
    let facts: Vec<String> = facts.collect();
    if !facts.is_empty() {
        text += &format!("\n    {}", facts.join("  "));
    }
    // What is as it should be needs nothing.
    if !finding.remedy.is_empty() && finding.severity() != Severity::Ok {
        text += &format!("\n    → {}", clean(&finding.remedy));
    }
    text
}

/// `hearthctl refusals`.
pub(crate) async fn refusals(command: RefusalsCommand, app: &mut App<'_>) -> Result<(), Error> {
    let RefusalsCommand::List {
        device,
        user,
        address,
        limit,
    } = command;
    let api = app.api().await?;
    let device = match device {
        Some(device) => resolve::device(&api, &device, true).await?.name,
        None => String::new(),
    };
    let (user, address) = (user.unwrap_or_default(), address.map(|it| it.to_string()));
    let (found, more) = all_pages(limit, 1000, |page_size, page_token| {
        let request = nb::ListRefusalsRequest {
            parent: api.tenant_name(),
            device: device.clone(),
            user: user.clone(),
            address: address.clone().unwrap_or_default(),
            page_size,
            page_token,
        };
        let api = &api;
        async move {
            let page = api
                .answer(api.explanations().list_refusals(request))
                .await?;
            Ok((page.refusals, page.next_page_token))
        }
    })
    .await?;
    let now = (app.host.now)();
    app.print(&found, |app, found| {
        let mut table = Table::new(["LAST", "COUNT", "WHO", "ADDRESS", "REASON", "MEANING"]);
        for refusal in found {
            let who = [id_of(&refusal.device), &refusal.user, &refusal.certificate];
            let who = who.into_iter().find(|who| !who.is_empty());
            table.row([
                times::relative(refusal.last_time.as_ref(), now).into(),
                refusal.count.to_string().into(),
                who.unwrap_or_default().into(),
                (&refusal.address).into(),
                (&refusal.reason).into(),
                (&refusal.sentence).into(),
            ]);
        }
        app.print_table(table.flexible(&[5]), "nobody was turned away")
    })?;
    app.more(more, limit);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_with_its_facts_and_its_remedy() {
        let mut finding = nb::Finding {
            code: "wrong_password".to_owned(),
            sentence: "The device was refused \u{1b}[31m3 times.".to_owned(),
            remedy: "Set it.".to_owned(),
            facts: [("user", "u1"), ("count", "3"), ("address", "192.0.2.7")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..nb::Finding::default()
        };
        finding.set_severity(Severity::Decisive);
        let text = lines(&finding);
        assert!(text.starts_with("! The device was refused"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            text.contains("[wrong_password]\n    address=192.0.2.7  user=u1\n    → Set it."),
            "{text}"
        );
        finding.set_severity(Severity::Ok);
        assert!(!lines(&finding).contains('→'));
    }
}
