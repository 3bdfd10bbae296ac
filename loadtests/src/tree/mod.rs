//! A device's data model tree (TR-106): the shared [`BaseTree`] of its kind and, over it, what
//! this device has set, added and deleted. A device that changed little costs little.

mod base;
pub mod kinds;
mod leaf;
mod methods;
pub mod model;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

pub use base::{BaseTree, ObjectDef, TreeBuilder, generic_path};
pub use leaf::{Leaf, Rule, default_of};

use base::{is_instance_of, is_number};

/// Why a tree can't be read from its source.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The file can't be read.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of a table is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong and what is expected.
        reason: String,
    },
    /// The model file is no well-formed XML, or not what it should be.
    #[error("model file: {0}")]
    Model(String),
}

/// The two attributes of a parameter (TR-069 A.3.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// 0 to 6.
    pub notification: u8,
    /// Whether `Subscriber` may write it.
    pub subscriber: bool,
}

/// One device's tree. All reads and writes are by full path with instance numbers, except where
/// a method says that it resolves aliases.
#[derive(Clone, Debug)]
pub struct Tree {
    base: Arc<BaseTree>,
    factory: Arc<[(Box<str>, Box<str>)]>,
    values: BTreeMap<Box<str>, Box<str>>,
    attributes: BTreeMap<Box<str>, Attributes>,
    added: BTreeMap<Box<str>, u32>,
    added_objects: BTreeSet<Box<str>>,
    /// Instances of the base that were deleted.
    deleted: BTreeSet<Box<str>>,
    /// Table → the highest number it ever had.
    numbers: BTreeMap<Box<str>, u32>,
}

impl Tree {
    /// A new device. `factory` are the values that make it this one (serial number, addresses,
    /// credentials); they come back at a [factory reset](Self::factory_reset).
    pub fn new(base: Arc<BaseTree>, factory: Vec<(Box<str>, Box<str>)>) -> Self {
        let mut tree = Self {
            base,
            factory: Arc::from([]),
            values: BTreeMap::new(),
            attributes: BTreeMap::new(),
            added: BTreeMap::new(),
            added_objects: BTreeSet::new(),
            deleted: BTreeSet::new(),
            numbers: BTreeMap::new(),
        };
        let known: Vec<_> = factory
            .into_iter()
            .filter(|(path, _)| tree.leaf(path).is_some())
            .collect();
        tree.factory = known.into();
        tree.factory_reset();
        tree
    }

    /// Forgets everything but the factory's values. Instance numbers start over too.
    pub fn factory_reset(&mut self) {
        self.values = self.factory.iter().cloned().collect();
        self.attributes.clear();
        self.added.clear();
        self.added_objects.clear();
        self.deleted.clear();
        self.numbers.clear();
    }

    /// The tree's kind.
    pub fn base(&self) -> &Arc<BaseTree> {
        &self.base
    }

    /// `Device.` or `InternetGatewayDevice.`.
    pub fn root(&self) -> &str {
        self.base.root()
    }

    /// A path below the root.
    pub fn path(&self, below_root: &str) -> String {
        format!("{}{below_root}", self.root())
    }

    fn is_deleted(&self, path: &str) -> bool {
        !self.deleted.is_empty()
            && path
                .match_indices('.')
                .any(|(dot, _)| self.deleted.contains(&path[..=dot]))
    }

    /// A parameter's definition; `None` if the device hasn't got it.
    pub fn leaf(&self, path: &str) -> Option<&Leaf> {
        self.leaf_index(path)
            .map(|index| &self.base.leaves[index as usize])
    }

    fn leaf_index(&self, path: &str) -> Option<u32> {
        if let Some(index) = self.added.get(path) {
            return Some(*index);
        }
        let at = self.base.position(path)?;
        (!self.is_deleted(path)).then(|| self.base.parameters[at].leaf)
    }

    /// A parameter's value, secrets included; `None` if the device hasn't got it.
    pub fn value(&self, path: &str) -> Option<&str> {
        let index = self.leaf_index(path)?;
        if let Some(value) = self.values.get(path) {
            return Some(value);
        }
        Some(match self.base.position(path) {
            Some(at) if !self.added.contains_key(path) => &self.base.parameters[at].value,
            _ => &self.base.leaves[index as usize].default,
        })
    }

    /// A value below the root, empty if the device hasn't got it.
    pub fn root_value(&self, below_root: &str) -> &str {
        self.value(&self.path(below_root)).unwrap_or_default()
    }

