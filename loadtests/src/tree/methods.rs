//! The RPC methods that work on the tree alone (TR-069 A.3.2.1 to A.3.2.7), with their faults.

use std::collections::HashSet;

use hearth_cwmp::{
    Fault, FaultCode, ParameterAttribute, ParameterInfo, ParameterValue,
    SetParameterAttributesStruct, SetParameterValuesFault,
};

use super::{Attributes, Tree, base::generic_path, is_number};

fn fault(code: FaultCode) -> Box<Fault> {
    Box::new(Fault::new(code))
}

impl Tree {
    /// The full paths that a full or partial path means, aliases resolved. Empty is the root.
    ///
    /// # Errors
    /// 9005 if there is no such parameter or object.
    pub fn expand(&self, path: &str) -> Result<Vec<&str>, Box<Fault>> {
        let path = self
            .resolve(path)
            .ok_or_else(|| fault(FaultCode::INVALID_PARAMETER_NAME))?;
        if path.is_empty() {
            return Ok(self.parameters("").collect());
        }
        if path.ends_with('.') {
            if !self.has_object(&path) {
                return Err(fault(FaultCode::INVALID_PARAMETER_NAME));
            }
            return Ok(self.parameters(&path).collect());
        }
        let known = self.known_path(&path);
        Ok(vec![
            known.ok_or_else(|| fault(FaultCode::INVALID_PARAMETER_NAME))?,
        ])
    }

    /// The tree's own copy of a parameter's path.
    fn known_path(&self, path: &str) -> Option<&str> {
        if let Some((known, _)) = self.added.get_key_value(path) {
            return Some(known);
        }
        let at = self.base.position(path)?;
        (!self.is_deleted(path)).then(|| &*self.base.parameters[at].path)
    }

    /// A parameter as it is read over CWMP: secrets are empty.
    pub fn read(&self, path: &str) -> Option<ParameterValue> {
        let leaf = self.leaf(path)?;
        let value = if leaf.secret { "" } else { self.value(path)? };
        Some(ParameterValue::new(path, value, leaf.xsd_type))
    }

    /// GetParameterValues. A parameter named twice comes twice.
    ///
    /// # Errors
    /// 9003 for no names at all, 9005 for an unknown one.
    pub fn get_values(&self, names: &[String]) -> Result<Vec<ParameterValue>, Box<Fault>> {
        if names.is_empty() {
            return Err(fault(FaultCode::INVALID_ARGUMENTS));
        }
        let mut out = Vec::new();
        for name in names {
            out.extend(self.expand(name)?.into_iter().filter_map(|p| self.read(p)));
        }
        Ok(out)
    }

    /// SetParameterValues: all or nothing. Returns the paths whose value changed.
    ///
    /// # Errors
    /// 9003 with every bad parameter in the list; without a list for a name given twice.
    pub fn set_values(&mut self, list: &[ParameterValue]) -> Result<Vec<String>, Box<Fault>> {
        let mut seen = HashSet::new();
        let mut bad = Vec::new();
        let mut good = Vec::new();
        for wanted in list {
            let path = self.resolve(&wanted.name).map(|path| path.into_owned());
            let name = path.as_deref().unwrap_or(&wanted.name);
            if !seen.insert(name.to_owned()) {
                return Err(fault(FaultCode::INVALID_ARGUMENTS));
            }
            let checked = match self.leaf(name) {
                None => Err(FaultCode::INVALID_PARAMETER_NAME),
                Some(leaf) => leaf.check(&wanted.value, wanted.xsd_type),
            };
            match checked {
                Ok(value) => good.push((name.to_owned(), value)),
                Err(code) => bad.push(SetParameterValuesFault {
                    parameter_name: wanted.name.clone(),
                    fault_code: code,
                    fault_string: Some(code.text().to_owned()),
                }),
            }
        }
        if list.is_empty() || !bad.is_empty() {
            let mut whole = fault(FaultCode::INVALID_ARGUMENTS);
            whole.parameters = bad;
            return Err(whole);
        }
        good.retain(|(path, value)| self.set(path, value));
        Ok(good.into_iter().map(|(path, _)| path).collect())
    }

