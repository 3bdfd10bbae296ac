//! The manual's page on "why" has every code of a finding as the server has it.
//! `HEARTH_UPDATE_DOCS=1` writes it anew.

use hearth_northbound::{ACS_FAULTS, FINDINGS};
use std::fmt::Write as _;
use std::path::Path;

const BEGIN: &str = "<!-- findings: written by services/northbound/tests/why_page.rs -->\n";
const END: &str = "<!-- end of findings -->\n";

/// A remedy as the page has it: with something that stands for what it is about.
fn shown(remedy: &str) -> String {
    remedy
        .replace("{device}", "DEVICE")
        .replace("{user}", "NAME")
        .replace("{address}", "192.0.2.7")
        .replace("{task}", "TASK")
}

fn tables() -> String {
    let titles = [
        "Refused requests: the device was refused, because …",
        "The device",
        "Asking it to connect",
        "The task",
    ];
    let mut text = String::new();
    for (title, codes) in titles.iter().zip(FINDINGS) {
        writeln!(
            text,
            "### {title}\n\n| code | means | what to do |\n|---|---|---|"
        )
        .unwrap();
        for code in *codes {
            let remedy = shown(code.remedy);
            writeln!(text, "| `{}` | {} | {remedy} |", code.code, code.meaning).unwrap();
        }
        text.push('\n');
    }
    text += "### Faults that answer an Inform (`inform_fault`)\n\n| fault | means | what to do |\n|---|---|---|\n";
    for (code, meaning, remedy) in ACS_FAULTS {
        writeln!(text, "| {code} | {meaning} | {remedy} |").unwrap();
    }
    text += "\nFaults of a device (`task_fault`, 9000 to 9032) come with their meaning and what to do from the table in `services/workflow/src/faults.rs`.\n\n";
    text
}

#[test]
fn the_page_has_every_finding() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/why.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}\n{}{END}{after}", tables());
    if std::env::var_os("HEARTH_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert_eq!(
        page, wanted,
        "docs/why.md is behind; HEARTH_UPDATE_DOCS=1 writes it"
    );
}
