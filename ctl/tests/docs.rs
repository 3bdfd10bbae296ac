//! The book and `--help` tell the truth: every example parses, the command reference is generated.

use clap::{Command, CommandFactory, Parser, builder::ValueRange};
use hearthctl::cli::{Cli, EXIT_CODES};
use std::{fmt::Write, fs, path::PathBuf};

const BEGIN: &str = "<!-- generated: begin -->\n";
const END: &str = "<!-- generated: end -->\n";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Commands without subcommands, with the names that lead to them.
fn leaves<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let path = format!("{path} {}", sub.get_name());
        match sub.has_subcommands() {
            true => leaves(sub, &path, found),
            false => found.push((path.trim().to_owned(), sub)),
        }
    }
}

/// `DEVICE PATHS...`, with what may be left out in brackets.
fn positionals(command: &Command) -> String {
    let mut text = String::new();
    for argument in command.get_positionals() {
        let name = argument.get_value_names().map_or_else(
            || argument.get_id().as_str().to_uppercase(),
            |names| names[0].to_string(),
        );
        let many = argument.get_num_args().is_some_and(|n| n.max_values() > 1);
        let dots = if many { " …" } else { "" };
        let _ = match argument.is_required_set() {
            true => write!(text, " {name}{dots}"),
            false => write!(text, " [{name}{dots}]"),
        };
    }
    text
}

/// Options of the command itself.
fn options(command: &Command) -> String {
    let mut names = Vec::new();
    let mut makes_a_task = false;
    for argument in command.get_arguments().filter(|a| !a.is_global_set()) {
        let Some(long) = argument.get_long().filter(|l| *l != "help") else {
            continue;
        };
        if argument.get_help_heading() == Some("Task options") {
            makes_a_task = true;
            continue;
        }
        let takes = argument
            .get_num_args()
            .unwrap_or(ValueRange::EMPTY)
            .takes_values();
        let value = argument.get_value_names().filter(|_| takes);
        let value = value.map_or(String::new(), |names| format!(" {}", names[0]));
        names.push(format!("`--{long}{value}`"));
    }
    if makes_a_task {
        names.push("task options".into());
    }
    names.join(", ").replace('|', "\\|")
}

fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    leaves(&command, "", &mut found);
    let mut text = String::from("| `hearthctl` … | what it does | options |\n|---|---|---|\n");
    for (path, command) in &found {
        let _ = writeln!(
            text,
            "| `{path}{}` | {} | {} |",
            positionals(command).replace('|', "\\|"),
            command.get_about().unwrap(),
            options(command)
        );
    }
    let list = |heading: &str, command: &Command| {
        let mut text = format!("\n{heading}:\n\n");
        let arguments = command
            .get_arguments()
            .filter(|a| a.get_help_heading() == Some(heading));
        for argument in arguments {
            let short = argument
                .get_short()
                .map_or(String::new(), |c| format!("-{c}, "));
            let help = argument.get_help().unwrap();
            let _ = writeln!(
                text,
                "- `{short}--{}`: {help}",
                argument.get_long().unwrap()
            );
        }
        text
    };
    let reboot = found
        .iter()
        .find(|(path, _)| path == "device reboot")
        .unwrap()
        .1;
    text.push_str(&list("Task options", reboot));
    text.push_str(&list("Global options", &command));
    let _ = write!(text, "\n```text\n{EXIT_CODES}\n```\n");
    text
}

#[test]
fn the_reference_is_current() {
    let path = root().join("docs/hearthctl.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("docs/hearthctl.md has no begin marker");
    let (_, after) = rest
        .split_once(END)
        .expect("docs/hearthctl.md has no end marker");
    let fresh = format!("{before}{BEGIN}{}{END}{after}", reference());
    if std::env::var_os("HEARTH_UPDATE_DOCS").is_some() {
        fs::write(&path, &fresh).unwrap();
    } else {
        assert!(
            text == fresh,
            "docs/hearthctl.md is stale; renew it: HEARTH_UPDATE_DOCS=1 cargo test -p hearthctl docs"
        );
    }
}

/// Words as a shell makes them; what follows a pipe or a redirection is not ours.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, open) = (Some(c), true),
            (None, '|' | '>' | '#') if word.is_empty() => break,
            (None, ' ') if word.is_empty() && !open => {}
            (None, ' ') => {
                words.push(std::mem::take(&mut word));
                open = false;
            }
            (None, c) => word.push(c),
        }
    }
    if !word.is_empty() || open {
        words.push(word);
    }
    words
}

#[track_caller]
fn parses(line: &str, place: &str) {
    if let Err(error) = Cli::try_parse_from(words(line)) {
        use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
        assert!(
            matches!(error.kind(), DisplayHelp | DisplayVersion),
            "{place}: `{line}` does not parse: {error}"
        );
    }
}

#[test]
fn examples_of_help_parse() {
    let mut command = Cli::command();
    command.build();
    let mut found = Vec::new();
    leaves(&command, "", &mut found);
    for (path, command) in found {
        let text = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let examples: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with("  hearthctl "))
            .collect();
        assert!(!examples.is_empty(), "{path} has no example");
        for line in examples {
            parses(line.trim(), &path);
        }
    }
}

#[test]
fn examples_of_the_book_parse() {
    for file in ["docs/hearthctl.md", "README.md"] {
        let Ok(text) = fs::read_to_string(root().join(file)) else {
            continue;
        };
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            if fenced && line.starts_with("hearthctl ") {
                parses(line, file);
            }
        }
    }
}
