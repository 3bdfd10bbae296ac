//! The immutable part of a tree, shared by all devices of a kind: definitions by generic path
//! (`Device.NAT.PortMapping.{i}.Enable`) and the parameters and objects a new device has.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::leaf::Leaf;

/// An object's definition, by generic path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectDef {
    /// Of a table: whether AddObject and DeleteObject are allowed.
    pub writable: bool,
    /// Of a table: name of the parameter beside it that counts its instances.
    pub count: Option<Box<str>>,
}

/// A parameter of a new device.
#[derive(Clone, Debug)]
pub(super) struct BaseParameter {
    pub path: Box<str>,
    /// Index into [`BaseTree::leaves`].
    pub leaf: u32,
    pub value: Box<str>,
}

/// The tree of a new device of some kind. Build it with [`TreeBuilder`].
#[derive(Debug, Default)]
pub struct BaseTree {
    pub(super) leaves: Vec<Leaf>,
    /// Generic leaf path → index into `leaves`.
    pub(super) generic: BTreeMap<Box<str>, u32>,
    /// Generic object path (ends in `.`; a table's is that of its instances) → definition.
    pub(super) objects: BTreeMap<Box<str>, ObjectDef>,
    /// Sorted by path.
    pub(super) parameters: Vec<BaseParameter>,
    /// Sorted: every object a new device has, tables and instances included.
    pub(super) instances: Vec<Box<str>>,
    root: Box<str>,
    forced: Vec<Box<str>>,
}

impl BaseTree {
    /// `Device.` or `InternetGatewayDevice.`.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// How many parameters a new device has.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// How many objects, tables and instances a new device has.
    pub fn object_count(&self) -> usize {
        self.instances.len()
    }

    /// Every parameter of a new device with its definition and value, in order of paths.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Leaf, &str)> {
        self.parameters.iter().map(|p| {
            let leaf = &self.leaves[p.leaf as usize];
            (&*p.path, leaf, &*p.value)
        })
    }

    /// The parameters that stand in every Inform (TR-069 3.7.1.5 and what the model forces).
    pub fn forced_inform(&self) -> &[Box<str>] {
        &self.forced
    }

    pub(super) fn position(&self, path: &str) -> Option<usize> {
        self.parameters
            .binary_search_by(|p| (*p.path).cmp(path))
            .ok()
    }

    /// The parameters whose path begins so.
    pub(super) fn below(&self, prefix: &str) -> &[BaseParameter] {
        let from = self.parameters.partition_point(|p| *p.path < *prefix);
        let rest = &self.parameters[from..];
        &rest[..rest.partition_point(|p| p.path.starts_with(prefix))]
    }

    /// The objects whose path begins so, the prefix itself included.
    pub(super) fn objects_below(&self, prefix: &str) -> impl Iterator<Item = &str> + use<'_> {
        let from = self.instances.partition_point(|p| **p < *prefix);
        let rest = &self.instances[from..];
        let count = rest.partition_point(|p| p.starts_with(prefix));
        rest[..count].iter().map(|p| &**p)
    }

    pub(super) fn has_object(&self, path: &str) -> bool {
        self.instances.binary_search_by(|p| (**p).cmp(path)).is_ok()
    }

    /// The leaves that a new instance at a generic path gets, and the tables in it, as paths
    /// relative to it. Instances of nested tables are not made.
    pub(super) fn template<'a>(&'a self, generic: &'a str) -> (Vec<(&'a str, u32)>, Vec<&'a str>) {
        let range = (
            std::ops::Bound::Included(generic),
            std::ops::Bound::Unbounded,
        );
        let leaves = self
            .generic
            .range::<str, _>(range)
            .take_while(|(path, _)| path.starts_with(generic))
            .map(|(path, leaf)| (&path[generic.len()..], *leaf))
            .filter(|(rest, _)| !rest.contains("{i}"))
            .collect();
        let objects = self
            .objects
            .range::<str, _>(range)
            .map(|(path, _)| &**path)
            .take_while(|path| path.starts_with(generic))
            .filter_map(|path| {
                let rest = &path[generic.len()..];
                let rest = rest.strip_suffix("{i}.").unwrap_or(rest);
                (!rest.is_empty() && !rest.contains("{i}")).then_some(rest)
            })
            .collect();
        (leaves, objects)
    }
}