    /// GetParameterNames.
    ///
    /// # Errors
    /// 9003 for a full path with NextLevel, 9005 for an unknown path.
    pub fn get_names(&self, path: &str, next: bool) -> Result<Vec<ParameterInfo>, Box<Fault>> {
        let path = self
            .resolve(path)
            .ok_or_else(|| fault(FaultCode::INVALID_PARAMETER_NAME))?;
        if path.is_empty() && next {
            return Ok(vec![self.object_info(self.root())]);
        }
        if !path.is_empty() && !path.ends_with('.') {
            let leaf = self
                .leaf(&path)
                .ok_or_else(|| fault(FaultCode::INVALID_PARAMETER_NAME))?;
            if next {
                return Err(fault(FaultCode::INVALID_ARGUMENTS));
            }
            return Ok(vec![ParameterInfo {
                name: path.into_owned(),
                writable: leaf.writable,
            }]);
        }
        if !path.is_empty() && !self.has_object(&path) {
            return Err(fault(FaultCode::INVALID_PARAMETER_NAME));
        }
        let is_child = |name: &str| {
            let rest = &name[path.len()..];
            !rest.is_empty() && !rest[..rest.len() - 1].contains('.')
        };
        let objects = self
            .objects(&path)
            .filter(|name| !next || is_child(name))
            .map(|name| self.object_info(name));
        let mut out: Vec<ParameterInfo> = objects.collect();
        for name in self.parameters(&path) {
            if !next || is_child(name) {
                let writable = self.leaf(name).is_some_and(|leaf| leaf.writable);
                out.push(ParameterInfo {
                    name: name.to_owned(),
                    writable,
                });
            }
        }
        Ok(out)
    }

    fn object_info(&self, path: &str) -> ParameterInfo {
        ParameterInfo {
            name: path.to_owned(),
            writable: self.object_def(path).is_some_and(|def| def.writable),
        }
    }

    /// SetParameterAttributes: all or nothing.
    ///
    /// # Errors
    /// 9003 for a number over 6 or nothing to do, 9005 unknown path, 9009 for active notification
    /// of what changes all the time.
    pub fn set_attributes(
        &mut self,
        list: &[SetParameterAttributesStruct],
    ) -> Result<(), Box<Fault>> {
        if list.is_empty() {
            return Err(fault(FaultCode::INVALID_ARGUMENTS));
        }
        let mut changes: Vec<(Box<str>, Attributes)> = Vec::new();
        for item in list {
            let notification = u8::try_from(item.notification)
                .ok()
                .filter(|n| *n <= 6 || !item.notification_change)
                .ok_or_else(|| fault(FaultCode::INVALID_ARGUMENTS))?;
            for path in self.expand(&item.name)? {
                let mut attributes = self.attributes(path).unwrap_or_default();
                if item.notification_change {
                    let deny = self.leaf(path).is_some_and(|leaf| leaf.deny_active);
                    if deny && matches!(notification, 2 | 5 | 6) {
                        return Err(fault(FaultCode::NOTIFICATION_REJECTED));
                    }
                    attributes.notification = notification;
                }
                if item.access_list_change {
                    attributes.subscriber = item.access_list.iter().any(|who| who == "Subscriber");
                }
                changes.push((path.into(), attributes));
            }
        }
        self.attributes.extend(changes);
        Ok(())
    }

    /// GetParameterAttributes.
    ///
    /// # Errors
    /// 9003 for no names at all, 9005 for an unknown one.
    pub fn get_attributes(&self, names: &[String]) -> Result<Vec<ParameterAttribute>, Box<Fault>> {
        if names.is_empty() {
            return Err(fault(FaultCode::INVALID_ARGUMENTS));
        }
        let mut out = Vec::new();
        for name in names {
            for path in self.expand(name)? {
                let attributes = self.attributes(path).unwrap_or_default();
                out.push(ParameterAttribute {
                    name: path.to_owned(),
                    notification: attributes.notification.into(),
                    access_list: match attributes.subscriber {
                        true => vec!["Subscriber".to_owned()],
                        false => Vec::new(),
                    },
                });
            }
        }
        Ok(out)
    }