    /// Sets a value as the device itself does: read-only parameters too, no checks. False if the
    /// device hasn't got it or it is that value already.
    pub fn set(&mut self, path: &str, value: &str) -> bool {
        match self.value(path) {
            Some(old) if old != value => {
                self.values.insert(path.into(), value.into());
                true
            }
            _ => false,
        }
    }

    /// [`Self::set`], of a path below the root.
    pub fn set_root(&mut self, below_root: &str, value: &str) -> bool {
        self.set(&self.path(below_root), value)
    }

    /// A parameter's attributes; `None` if the device hasn't got it.
    pub fn attributes(&self, path: &str) -> Option<Attributes> {
        let leaf = self.leaf(path)?;
        let set = self.attributes.get(path).copied();
        Some(set.unwrap_or(Attributes {
            notification: leaf.notification,
            subscriber: leaf.writable,
        }))
    }

    /// Every parameter whose path begins so; the empty prefix is the whole tree.
    pub fn parameters(&self, prefix: &str) -> impl Iterator<Item = &str> + use<'_> {
        let base = self
            .base
            .below(prefix)
            .iter()
            .map(|p| &*p.path)
            .filter(|path| !self.is_deleted(path));
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let added = self.added.range::<str, _>(from).map(|(path, _)| &**path);
        let prefix = prefix.to_owned();
        base.chain(added.take_while(move |path| path.starts_with(&prefix)))
    }

    /// Every object whose path begins so, `prefix` itself included.
    pub fn objects(&self, prefix: &str) -> impl Iterator<Item = &str> + use<'_> {
        let base = self
            .base
            .objects_below(prefix)
            .filter(|path| !self.is_deleted(path));
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let added = self.added_objects.range::<str, _>(from).map(|path| &**path);
        let prefix = prefix.to_owned();
        base.chain(added.take_while(move |path| path.starts_with(&prefix)))
    }

    /// Whether there is such an object, table or instance.
    pub fn has_object(&self, path: &str) -> bool {
        self.added_objects.contains(path) || (self.base.has_object(path) && !self.is_deleted(path))
    }

    /// A table's instance numbers, in order.
    pub fn instances(&self, table: &str) -> Vec<u32> {
        let mut numbers: Vec<u32> = self
            .objects(table)
            .filter(|path| is_instance_of(path, table))
            .filter_map(|path| path[table.len()..].strip_suffix('.')?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// The definition that decides whether an object may be added to or deleted: that of a
    /// table's instances for the table and for each instance.
    fn object_def(&self, path: &str) -> Option<&ObjectDef> {
        let generic = generic_path(path);
        if generic.ends_with(".{i}.") {
            return self.base.objects.get(&*generic);
        }
        let table = format!("{generic}{{i}}.");
        self.base
            .objects
            .get(&*table)
            .or_else(|| self.base.objects.get(&*generic))
    }

    /// Whether `path` is a table: an object whose children are instances.
    fn is_table(&self, path: &str) -> bool {
        let table = format!("{}{{i}}.", generic_path(path));
        self.base.objects.contains_key(&*table)
    }

    /// Keeps a table's counting parameter true.
    fn recount(&mut self, table: &str) {
        if let Some(counter) = self.base.count_parameter(table) {
            let count = self.instances(table).len().to_string();
            self.set(&counter, &count);
        }
    }

    /// Resolves the aliases in a path (`Path.[alias].`, TR-069 3.6.1); `None` if there is no such
    /// instance.
    pub fn resolve<'p>(&self, path: &'p str) -> Option<std::borrow::Cow<'p, str>> {
        if !path.contains('[') {
            return Some(path.into());
        }
        let mut out = String::with_capacity(path.len());
        for segment in path.split_inclusive('.') {
            let name = segment.strip_suffix('.').unwrap_or(segment);
            match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
                Some(alias) => {
                    let number = self.instance_by_alias(&out, alias)?;
                    out.push_str(&number.to_string());
                    out.push('.');
                }
                None => out.push_str(segment),
            }
        }
        Some(out.into())
    }

    fn instance_by_alias(&self, table: &str, alias: &str) -> Option<u32> {
        self.instances(table)
            .into_iter()
            .find(|number| self.value(&format!("{table}{number}.Alias")) == Some(alias))
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.parameters("").count()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.base.is_empty()
    }
}
