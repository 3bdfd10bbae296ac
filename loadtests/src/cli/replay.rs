//! `hearth-sim replay`: a captured session against the codec and the session machine.

use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;

/// A capture's text.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// The file, as `hearthctl capture download` writes it.
    file: PathBuf,
}

/// Prints what each turn says and what the machine does about it; fails where that is not what was
/// done.
pub fn run(arguments: ReplayArguments) -> anyhow::Result<()> {
    let file = arguments.file;
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let steps = hearth_cwmp::replay::replay(&text).with_context(|| file.display().to_string())?;
    for step in &steps {
        println!("{step}");
    }
    let other = steps.iter().filter(|step| !step.agrees).count();
    anyhow::ensure!(
        other == 0,
        "{other} turns were not answered as the machine does"
    );
    Ok(())
}