    /// AddObject: makes an instance of `Path.` or, under an alias of the ACS's choice, of
    /// `Path.[alias].`, and returns its number. Numbers are never used twice.
    ///
    /// # Errors
    /// 9003 for a path without final dot, 9005 for what is no table or an alias that is taken,
    /// 9001 for a table that takes no instances.
    pub fn add_object(&mut self, name: &str) -> Result<u32, Box<Fault>> {
        let invalid = || fault(FaultCode::INVALID_PARAMETER_NAME);
        let Some(body) = name.strip_suffix('.') else {
            return Err(fault(FaultCode::INVALID_ARGUMENTS));
        };
        let (table, alias) = match body.strip_suffix(']').and_then(|b| b.rsplit_once(".[")) {
            Some((table, alias)) => (format!("{table}."), Some(alias)),
            None => (name.to_owned(), None),
        };
        let table = self.resolve(&table).ok_or_else(invalid)?.into_owned();
        if !self.has_object(&table) || !self.is_table(&table) {
            return Err(invalid());
        }
        if !self.object_def(&table).is_some_and(|def| def.writable) {
            return Err(fault(FaultCode::REQUEST_DENIED));
        }
        if alias.is_some_and(|alias| self.instance_by_alias(&table, alias).is_some()) {
            return Err(invalid());
        }
        let number = self.next_number(&table);
        self.numbers.insert(table.as_str().into(), number);
        let instance = format!("{table}{number}.");
        self.instantiate(&instance);
        let alias = alias.map_or_else(|| format!("cpe-{number}"), str::to_owned);
        self.set(&format!("{instance}Alias"), &alias);
        self.recount(&table);
        Ok(number)
    }

    fn next_number(&self, table: &str) -> u32 {
        let base = self
            .base
            .objects_below(table)
            .filter_map(|path| path[table.len()..].strip_suffix('.'))
            .filter(|rest| is_number(rest))
            .filter_map(|rest| rest.parse::<u32>().ok())
            .max()
            .unwrap_or(0);
        self.numbers.get(table).copied().unwrap_or(0).max(base) + 1
    }

    fn instantiate(&mut self, instance: &str) {
        let base = self.base.clone();
        let generic = generic_path(instance);
        let (leaves, objects) = base.template(&generic);
        self.added_objects.insert(instance.into());
        for rest in objects {
            self.added_objects
                .insert(format!("{instance}{rest}").into());
        }
        for (rest, leaf) in leaves {
            self.added.insert(format!("{instance}{rest}").into(), leaf);
        }
    }

    /// DeleteObject: removes one instance and everything in it.
    ///
    /// # Errors
    /// 9003 for a path without final dot, 9005 for what is no instance, 9001 where instances
    /// can't be deleted.
    pub fn delete_object(&mut self, name: &str) -> Result<(), Box<Fault>> {
        if !name.ends_with('.') {
            return Err(fault(FaultCode::INVALID_ARGUMENTS));
        }
        let path = self
            .resolve(name)
            .ok_or_else(|| fault(FaultCode::INVALID_PARAMETER_NAME))?
            .into_owned();
        let parent = path.strip_suffix('.').and_then(|body| {
            let (parent, number) = body.rsplit_once('.')?;
            is_number(number).then(|| format!("{parent}."))
        });
        let Some(table) = parent.filter(|_| self.has_object(&path)) else {
            return Err(fault(FaultCode::INVALID_PARAMETER_NAME));
        };
        if !self.object_def(&path).is_some_and(|def| def.writable) {
            return Err(fault(FaultCode::REQUEST_DENIED));
        }
        let highest = self.next_number(&table) - 1;
        self.numbers.insert(table.as_str().into(), highest);
        self.values.retain(|at, _| !at.starts_with(&path));
        self.attributes.retain(|at, _| !at.starts_with(&path));
        self.added.retain(|at, _| !at.starts_with(&path));
        self.added_objects.retain(|at| !at.starts_with(&path));
        self.numbers.retain(|at, _| !at.starts_with(&path));
        if self.base.has_object(&path) {
            self.deleted.insert(path.into());
        }
        self.recount(&table);
        Ok(())
    }
}
