//! How the tour is shown: steps, commands, lines, and a task's states growing
//! in one line.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Writes the tour to standard output.
#[derive(Clone, Copy)]
pub struct Show {
    start: Instant,
    color: bool,
}

impl Show {
    /// Times count from now; colours where a person reads.
    pub fn new() -> Self {
        let color = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            start: Instant::now(),
            color,
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A new step, and the command that would do the same (or a remark).
    pub fn step(&self, title: &str, how: &str) {
        let time = format!("{:5.1} s", self.start.elapsed().as_secs_f32());
        println!("\n{}  {}", self.paint("2", &time), self.paint("1", title));
        if how.starts_with("hearthctl ") {
            self.command(how);
        } else {
            self.line(how);
        }
    }

    /// A command that would do what is shown next.
    pub fn command(&self, command: &str) {
        println!(
            "         {} {}",
            self.paint("2", "$"),
            self.paint("36", command)
        );
    }

    /// What came of it.
    pub fn line(&self, text: &str) {
        println!("         {text}");
    }

    /// The states of a task, as they come.
    pub fn states(&self) -> States {
        print!("         ");
        States {
            start: Instant::now(),
            last: String::new(),
        }
    }
}

/// One line that grows.
pub struct States {
    start: Instant,
    last: String,
}

impl States {
    /// The task is in this state now.
    pub fn push(&mut self, state: &str) {
        if state == self.last {
            return;
        }
        let arrow = if self.last.is_empty() { "" } else { " → " };
        print!("{arrow}{state}");
        let _ = std::io::stdout().flush();
        state.clone_into(&mut self.last);
    }

    /// The task has ended.
    pub fn end(self) {
        println!(" ({:.1} s)", self.start.elapsed().as_secs_f32());
    }
}
