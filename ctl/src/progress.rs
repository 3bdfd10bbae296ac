//! How a waiting command shows that it waits: a spinner on a terminal, lines elsewhere.

use crate::{app::App, table::clean};
use hearth_proto::{northbound::v1::Task, types::v1::TaskState};
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::Write, time::Duration};

/// Shows the states that a task goes through.
pub(crate) struct TaskProgress {
    /// Drawn on the terminal; `None` where there is none.
    spinner: Option<ProgressBar>,
    /// States so far, the present one last.
    trail: Vec<TaskState>,
    /// What was last shown as a line.
    last: String,
}

impl TaskProgress {
    /// For the task of one command.
    pub(crate) fn new(app: &App<'_>) -> Self {
        let drawn = app.host.err_is_terminal && !app.global.quiet;
        let spinner = drawn.then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Self {
            spinner,
            trail: Vec::new(),
            last: String::new(),
        }
    }

    /// The task is now so.
    pub(crate) fn show(&mut self, app: &mut App<'_>, task: &Task, waited: Duration) {
        let state = task.state();
        if self.trail.last() != Some(&state) {
            self.trail.push(state);
        }
        self.draw(app, &clean(&task.reason), waited);
    }

    fn draw(&mut self, app: &mut App<'_>, reason: &str, waited: Duration) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(line(&self.trail, reason, waited));
        } else if !app.global.quiet {
            let state = self.trail.last().map_or("", |state| state.label());
            let text = match reason {
                "" => state.to_owned(),
                reason => format!("{state}: {reason}"),
            };
            if text != self.last {
                // Nobody is left to be told when this fails.
                let _ = writeln!(app.host.err, "{text}");
                self.last = text;
            }
        }
    }
}

impl Drop for TaskProgress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

/// `queued → waking → running (12s): reason`
fn line(trail: &[TaskState], reason: &str, waited: Duration) -> String {
    // A task that is tried again and again must not fill the line.
    let skipped = trail.len().saturating_sub(4);
    let mut text = String::from(if skipped > 0 { "… → " } else { "" });
    for (index, state) in trail.iter().skip(skipped).enumerate() {
        if index > 0 {
            text.push_str(" → ");
        }
        text.push_str(state.label());
    }
    text.push_str(&format!(" ({})", crate::times::rough(waited.as_secs())));
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// A bar over bytes; hidden where there is no terminal.
pub(crate) fn bytes(app: &App<'_>, total: u64, what: &str) -> ProgressBar {
    if !app.host.err_is_terminal || app.global.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_way_so_far() {
        use TaskState::{Queued, Running, WaitingForDevice, Waking};
        let seconds = Duration::from_secs;
        assert_eq!(
            line(
                &[Queued, Waking, Running, WaitingForDevice],
                "",
                seconds(12)
            ),
            "queued → waking → running → waiting for device (12s)"
        );
        assert_eq!(
            line(&[Queued, Waking], "asked the device to connect", seconds(0)),
            "queued → waking (0s): asked the device to connect"
        );
        assert_eq!(
            line(&[Queued, Running, Queued, Running, Queued], "", seconds(61)),
            "… → running → queued → running → queued (1m)"
        );
    }
}