/// Whether a path's segment is an instance number.
pub(super) fn is_number(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit())
}

/// A path with `{i}` in place of its instance numbers.
pub fn generic_path(path: &str) -> Cow<'_, str> {
    if !path.split('.').any(is_number) {
        return Cow::Borrowed(path);
    }
    let segments: Vec<_> = path
        .split('.')
        .map(|s| if is_number(s) { "{i}" } else { s })
        .collect();
    Cow::Owned(segments.join("."))
}

/// Collects definitions, instances and values, in any order, and makes a [`BaseTree`] of them.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    leaves: BTreeMap<Box<str>, Leaf>,
    objects: BTreeMap<Box<str>, ObjectDef>,
    instances: BTreeSet<Box<str>>,
    values: BTreeMap<Box<str>, Box<str>>,
}

impl TreeBuilder {
    /// Defines an object by its generic path (ends in `.`). A table is defined by the path of
    /// its instances (`….{i}.`).
    pub fn object(&mut self, generic: &str, def: ObjectDef) {
        let known = self.objects.entry(generic.into()).or_default();
        known.writable |= def.writable;
        known.count = def.count.or(known.count.take());
    }

    /// Defines a parameter by its generic path. The first definition counts.
    pub fn leaf(&mut self, generic: &str, leaf: Leaf) {
        self.leaves.entry(generic.into()).or_insert(leaf);
    }

    /// Gives a new device an instance (a concrete path that ends in a number and a dot).
    pub fn instance(&mut self, path: &str) {
        self.instances.insert(path.into());
    }

    /// Gives a parameter of a new device another value than its default.
    pub fn value(&mut self, path: &str, value: &str) {
        self.values.insert(path.into(), value.into());
    }

    /// The generic paths of the tables, outer ones first.
    pub fn tables(&self) -> Vec<Box<str>> {
        let mut tables: Vec<_> = self
            .objects
            .keys()
            .filter(|path| path.ends_with(".{i}."))
            .cloned()
            .collect();
        tables.sort_by_key(|path| path.matches("{i}").count());
        tables
    }

    /// The instances so far, for giving nested tables theirs.
    pub fn instances(&self) -> impl Iterator<Item = &str> {
        self.instances.iter().map(|path| &**path)
    }

    /// Makes the tree.
    pub fn build(mut self) -> Arc<BaseTree> {
        self.imply_objects();
        let mut tree = BaseTree {
            root: self
                .objects
                .keys()
                .next()
                .and_then(|path| path.split_inclusive('.').next())
                .unwrap_or("Device.")
                .into(),
            ..BaseTree::default()
        };
        for (path, leaf) in self.leaves {
            let index = u32::try_from(tree.leaves.len()).unwrap_or(u32::MAX);
            tree.leaves.push(leaf);
            tree.generic.insert(path, index);
        }
        tree.objects = self.objects;
        let mut concrete = BTreeMap::<Box<str>, u32>::new();
        let mut objects = BTreeSet::<Box<str>>::new();
        let root = tree.root.clone();
        for at in std::iter::once(&root).chain(&self.instances) {
            let generic = generic_path(at);
            let (leaves, nested) = tree.template(&generic);
            objects.insert(at.clone());
            objects.extend(nested.iter().map(|rest| format!("{at}{rest}").into()));
            concrete.extend(
                leaves
                    .iter()
                    .map(|(rest, leaf)| (format!("{at}{rest}").into(), *leaf)),
            );
        }
        tree.instances = objects.into_iter().collect();
        tree.parameters = concrete
            .into_iter()
            .map(|(path, leaf)| {
                let value = self.values.remove(&path);
                let value = value.unwrap_or_else(|| tree.leaves[leaf as usize].default.clone());
                BaseParameter { path, leaf, value }
            })
            .collect();
        number_aliases(&mut tree);
        count_instances(&mut tree);
        tree.forced = forced_inform(&tree);
        Arc::new(tree)
    }

