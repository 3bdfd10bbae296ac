//! What the book refers to exists: functions in files, commands of `hearth`, methods of the API.

use clap::{Parser, error::ErrorKind};
use hearth_config::Documented;
use hearth_server::{cli::Cli, config::HearthConfig};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Name and text of README.md and of every page in docs/.
fn pages() -> Vec<(String, String)> {
    let mut paths = vec![root().join("README.md")];
    for folder in ["docs", "docs/adr"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                paths.push(path);
            }
        }
    }
    let page = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    paths.into_iter().map(page).collect()
}

/// What stands between backticks, code blocks left out.
fn code_spans(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

#[test]
fn files_and_functions_exist() {
    let mut checked = 0;
    for (page, text) in pages() {
        for span in code_spans(&text) {
            let (file, function) = match span.split_once("::") {
                Some((file, function)) => (file, Some(function)),
                None => (span, None),
            };
            let is_ours = [
                "crates/",
                "services/",
                "ctl/",
                "loadtests/",
                "proto/",
                "scripts/",
            ]
            .iter()
            .any(|folder| file.starts_with(folder));
            if !is_ours || file.contains(['{', '*', ' ', '<']) {
                continue;
            }
            checked += 1;
            let path = root().join(file);
            assert!(path.exists(), "{page}: there is no {file}");
            if let Some(function) = function {
                let source = fs::read_to_string(&path).unwrap();
                let found = source.contains(&format!("fn {function}("))
                    || source.contains(&format!("fn {function}<"));
                assert!(found, "{page}: {file} has no function {function}");
            }
        }
    }
    assert!(checked > 50, "only {checked} references found");
}

#[test]
fn each_fact_of_cwmp_has_a_test_or_a_reason() {
    let text = fs::read_to_string(root().join("docs/cwmp-facts.md")).unwrap();
    let mut facts = 0;
    for row in text.lines() {
        let cells: Vec<_> = row.split(" | ").collect();
        let kinds = ["S-", "R-", "E-", "C-", "X-", "D-", "Q-"];
        if !kinds.contains(&row.get(2..4).unwrap_or_default()) {
            continue;
        }
        facts += 1;
        let proof = cells.get(3).unwrap().trim_end_matches([' ', '|']);
        let tested = code_spans(proof).iter().any(|span| span.contains("::"));
        assert!(
            tested
                || ["f(", "not yet", "no test: "]
                    .iter()
                    .any(|reason| proof.contains(reason)),
            "no test and no reason: {row}"
        );
        for fixture in proof.split("f(").skip(1) {
            let (file, _) = fixture.split_once(')').unwrap();
            let path = root().join("crates/cwmp/tests/fixtures").join(file);
            assert!(path.exists(), "there is no fixture {file}");
        }
    }
    assert!(facts > 60, "only {facts} facts found");
}

/// The arguments of a `hearth` command in a line of shell, if it is one.
fn hearth_command(line: &str) -> Option<Vec<String>> {
    let line = line.split(" # ").next()?.split(" > ").next()?.trim();
    let line = line.strip_suffix('\\').unwrap_or(line);
    let line = match line.split_once("--bin hearth -- ") {
        Some((_, rest)) => format!("hearth {rest}"),
        None => line.to_owned(),
    };
    let first = line.split(' ').next()?;
    let is_hearth = first == "hearth" || first.ends_with("/hearth");
    let plain = line.replace(['\'', '"'], "");
    is_hearth.then(|| plain.split_whitespace().map(str::to_owned).collect())
}

#[test]
fn commands_of_hearth_parse() {
    let mut checked = 0;
    for (page, text) in pages() {
        let mut shell = false;
        for line in text.lines() {
            if line.starts_with("```") {
                shell = line == "```sh";
                continue;
            }
            let Some(words) = hearth_command(line).filter(|_| shell) else {
                continue;
            };
            checked += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                let shown = matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                );
                assert!(shown, "{page}: {line}\n{error}");
            }
        }
    }
    assert!(checked >= 5, "only {checked} commands found");
}

#[test]
fn methods_of_the_api_exist() {
    let mut contract = String::new();
    for entry in fs::read_dir(root().join("proto/hearth/northbound/v1")).unwrap() {
        contract.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let mut checked = 0;
    for (page, text) in pages() {
        for rest in text.split("hearth.northbound.v1.").skip(1) {
            let word = rest
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '/')
                .next();
            let Some((service, method)) = word.and_then(|word| word.split_once('/')) else {
                continue;
            };
            checked += 1;
            let known = contract.contains(&format!("service {service} {{"))
                && contract.contains(&format!("rpc {method}("));
            assert!(known, "{page}: the API has no {service}/{method}");
        }
    }
    assert!(checked >= 3, "only {checked} methods found");
}

#[test]
fn metrics_and_settings_exist() {
    let metrics = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let fields = HearthConfig::fields();
    let is_section = |name: &str| {
        fields
            .iter()
            .any(|f| f.key.starts_with(&format!("{name}.")))
    };
    for (page, text) in pages() {
        for span in code_spans(&text) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.*".contains(c);
            let is_file = [".conf", ".yaml", ".toml", ".cfg"]
                .iter()
                .any(|end| span.ends_with(end));
            if is_file || !span.chars().all(plain) {
                continue;
            }
            if span.starts_with("hearth_") && !span.contains('.') {
                let row = format!("| `{span}` |");
                assert!(metrics.contains(&row), "{page}: there is no metric {span}");
            }
            let Some((section, _)) = span.split_once('.').filter(|(s, _)| is_section(s)) else {
                continue;
            };
            let known = match span.strip_suffix('*') {
                Some(start) => fields.iter().any(|f| f.key.starts_with(start)),
                None => is_section(span) || fields.iter().any(|f| f.key == span),
            };
            assert!(known, "{page}: [{section}] has no setting {span}");
        }
    }
}
