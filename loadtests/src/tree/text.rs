//! Trees as tables: CSV lines `path,writable,type,value,rule`, of the project's own trees and of
//! dumps of real devices.
//!
//! * `path` of a parameter, with instance numbers or, for every instance of a table, `{i}`.
//! * `writable`: `1`, `true`, `rw` or anything else.
//! * `type`: an XML Schema type (`unsignedInt`, also as `xsd:unsignedInt`; empty is `string`), or
//!   * `object`: the path is an object's; writable tables take AddObject; `value` names the
//!     parameter beside the table that counts its instances, if it isn't
//!     `{Table}NumberOfEntries`;
//!   * `instance`: a new device has this instance, with the table's defaults;
//!   * `value`: `value` stands in a parameter that another line defines.
//! * `rule`: see [`Rule::parse`], and `!` before it for a secret; may be missing.
//!
//! Lines that begin with `#` are comments, a first line that begins with `path` is a heading.

use std::path::Path;

use hearth_cwmp::XsdType;

use super::base::{generic_path, is_number};
use super::{Leaf, ObjectDef, Rule, TreeBuilder, TreeError};

/// Reads a table into a builder.
///
/// # Errors
/// The first line that is wrong.
pub fn read(text: &str, into: &mut TreeBuilder) -> Result<(), TreeError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    for record in reader.records() {
        let record = record.map_err(|e| TreeError::Line {
            line: e.position().map_or(0, csv::Position::line),
            reason: "not CSV".to_owned(),
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize| record.get(at).unwrap_or_default();
        if line == 1 && field(0).eq_ignore_ascii_case("path") {
            continue;
        }
        let row = Row {
            path: field(0),
            writable: matches!(field(1), "1" | "true" | "rw"),
            kind: field(2),
            value: field(3),
            rule: field(4),
        };
        row.put(into)
            .map_err(|reason| TreeError::Line { line, reason })?;
    }
    Ok(())
}

/// Reads a file with [`read`].
///
/// # Errors
/// The file can't be read, or a line is wrong.
pub fn read_file(path: &Path, into: &mut TreeBuilder) -> Result<(), TreeError> {
    let text = std::fs::read_to_string(path).map_err(|source| TreeError::Io {
        path: path.display().to_string(),
        source,
    })?;
    read(&text, into)
}

struct Row<'t> {
    path: &'t str,
    writable: bool,
    kind: &'t str,
    value: &'t str,
    rule: &'t str,
}

impl Row<'_> {
    fn put(&self, into: &mut TreeBuilder) -> Result<(), String> {
        if self.path.is_empty() || self.path.starts_with('.') || self.path.contains("..") {
            return Err("expected a path such as Device.DeviceInfo.UpTime".to_owned());
        }
        match (self.kind, self.path.ends_with('.')) {
            ("object", true) => self.object(into),
            ("instance", true) if ends_in_number(self.path) => add_instances(self.path, into),
            ("object" | "instance", _) | (_, true) => {
                return Err(
                    "an object's path ends in a dot and an instance's in a number and a \
                            dot; a parameter's in neither"
                        .to_owned(),
                );
            }
            ("value", false) => into.value(self.path, self.value),
            (kind, false) => self.parameter(kind, into)?,
        }
        Ok(())
    }

    fn object(&self, into: &mut TreeBuilder) {
        let mut generic = generic_path(self.path).into_owned();
        // Only tables are writable: without the `{i}` it is the table that was meant.
        if self.writable && !generic.ends_with(".{i}.") {
            generic.push_str("{i}.");
        }
        let count = (!self.value.is_empty()).then(|| self.value.into());
        into.object(
            &generic,
            ObjectDef {
                writable: self.writable,
                count,
            },
        );
        if self.path.split('.').any(is_number) {
            add_instances(self.path, into);
        }
    }

    fn parameter(&self, kind: &str, into: &mut TreeBuilder) -> Result<(), String> {
        let name = kind.strip_prefix("xsd:").unwrap_or(kind);
        let xsd_type = match name {
            "" => XsdType::String,
            name => XsdType::parse(name).ok_or_else(|| {
                format!(
                    "unknown type `{name}`: expected a type such as string, unsignedInt or boolean"
                )
            })?,
        };
        let generic = generic_path(self.path);
        let mut leaf = Leaf::new(self.path, xsd_type, self.writable);
        let rule = self.rule.strip_prefix('!');
        leaf.secret |= rule.is_some();
        leaf.rule = Rule::parse(rule.unwrap_or(self.rule))
            .ok_or("expected a rule such as a|b, 1..100 or len 64")?;
        if self.path.contains("{i}") || generic == self.path {
            leaf.default = self.value.into();
            if self.value.is_empty() {
                leaf.default = super::default_of(xsd_type).into();
            }
        } else {
            into.value(self.path, self.value);
            add_instances(self.path, into);
        }
        into.leaf(&generic, leaf);
        Ok(())
    }
}

fn ends_in_number(path: &str) -> bool {
    path.strip_suffix('.')
        .and_then(|p| p.rsplit('.').next())
        .is_some_and(is_number)
}

/// Adds every instance that a path goes through.
fn add_instances(path: &str, into: &mut TreeBuilder) {
    let mut end = 0;
    for segment in path.split_inclusive('.') {
        end += segment.len();
        if segment.strip_suffix('.').is_some_and(is_number) {
            into.instance(&path[..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_dump_of_a_device_is_a_tree() {
        let mut builder = TreeBuilder::default();
        let dump = "path,writable,type,value\n\
            InternetGatewayDevice.LANDevice.,1,object,\n\
            InternetGatewayDevice.LANDevice.2.,1,object,\n\
            InternetGatewayDevice.LANDevice.2.Name,1,xsd:string,\"a, b\"\n\
            InternetGatewayDevice.LANDevice.2.Port.4.Up,0,boolean,true\n\
            InternetGatewayDevice.LANDeviceNumberOfEntries,0,unsignedInt,7\n";
        read(dump, &mut builder).unwrap();
        let mut tree = crate::Tree::new(builder.build(), Vec::new());
        assert_eq!(tree.root(), "InternetGatewayDevice.");
        assert_eq!(
            tree.value("InternetGatewayDevice.LANDevice.2.Name"),
            Some("a, b")
        );
        assert_eq!(tree.root_value("LANDeviceNumberOfEntries"), "1");
        assert_eq!(
            tree.add_object("InternetGatewayDevice.LANDevice.").unwrap(),
            3
        );
        assert_eq!(tree.root_value("LANDevice.3.Name"), "");
        assert!(tree.has_object("InternetGatewayDevice.LANDevice.3.Port."));
        assert!(!tree.has_object("InternetGatewayDevice.LANDevice.3.Port.4."));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let read = |text| {
            read(text, &mut TreeBuilder::default())
                .unwrap_err()
                .to_string()
        };
        assert!(
            read("Device.A,0,string,x\nDevice.B,0,float,x\n")
                .starts_with("line 2: unknown type `float`")
        );
        assert!(read("Device.A.,0,string,x\n").contains("line 1"));
        assert!(read("Device.A,0,int,1,x..y\n").contains("rule"));
    }
}