    /// Defines the objects that only show in the paths of parameters and instances.
    fn imply_objects(&mut self) {
        let mut implied = BTreeSet::<Box<str>>::new();
        let paths = self.leaves.keys().chain(self.objects.keys());
        let instances: Vec<_> = self.instances.iter().map(|p| generic_path(p)).collect();
        for path in paths.map(|p| &**p).chain(instances.iter().map(|p| &**p)) {
            let mut end = 0;
            while let Some(dot) = path[end..].find('.') {
                end += dot + 1;
                // `X.` of `X.{i}.` is the table itself, which its instances' path defines.
                if !path[end..].starts_with("{i}.") {
                    implied.insert(path[..end].into());
                }
            }
        }
        for path in implied {
            self.objects.entry(path).or_default();
        }
    }
}

/// Gives every instance's `Alias` that has no value `cpe-{number}` (TR-106 3.3.1).
fn number_aliases(tree: &mut BaseTree) {
    for parameter in &mut tree.parameters {
        if !parameter.value.is_empty() {
            continue;
        }
        let number = parameter
            .path
            .strip_suffix(".Alias")
            .and_then(|p| p.rsplit('.').next())
            .filter(|s| is_number(s));
        if let Some(number) = number {
            parameter.value = format!("cpe-{number}").into();
        }
    }
}

/// Sets the parameters that count instances.
fn count_instances(tree: &mut BaseTree) {
    let mut counts = Vec::new();
    for table in &tree.instances {
        if let Some(at) = tree.count_parameter(table).and_then(|p| tree.position(&p)) {
            let count = tree
                .objects_below(table)
                .filter(|path| is_instance_of(path, table))
                .count();
            counts.push((at, count));
        }
    }
    for (at, count) in counts {
        tree.parameters[at].value = count.to_string().into();
    }
}

/// Whether `path` is `table` and one number.
pub(super) fn is_instance_of(path: &str, table: &str) -> bool {
    path.strip_prefix(table)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(is_number)
}

impl BaseTree {
    /// The path of the parameter that counts a table's instances: as the model names it, or
    /// `{Table}NumberOfEntries` beside it.
    pub(super) fn count_parameter(&self, table: &str) -> Option<String> {
        let def = self
            .objects
            .get(&*format!("{}{{i}}.", generic_path(table)))?;
        let (parent, name) = table.strip_suffix('.')?.rsplit_once('.')?;
        Some(match &def.count {
            Some(count) => format!("{parent}.{count}"),
            None => format!("{parent}.{name}NumberOfEntries"),
        })
    }
}

/// Finds the parameters that stand in every Inform.
fn forced_inform(tree: &BaseTree) -> Vec<Box<str>> {
    const ALWAYS: [&str; 9] = [
        "RootDataModelVersion",
        "DeviceSummary",
        "DeviceInfo.SpecVersion",
        "DeviceInfo.HardwareVersion",
        "DeviceInfo.SoftwareVersion",
        "DeviceInfo.ProvisioningCode",
        "ManagementServer.ParameterKey",
        "ManagementServer.ConnectionRequestURL",
        "ManagementServer.AliasBasedAddressing",
    ];
    let mut out: Vec<Box<str>> = Vec::new();
    for name in ALWAYS {
        let path = format!("{}{name}", tree.root);
        if tree.position(&path).is_some() {
            out.push(path.into());
        }
    }
    let wan = tree
        .parameters
        .iter()
        .find(|p| p.path.ends_with(".ExternalIPAddress") && !p.value.is_empty());
    out.extend(wan.map(|p| p.path.clone()));
    for (path, leaf, _) in tree.parameters() {
        if leaf.forced_inform && !out.iter().any(|known| &**known == path) {
            out.push(path.into());
        }
    }
    out
}
