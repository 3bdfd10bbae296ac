//! What a run touches of its process: streams, environment, clock, interrupts.

use jiff::{Timestamp, tz::TimeZone};
use std::{
    collections::BTreeMap,
    fmt,
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::Notify;

/// The process around a run, or a stand-in for it in a test.
pub struct Host {
    /// Results.
    pub out: Box<dyn Write + Send>,
    /// Progress, notes and errors.
    pub err: Box<dyn Write + Send>,
    /// Passwords and values by `-` and `--password-stdin`; answers to questions.
    pub input: Box<dyn Read + Send>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Whether `out` is a terminal: colours, width.
    pub out_is_terminal: bool,
    /// Whether `err` is a terminal, and the process's own: spinners and bars are drawn on it.
    pub err_is_terminal: bool,
    /// Whether somebody can answer a question.
    pub in_is_terminal: bool,
    /// Columns of the terminal; `None`: as wide as it gets.
    pub width: Option<u16>,
    /// What relative paths are relative to.
    pub directory: PathBuf,
    /// The clock for relative times and deadlines.
    pub now: fn() -> Timestamp,
    /// The zone that times of day are shown in.
    pub zone: TimeZone,
    /// Ctrl-C.
    pub interrupt: Arc<Notify>,
}

impl Host {
    /// The real one. Variables that are not UTF-8 are left out.
    pub fn process() -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let width = comfy_table::Table::new().width();
        Self {
            out: Box::new(io::BufWriter::new(io::stdout())),
            err: Box::new(io::stderr()),
            input: Box::new(io::stdin()),
            env: std::env::vars_os()
                .filter_map(|(key, value)| {
                    Some((key.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal(),
            in_is_terminal: io::stdin().is_terminal(),
            width: width.filter(|_| out_is_terminal),
            directory: std::env::current_dir().unwrap_or_default(),
            now: Timestamp::now,
            zone: TimeZone::system(),
            interrupt: Arc::default(),
        }
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.env
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }
}

impl fmt::Debug for Host {
    /// Without the environment, which may hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("directory", &self.directory)
            .field("width", &self.width)
            .finish_non_exhaustive()
    }
}
