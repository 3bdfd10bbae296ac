//! What every command has at hand: the host, the global options, a connection when first needed.

use crate::{
    api::Api,
    cli::{Format, Global},
    error::Error,
    exit::Exit,
    host::Host,
    settings::Settings,
};
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// One run.
pub(crate) struct App<'h> {
    /// The process.
    pub(crate) host: &'h mut Host,
    /// What goes with every command.
    pub(crate) global: Global,
    /// The id of the task that is being waited for: it goes on when the run is interrupted.
    pub(crate) open_task: Option<String>,
    api: Option<Api>,
}

impl<'h> App<'h> {
    /// A run with these options.
    pub(crate) fn new(host: &'h mut Host, global: Global) -> Self {
        Self {
            host,
            global,
            open_task: None,
            api: None,
        }
    }

    /// The connection.
    pub(crate) async fn api(&mut self) -> Result<Api, Error> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        let settings = Settings::find(&self.global, self.host)?;
        for note in &settings.notes {
            self.note(note);
        }
        let api = Api::connect(settings).await?;
        self.api = Some(api.clone());
        Ok(api)
    }

    /// How results are printed.
    pub(crate) fn format(&self) -> Format {
        self.global.output
    }

    /// Whether results have colours.
    pub(crate) fn color(&self) -> bool {
        self.host.out_is_terminal && self.colors_allowed()
    }

    fn colors_allowed(&self) -> bool {
        !self.global.no_color
            && self.host.var("NO_COLOR").is_none()
            && self.host.var("TERM") != Some("dumb")
    }

    /// Tells the user something that is no result.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.global.quiet {
            // Nobody is left to be told when this fails.
            let _ = writeln!(self.host.err, "note: {text}");
        }
    }

    /// A path as the user meant it.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.host.directory.join(path)
    }

    /// The whole text of a file, or of standard input for `-`, without the last line end.
    pub(crate) fn read_text(&mut self, path: &Path) -> Result<String, Error> {
        let mut text = String::new();
        if path == Path::new("-") {
            self.host.input.read_to_string(&mut text)?;
        } else {
            let path = self.path(path);
            text = std::fs::read_to_string(&path).map_err(Error::file(path))?;
        }
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }

    /// Asks a question if there is somebody to answer; else, and on yes, goes on.
    ///
    /// # Errors
    /// Any other answer.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<(), Error> {
        if !self.host.in_is_terminal {
            return Ok(());
        }
        write!(self.host.err, "{question} [y/N] ")?;
        self.host.err.flush()?;
        let mut answer = Vec::new();
        let mut byte = [0; 1];
        while answer.len() < 16 && self.host.input.read(&mut byte)? == 1 && byte[0] != b'\n' {
            answer.push(byte[0]);
        }
        match answer.to_ascii_lowercase().trim_ascii() {
            b"y" | b"yes" => Ok(()),
            _ => Err(Error::Said {
                exit: Exit::Failed,
                message: "not done".into(),
                advice: String::new(),
            }),
        }
    }

    /// Shows an error, and gives the exit code.
    pub(crate) fn report(&mut self, error: Error) -> Exit {
        let error = match &self.api {
            Some(api) => api.explain(error),
            None => error,
        };
        let error = &error;
        if error.is_closed_pipe() {
            return Exit::Ok;
        }
        // Results before the error.
        let _ = self.host.out.flush();
        let styled = self.host.err_is_terminal && self.colors_allowed();
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let label = match styled {
            true => format!("{red}error:{red:#}"),
            false => "error:".into(),
        };
        let _ = writeln!(self.host.err, "{label} {error}");
        for line in error.advice() {
            let _ = writeln!(self.host.err, "  {line}");
        }
        if let (Error::Interrupted, Some(id)) = (error, &self.open_task) {
            let _ = writeln!(
                self.host.err,
                "  the task goes on; follow it: hearthctl task watch {id}; stop it: hearthctl task cancel {id}"
            );
        }
        let _ = self.host.err.flush();
        error.exit()
    }
}
