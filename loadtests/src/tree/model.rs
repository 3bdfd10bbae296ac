//! Trees from the Broadband Forum's model files: the flat ones (`tr-*-full.xml`), in which
//! imports, components and data types are resolved already. A service model (TR-104, TR-135,
//! TR-140) is mounted below the `Services.` of a root model that was read before.

use std::collections::BTreeMap;
use std::path::Path;

use hearth_cwmp::XsdType;
use quick_xml::events::{BytesStart, Event};

use super::{Leaf, ObjectDef, Rule, TreeBuilder, TreeError, default_of};

/// Reads model files into one builder: a root model first, then services.
#[derive(Debug, Default)]
pub struct ModelReader {
    builder: TreeBuilder,
    /// Where services are mounted: the root's path.
    root: Option<String>,
}

impl ModelReader {
    /// Adds a model file.
    ///
    /// # Errors
    /// The file can't be read or isn't a model, or a service comes before a root.
    pub fn read_file(&mut self, path: &Path) -> Result<(), TreeError> {
        let text = std::fs::read_to_string(path).map_err(|source| TreeError::Io {
            path: path.display().to_string(),
            source,
        })?;
        self.read(&text)
    }

    /// Adds a model file's text.
    ///
    /// # Errors
    /// As [`Self::read_file`].
    pub fn read(&mut self, text: &str) -> Result<(), TreeError> {
        let mut parser = Parser::new(self);
        let mut reader = quick_xml::Reader::from_str(text);
        loop {
            let bad = |e: &dyn std::fmt::Display| TreeError::Model(e.to_string());
            match reader.read_event().map_err(|e| bad(&e))? {
                Event::Start(start) => {
                    parser.open(&start)?;
                    parser.stack.push(local(&start));
                }
                Event::Empty(start) => {
                    parser.open(&start)?;
                    parser.close(&local(&start));
                }
                Event::End(_) => {
                    if let Some(name) = parser.stack.pop() {
                        parser.close(&name);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match self.root {
            Some(_) => Ok(()),
            None => Err(TreeError::Model("there is no model in it".to_owned())),
        }
    }

    /// Gives every table of depth one `instances` instances and every nested table one, except
    /// tables that the ACS fills itself when `instances` is 0.
    pub fn finish(mut self, instances: u32) -> TreeBuilder {
        for table in self.builder.tables() {
            let prefix = table.trim_end_matches("{i}.");
            let nested = prefix.contains("{i}");
            let parents: Vec<String> = match nested {
                false => vec![prefix.to_owned()],
                true => self.concrete(prefix),
            };
            let count = if nested { instances.min(1) } else { instances };
            for parent in parents {
                for number in 1..=count {
                    self.builder.instance(&format!("{parent}{number}."));
                }
            }
        }
        self.builder
    }

    /// The tables there are at a generic table path, by the instances made so far.
    fn concrete(&self, generic: &str) -> Vec<String> {
        let Some(last) = generic.rfind("{i}.") else {
            return Vec::new();
        };
        let (parent, rest) = generic.split_at(last + 4);
        let of_parent = |path: &&str| *super::generic_path(path) == *parent;
        let parents = self.builder.instances().filter(of_parent);
        parents.map(|path| format!("{path}{rest}")).collect()
    }
}

/// What a `dataType` or a `syntax` says.
#[derive(Clone, Debug, Default)]
struct Syntax {
    primitive: Option<XsdType>,
    base: Option<String>,
    rule: Rule,
    secret: bool,
    default: Option<String>,
    counter: bool,
}

#[derive(Debug)]
struct Parameter {
    path: String,
    writable: bool,
    forced: bool,
    notification: u8,
    syntax: Syntax,
}

/// The state of reading one file.
struct Parser<'r> {
    into: &'r mut ModelReader,
    stack: Vec<String>,
    types: BTreeMap<String, Syntax>,
    data_type: Option<(String, Syntax)>,
    /// What the model's own names are mounted below: `` or `Device.Services.`.
    mount: String,
    /// The object being read; `None` outside of one, or in one that is deleted.
    object: Option<String>,
    in_model: bool,
    skipping_object: bool,
    parameter: Option<Parameter>,
}

fn local(start: &BytesStart<'_>) -> String {
    start.local_name().as_ref().to_owned()
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = start.try_get_attribute(name).ok().flatten()?;
    let text = found.value.into_owned();
    Some(match text.contains('&') {
        true => quick_xml::escape::unescape(&text).map_or(text.clone(), |t| t.into_owned()),
        false => text,
    })
}

fn is_true(start: &BytesStart<'_>, name: &str) -> bool {
    matches!(attribute(start, name).as_deref(), Some("true" | "1"))
}

fn primitive(name: &str) -> Option<XsdType> {
    Some(match name {
        // CWMP has no decimal on the wire: it travels as a string.
        "string" | "decimal" => XsdType::String,
        "base64" => XsdType::Base64,
        "hexBinary" | "int" | "unsignedInt" | "long" | "unsignedLong" | "boolean" | "dateTime" => {
            XsdType::parse(name)?
        }
        _ => return None,
    })
}

impl<'r> Parser<'r> {
    fn new(into: &'r mut ModelReader) -> Self {
        Self {
            into,
            stack: Vec::new(),
            types: BTreeMap::new(),
            data_type: None,
            mount: String::new(),
            object: None,
            in_model: false,
            skipping_object: false,
            parameter: None,
        }
    }

    fn parent(&self) -> &str {
        self.stack.last().map_or("", String::as_str)
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), TreeError> {
        let name = local(start);
        match (name.as_str(), self.parent()) {
            ("dataType", "document") => {
                let base = attribute(start, "base");
                let name = attribute(start, "name").unwrap_or_default();
                self.data_type = Some((
                    name,
                    Syntax {
                        base,
                        ..Syntax::default()
                    },
                ));
            }
            ("model", "document") => self.open_model(start)?,
            ("object", "model") => self.open_object(start),
            ("parameter", "object" | "model") => self.open_parameter(start),
            ("syntax", "parameter") => {
                if let Some(parameter) = &mut self.parameter {
                    let hidden = is_true(start, "hidden") || is_true(start, "secured");
                    parameter.syntax.secret = hidden || is_true(start, "command");
                }
            }
            (name, parent) => {
                // A size inside a list's item type limits the item, not the whole.
                let (name, of_list) = (name.to_owned(), parent == "list");
                let syntax = match (&mut self.parameter, &mut self.data_type) {
                    (Some(parameter), _) => &mut parameter.syntax,
                    (None, Some((_, syntax))) => syntax,
                    (None, None) => return Ok(()),
                };
                if name != "size" || of_list || !syntax.rule.list {
                    facet(&name, start, syntax);
                }
            }
        }
        Ok(())
    }

    fn open_model(&mut self, start: &BytesStart<'_>) -> Result<(), TreeError> {
        self.in_model = true;
        if is_true(start, "isService") {
            let root = self.into.root.as_deref().ok_or_else(|| {
                TreeError::Model("a service model needs a root model read before it".to_owned())
            })?;
            self.mount = format!("{root}Services.");
        }
        Ok(())
    }

    fn open_object(&mut self, start: &BytesStart<'_>) {
        self.object = None;
        let name = attribute(start, "name").unwrap_or_default();
        self.skipping_object = attribute(start, "status").as_deref() == Some("deleted");
        if self.skipping_object || name.is_empty() {
            return;
        }
        if self.into.root.is_none() {
            let root = name.split_inclusive('.').next().unwrap_or("Device.");
            self.into.root = Some(root.to_owned());
        }
        let path = format!("{}{name}", self.mount);
        let def = ObjectDef {
            writable: attribute(start, "access").as_deref() == Some("readWrite"),
            count: attribute(start, "numEntriesParameter").map(Into::into),
        };
        self.into.builder.object(&path, def);
        self.object = Some(path);
    }

    fn open_parameter(&mut self, start: &BytesStart<'_>) {
        let deleted = attribute(start, "status").as_deref() == Some("deleted");
        let name = attribute(start, "name");
        let object = match self.parent() {
            "object" => self.object.clone(),
            // A service's own counter stands beside its objects.
            _ => Some(self.mount.clone()).filter(|_| self.in_model),
        };
        let (Some(name), Some(object), false) = (name, object, deleted) else {
            return;
        };
        let access = attribute(start, "access");
        self.parameter = Some(Parameter {
            path: format!("{object}{name}"),
            writable: access.as_deref().is_some_and(|a| a != "readOnly"),
            forced: is_true(start, "forcedInform"),
            notification: match attribute(start, "activeNotify").as_deref() {
                Some("forceEnabled" | "forceDefaultEnabled") => 2,
                _ => 0,
            },
            syntax: Syntax::default(),
        });
    }

    fn close(&mut self, name: &str) {
        match name {
            "dataType" if self.parent() == "document" => {
                if let Some((name, syntax)) = self.data_type.take() {
                    self.types.insert(name, syntax);
                }
            }
            "parameter" => {
                if let Some(parameter) = self.parameter.take() {
                    self.define(parameter);
                }
            }
            "object" => self.object = None,
            "model" => self.in_model = false,
            _ => {}
        }
    }

    /// Follows a syntax's data types down to the primitive, taking over what it doesn't say.
    fn resolve(&self, mut syntax: Syntax) -> Syntax {
        // A chain of types is short; the bound is against one that refers to itself.
        for _ in 0..16 {
            let Some(base) = syntax.base.take() else {
                break;
            };
            syntax.counter |= base.starts_with("StatsCounter");
            let Some(found) = self.types.get(&base) else {
                break;
            };
            syntax.primitive = syntax.primitive.or(found.primitive);
            syntax.base.clone_from(&found.base);
            syntax.rule.list |= found.rule.list;
            if syntax.rule.words.is_empty() {
                syntax.rule.words.clone_from(&found.rule.words);
            }
            if syntax.rule.ranges.is_empty() {
                syntax.rule.ranges.clone_from(&found.rule.ranges);
            }
            syntax.rule.max_length = syntax.rule.max_length.or(found.rule.max_length);
        }
        syntax
    }

    fn define(&mut self, parameter: Parameter) {
        let syntax = self.resolve(parameter.syntax);
        let primitive = syntax.primitive.unwrap_or_default();
        let xsd_type = if syntax.rule.list {
            XsdType::String
        } else {
            primitive
        };
        let mut leaf = Leaf::new(&parameter.path, xsd_type, parameter.writable);
        leaf.secret |= syntax.secret;
        leaf.deny_active = syntax.counter;
        leaf.forced_inform = parameter.forced;
        leaf.notification = parameter.notification;
        leaf.rule = syntax.rule;
        leaf.default = plausible(&leaf, syntax.default).into();
        self.into.builder.leaf(&parameter.path, leaf);
    }
}

/// Takes over one element of a syntax or a data type.
fn facet(name: &str, start: &BytesStart<'_>, syntax: &mut Syntax) {
    let number = |name: &str| attribute(start, name).and_then(|v| v.parse::<i128>().ok());
    match name {
        "list" => syntax.rule.list = true,
        "dataType" => syntax.base = attribute(start, "ref").or(attribute(start, "base")),
        "default" => {
            // Only these defaults hold for a new device or instance.
            let kind = attribute(start, "type");
            if matches!(
                kind.as_deref(),
                Some("object" | "factory" | "implementation")
            ) {
                syntax.default = attribute(start, "value");
            }
        }
        "enumeration" => {
            let gone = matches!(attribute(start, "status").as_deref(), Some("deleted"));
            if let Some(word) = attribute(start, "value").filter(|_| !gone) {
                let mut words = std::mem::take(&mut syntax.rule.words).into_vec();
                words.push(word.into());
                syntax.rule.words = words.into();
            }
        }
        "range" => {
            let least = number("minInclusive").unwrap_or(i128::MIN);
            let most = number("maxInclusive").unwrap_or(i128::MAX);
            let mut ranges = std::mem::take(&mut syntax.rule.ranges).into_vec();
            ranges.push((least, most));
            syntax.rule.ranges = ranges.into();
        }
        "size" => {
            let most = number("maxLength").and_then(|n| u32::try_from(n).ok());
            if let Some(most) = most.filter(|_| syntax.rule.max_length.is_none()) {
                syntax.rule.max_length = Some(most);
            }
        }
        _ => syntax.primitive = primitive(name).or(syntax.primitive),
    }
}

/// A value that a new instance may have: the model's default, or the first that is allowed.
fn plausible(leaf: &Leaf, default: Option<String>) -> String {
    let open = Leaf {
        writable: true,
        ..leaf.clone()
    };
    if let Some(value) = default
        && let Ok(kept) = open.check(&value, leaf.xsd_type)
    {
        return kept.into();
    }
    if let (Some(word), false) = (leaf.rule.words.first(), leaf.rule.list) {
        return word.to_string();
    }
    match (leaf.rule.ranges.first(), leaf.xsd_type) {
        (
            Some((least, most)),
            XsdType::Int | XsdType::UnsignedInt | XsdType::Long | XsdType::UnsignedLong,
        ) if !(*least..=*most).contains(&0) => {
            if *least == i128::MIN { most } else { least }.to_string()
        }
        _ => default_of(leaf.xsd_type).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Tree;

    const ROOT: &str = r#"<?xml version="1.0"?>
<dm:document xmlns:dm="urn:x">
  <dataType name="Alias"><string><size maxLength="64"/></string></dataType>
  <dataType name="StatsCounter32"><unsignedInt/></dataType>
  <dataType name="Sub" base="Level"/>
  <dataType name="Level"><int><range minInclusive="-5" maxInclusive="-1"/></int></dataType>
  <model name="Device:2.0">
    <object name="Device." access="readOnly" minEntries="1" maxEntries="1">
      <parameter name="BoxNumberOfEntries" access="readOnly"><syntax><unsignedInt/></syntax></parameter>
    </object>
    <object name="Device.Services." access="readOnly" minEntries="1" maxEntries="1"/>
    <object name="Device.Old." status="deleted" access="readOnly"><parameter name="X" access="readOnly"><syntax><int/></syntax></parameter></object>
    <object name="Device.Box.{i}." access="readWrite" numEntriesParameter="BoxNumberOfEntries">
      <parameter name="Alias" access="readWrite"><syntax><dataType ref="Alias"/></syntax></parameter>
      <parameter name="Sent" access="readOnly"><syntax><dataType ref="StatsCounter32"/></syntax></parameter>
      <parameter name="Level" access="readWrite"><syntax><dataType ref="Sub"/></syntax></parameter>
      <parameter name="Mode" access="readWrite"><syntax><string><enumeration value="A&amp;B"/><enumeration value="C"/></string><default type="object" value="C"/></syntax></parameter>
      <parameter name="Gone" access="readWrite" status="deleted"><syntax><string/></syntax></parameter>
      <parameter name="PIN" access="readWrite"><syntax hidden="true"><string/></syntax></parameter>
    </object>
    <object name="Device.Box.{i}.Item.{i}." access="readWrite" numEntriesParameter="ItemCount">
      <parameter name="On" access="readWrite"><syntax><boolean/></syntax></parameter>
    </object>
  </model>
</dm:document>"#;

    const SERVICE: &str = r#"<document><model name="V:1.0" isService="true">
      <parameter name="VNumberOfEntries" access="readOnly"><syntax><unsignedInt/></syntax></parameter>
      <object name="V.{i}." access="readOnly" numEntriesParameter="VNumberOfEntries">
        <parameter name="Enable" access="readWrite"><syntax><boolean/></syntax></parameter>
      </object></model></document>"#;

    #[test]
    fn a_root_with_a_service() {
        let mut reader = ModelReader::default();
        assert!(ModelReader::default().read(SERVICE).is_err());
        reader.read(ROOT).unwrap();
        reader.read(SERVICE).unwrap();
        let tree = Tree::new(reader.finish(2).build(), Vec::new());
        assert_eq!(tree.root_value("BoxNumberOfEntries"), "2");
        assert_eq!(tree.root_value("Services.VNumberOfEntries"), "2");
        assert_eq!(tree.root_value("Services.V.1.Enable"), "false");
        assert_eq!(tree.root_value("Box.1.Mode"), "C");
        assert_eq!(tree.root_value("Box.2.Level"), "-5");
        assert_eq!(tree.root_value("Box.2.Alias"), "cpe-2");
        assert_eq!(tree.root_value("Box.2.Item.1.On"), "false");
        assert!(!tree.has_object("Device.Box.2.Item.2."));
        assert!(tree.leaf("Device.Box.1.PIN").unwrap().secret);
        assert!(tree.leaf("Device.Box.1.Sent").unwrap().deny_active);
        assert!(tree.leaf("Device.Box.1.Gone").is_none());
        assert!(tree.leaf("Device.Old.X").is_none());
        let mode = tree.leaf("Device.Box.1.Mode").unwrap();
        assert!(mode.check("A&B", XsdType::String).is_ok());
        assert!(mode.check("D", XsdType::String).is_err());
    }
}
