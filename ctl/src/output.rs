//! Printing: one document, a list, one of a stream.

use crate::{app::App, cli::Format, error::Error, exit::Exit, table::Table};
use serde::Serialize;
use std::io::Write;

impl App<'_> {
    /// Prints one result: as a document, or as `table` shows it to people.
    pub(crate) fn print<T: Serialize>(
        &mut self,
        value: &T,
        table: impl FnOnce(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.format() {
            Format::Table => table(self, value),
            Format::Json => {
                serde_json::to_writer_pretty(&mut self.host.out, value).map_err(unprintable)?;
                Ok(writeln!(self.host.out)?)
            }
            Format::Yaml => {
                let text = yaml(value)?;
                Ok(write!(self.host.out, "{text}")?)
            }
        }
    }

    /// Prints one of a stream of results at once.
    pub(crate) fn print_line<T: Serialize>(
        &mut self,
        value: &T,
        line: impl FnOnce(&mut Self, &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.format() {
            Format::Table => line(self, value)?,
            Format::Json => {
                serde_json::to_writer(&mut self.host.out, value).map_err(unprintable)?;
                writeln!(self.host.out)?;
            }
            Format::Yaml => {
                let text = yaml(value)?;
                write!(self.host.out, "---\n{text}")?;
            }
        }
        Ok(self.host.out.flush()?)
    }

    /// Prints a table, with `empty` said on standard error where it has no rows.
    pub(crate) fn print_table(&mut self, table: Table, empty: &str) -> Result<(), Error> {
        if table.is_empty() {
            self.note(empty);
            return Ok(());
        }
        let text = table.render(self.host.width, self.color());
        Ok(write!(self.host.out, "{text}")?)
    }

    /// Prints a line.
    pub(crate) fn say(&mut self, text: impl AsRef<str>) -> Result<(), Error> {
        Ok(writeln!(self.host.out, "{}", text.as_ref())?)
    }
}

/// YAML by the same serialization as JSON, so that enums and times look alike in both.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_yaml_ng::to_string(value).map_err(|error| Error::Said {
        exit: Exit::Failed,
        message: format!("the result can't be written as YAML: {error}"),
        advice: String::new(),
    })
}

/// A closed pipe stays one.
fn unprintable(error: serde_json::Error) -> Error {
    match error.io_error_kind() {
        Some(kind) => Error::Stream(kind.into()),
        None => Error::Said {
            exit: Exit::Failed,
            message: format!("the result can't be written as JSON: {error}"),
            advice: String::new(),
        },
    }
}
