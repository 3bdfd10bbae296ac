//! `hearthctl device spread`.

use crate::{
    app::App,
    cli::{Format, SpreadArgs},
    error::Error,
    exit::Exit,
    table::clean,
    times,
};
use hearth_proto::northbound::v1::{self as nb, spread_periodic_informs_response::Kind as Answer};
use serde_json::json;
use std::fmt::Write as _;

/// Characters of the longest bar.
const WIDTH: f64 = 24.0;

/// Shows the plan, and applies it if that is wanted.
pub(crate) async fn run(args: SpreadArgs, app: &mut App<'_>) -> Result<(), Error> {
    let api = app.api().await?;
    let request = nb::SpreadPeriodicInformsRequest {
        parent: api.tenant_name(),
        filter: args.filter.unwrap_or_default(),
        interval_seconds: args.interval.map_or(Ok(0), super::seconds)?,
        apply: args.apply,
        tasks_per_second: args.rate,
        slots: args.slots,
    };
    let answers = api.spreads().spread_periodic_informs(request).await;
    let mut answers = answers?.into_inner();
    let mut plan = nb::SpreadPlan::default();
    let mut progress = None;
    while let Some(answer) = answers.message().await? {
        match answer.kind {
            Some(Answer::Plan(made)) => {
                if app.format() == Format::Table {
                    show(app, &made)?;
                }
                plan = made;
            }
            Some(Answer::Progress(made)) => {
                if !made.done {
                    app.note(&summary(&made));
                }
                progress = Some(made);
            }
            None => {}
        }
    }
    if app.format() != Format::Table {
        let document = json!({ "plan": plan, "progress": progress });
        return app
            .print(&document, |_, _| Ok(()))
            .and_then(|()| ended(args.apply, progress));
    }
    match &progress {
        Some(progress) => app.say(summary(progress))?,
        None if plan.differing > 0 && !args.apply => {
            app.note("nothing was set; to set it: --apply")
        }
        None => {}
    }
    ended(args.apply, progress)
}

/// Whether all that was wanted was done.
fn ended(apply: bool, progress: Option<nb::SpreadProgress>) -> Result<(), Error> {
    let progress = match progress {
        Some(progress) if progress.done => progress,
        None if !apply => return Ok(()),
        _ => {
            return Err(Error::Said {
                exit: Exit::Unavailable,
                message: "the server ended before all tasks were made".into(),
                advice: "call it again: it goes on where it stopped".into(),
            });
        }
    };
    match progress.failed {
        0 => Ok(()),
        failed => Err(Error::Said {
            exit: Exit::Failed,
            message: format!("no task could be made for {failed} devices"),
            advice: clean(&progress.error),
        }),
    }
}

fn summary(progress: &nb::SpreadProgress) -> String {
    let mut text = format!("{} of {} tasks made", progress.created, progress.total);
    // Writing to a String does not fail.
    if progress.existing > 0 {
        let _ = write!(text, ", {} were there already", progress.existing);
    }
    if progress.failed > 0 {
        let _ = write!(text, ", {} failed", progress.failed);
    }
    text
}

fn show(app: &mut App<'_>, plan: &nb::SpreadPlan) -> Result<(), Error> {
    app.say(format!(
        "{} devices: {} to set, {} as proposed, {} left out",
        plan.devices, plan.differing, plan.settled, plan.skipped
    ))?;
    if plan.estimated > 0 {
        app.note(&format!(
            "{} have no PeriodicInformTime; shown by their last Inform",
            plan.estimated
        ));
    }
    if plan.present.is_empty() || plan.devices == plan.skipped {
        return Ok(());
    }
    let window = f64::from(plan.window_seconds);
    let slot = window / plan.present.len() as f64;
    app.say(format!(
        "Informs in each {} of {}",
        times::rough(slot.round() as u64),
        times::rough(u64::from(plan.window_seconds))
    ))?;
    let pairs = || plan.present.iter().zip(&plan.proposed);
    let most = pairs().fold(0.0_f64, |most, (a, b)| most.max(*a).max(*b));
    app.say(format!("{:>7}  {:<33}{}", "FROM", "PRESENT", "PROPOSED"))?;
    for (index, (present, proposed)) in pairs().enumerate() {
        let from = (index as f64 * slot).round() as u64;
        let from = format!("{}:{:02}:{:02}", from / 3600, from / 60 % 60, from % 60);
        let line = format!(
            "{from:>7}  {:<33}{}",
            bar(*present, most),
            bar(*proposed, most)
        );
        app.say(line.trim_end())?;
    }
    let mean = plan.proposed.iter().sum::<f64>() / plan.proposed.len() as f64;
    let peak = |slots: &[f64]| slots.iter().fold(0.0_f64, |most, n| most.max(*n));
    app.say(format!(
        "mean {mean:.1}, most at once {:.0} now, {:.0} as proposed",
        peak(&plan.present),
        peak(&plan.proposed)
    ))
}

/// `######## 12`
fn bar(count: f64, most: f64) -> String {
    if count <= 0.0 || most <= 0.0 {
        return String::new();
    }
    let length = (count / most * WIDTH).round().max(1.0) as usize;
    format!("{} {}", "#".repeat(length), (count * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(2.0, 2.0), format!("{} 2", "#".repeat(24)));
        assert_eq!(bar(0.5, 2.0), "###### 0.5");
        assert_eq!(bar(0.001, 2.0), "# 0");
        assert_eq!(bar(0.0, 2.0), "");
    }
}
