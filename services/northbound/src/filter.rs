//! The filter of ListDevices: the part of AIP-160 that an index can answer.
//!
//! ```text
//! filter    = [ condition *( "AND" condition ) ]
//! condition = field "=" value
//! field     = 1*( letter | digit | "." | "_" | "-" )      ; a field, or an indexed parameter's path
//! value     = '"' *( character | "\" character ) '"' | "'" … "'" | word
//! ```
//! An asterisk at the end of a value matches any ending; `\*` is an asterisk.

use crate::error::invalid;
use hearth_proto::devicestate::v1::Condition;
use tonic::Status;

/// The longest filter, in bytes.
const MAX_LENGTH: usize = 4096;
/// The most conditions.
const MAX_CONDITIONS: usize = 16;
/// What can be searched by, besides paths of indexed parameters.
const FIELDS: [&str; 10] = [
    "id",
    "serial_number",
    "oui",
    "product_class",
    "manufacturer",
    "software_version",
    "remote_address",
    "tag",
    "online",
    "state",
];
const SUPPORTED: &str = "supported is field = \"value\", joined by AND, with an asterisk at the \
                         end of a value for any ending";

/// Reads a filter.
///
/// # Errors
/// INVALID_ARGUMENT for `filter` with the position (in characters, from 1) and what is supported.
pub(crate) fn parse(filter: &str) -> Result<Vec<Condition>, Status> {
    read(filter).map_err(|message| invalid("filter", message))
}

fn read(filter: &str) -> Result<Vec<Condition>, String> {
    if filter.len() > MAX_LENGTH {
        return Err(format!("expected at most {MAX_LENGTH} bytes"));
    }
    let mut reader = Reader {
        text: filter,
        at: 0,
    };
    let mut conditions = Vec::new();
    reader.skip_space();
    while !reader.rest().is_empty() {
        if !conditions.is_empty() {
            let start = reader.at;
            if reader.word() != "AND" {
                return Err(reader.error(start, "expected AND"));
            }
            reader.skip_space();
        }
        if conditions.len() == MAX_CONDITIONS {
            return Err(reader.error(reader.at, &format!("more than {MAX_CONDITIONS} conditions")));
        }
        conditions.push(reader.condition()?);
        reader.skip_space();
    }
    Ok(conditions)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Letters, digits and what else stands in names, paths and addresses.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || "._-:/%+@*".contains(c)))
            .unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn error(&self, at: usize, what: &str) -> String {
        let position = self.text.get(..at).unwrap_or_default().chars().count() + 1;
        format!("{what} at character {position}; {SUPPORTED}")
    }

    fn condition(&mut self) -> Result<Condition, String> {
        let start = self.at;
        let attribute = self.word();
        // `.` alone does not make a path: it has segments.
        let known = FIELDS.contains(&attribute)
            || (attribute.split('.').count() > 1 && attribute.split('.').all(|s| !s.is_empty()));
        if !known || attribute.contains(['*', ':', '/', '%', '+', '@']) {
            let what = format!(
                "expected a field ({}, or the path of an indexed parameter)",
                FIELDS.join(", ")
            );
            return Err(self.error(start, &what));
        }
        self.skip_space();
        if !self.rest().starts_with('=') {
            return Err(self.error(self.at, "expected ="));
        }
        self.at += 1;
        self.skip_space();
        let start = self.at;
        let (mut value, prefix) = self.value()?;
        match attribute {
            "online" if prefix || !matches!(value.as_str(), "true" | "false") => {
                return Err(self.error(start, "expected true or false"));
            }
            // As device ids have it.
            "oui" => value.make_ascii_uppercase(),
            _ => {}
        }
        Ok(Condition {
            attribute: attribute.to_owned(),
            value,
            prefix,
        })
    }

    /// The value, and whether only its beginning is given.
    fn value(&mut self) -> Result<(String, bool), String> {
        let start = self.at;
        let quote = self
            .rest()
            .chars()
            .next()
            .filter(|c| matches!(c, '"' | '\''));
        let mut value = String::new();
        let mut star = false;
        let mut push = |c: char, escaped: bool| {
            if star {
                return false;
            }
            star = c == '*' && !escaped;
            if !star {
                value.push(c);
            }
            true
        };
        let inner_star = "an asterisk may only stand at the end of a value";
        let Some(quote) = quote else {
            let word = self.word();
            if word.is_empty() {
                return Err(self.error(start, "expected a value"));
            }
            return match word.chars().all(|c| push(c, false)) {
                true => Ok((value, star)),
                false => Err(self.error(start, inner_star)),
            };
        };
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = characters.next() {
            let escaped = c == '\\';
            let c = match c {
                '\\' => characters.next().map(|(_, c)| c),
                c if c == quote => {
                    self.at += offset + 1;
                    return Ok((value, star));
                }
                c => Some(c),
            };
            if !c.is_some_and(|c| push(c, escaped)) {
                break;
            }
        }
        let what = if star {
            inner_star
        } else {
            "a quote is not closed"
        };
        Err(self.error(start, what))
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
