//! `hearth-sim trees`.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Subcommand;
use hearth_sim::Kind;

/// Subcommands of `hearth-sim trees`.
#[derive(Debug, Subcommand)]
pub enum TreesCommand {
    /// The kinds, with their sizes.
    List,
    /// A kind's parameters as CSV: path,writable,type,value.
    Print {
        /// router, ont, dsl, stb, voip, storage, model:FILE[+SERVICE…] or csv:FILE.
        kind: Kind,
    },
}

/// Shows trees.
pub fn run(command: TreesCommand) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = match command {
        TreesCommand::List => list(&mut out),
        TreesCommand::Print { kind } => print(&kind, &mut out),
    };
    // A reader that has seen enough closes the pipe.
    match written.and_then(|()| Ok(out.flush()?)) {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn list(out: &mut impl std::io::Write) -> anyhow::Result<()> {
    for kind in Kind::OWN {
        let tree = kind.load()?;
        let maker = kind.maker();
        writeln!(
            out,
            "{:8} {:4} parameters {:4} objects  {} {}",
            kind.name(),
            tree.len(),
            tree.object_count(),
            maker.oui,
            maker.product_class
        )?;
    }
    Ok(())
}

fn print(kind: &Kind, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let tree = kind.load().with_context(|| format!("the tree of {kind}"))?;
    writeln!(out, "path,writable,type,value")?;
    for (path, leaf, value) in tree.parameters() {
        let value = if leaf.secret { "" } else { value };
        let quoted = match value.contains([',', '"', '\n']) {
            true => format!("\"{}\"", value.replace('"', "\"\"")),
            false => value.to_owned(),
        };
        writeln!(
            out,
            "{path},{},{},{quoted}",
            u8::from(leaf.writable),
            leaf.xsd_type
        )?;
    }
    Ok(())
}
