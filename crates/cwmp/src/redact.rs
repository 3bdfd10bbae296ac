//! An envelope without its secrets, for people to read and for [`crate::replay`].
//!
//! What a secret is, is told by names: of a parameter (`Name` beside `Value`), and of an element
//! (`Password`, `Username`). Every secret that is found is looked for everywhere else, too, in this
//! envelope and in those that are redacted later with the same [`Known`]: a device repeats a value
//! in the text of a fault. URLs keep their scheme and host. Comments and instructions are left out,
//! and so are attributes but those that SOAP and XML Schema give a meaning.

use std::collections::BTreeSet;

use crate::decode::reader::{Failure, Piece, XmlReader};
use crate::decode::{DecodeError, charset};
use crate::limits::Limits;
use crate::repairs::Repairs;

/// The shortest secret that is looked for in other places, in characters: shorter ones stand in
/// anything.
const SHORTEST: usize = 4;
/// The same of what is left out for another reason, which may be `true` or `false`.
const SHORTEST_OTHER: usize = 6;
/// Secrets that are remembered, and their bytes.
const MAX_KNOWN: usize = 1000;
const MAX_BYTES: usize = 1 << 20;
/// Elements that hold the name of what their siblings hold.
const KEYS: [&str; 4] = ["Name", "ParameterName", "ParameterPath", "ObjectName"];
/// Siblings of a name that say nothing about the value.
const HARMLESS: [&str; 6] = [
    "FaultCode",
    "Writable",
    "Notification",
    "NotificationChange",
    "AccessList",
    "AccessListChange",
];
/// Elements that are secret as such, beside those that `secret` knows: credentials of transfers,
/// and what a user's page says by Kicked.
const SECRET: [&str; 3] = ["Username", "Password", "Arg"];
/// Attributes that are kept.
const ATTRIBUTES: [&str; 7] = [
    "type",
    "arrayType",
    "mustUnderstand",
    "encodingStyle",
    "nil",
    "actor",
    "root",
];
/// The longest value of an attribute that is kept.
const MAX_ATTRIBUTE: usize = 256;

/// What is taken out.
pub struct Rules<'r> {
    /// Whether a parameter or an element of this name is a secret.
    pub secret: &'r dyn Fn(&str) -> bool,
    /// Whether a parameter's value is left out for another reason.
    pub personal: &'r dyn Fn(&str) -> bool,
    /// What stands in the place of what is taken out.
    pub mask: &'r str,
    /// Also take out texts of faults: not all secrets of the session are known.
    pub strict: bool,
    /// Caps on what is read.
    pub limits: Limits,
}

/// Secrets that were found so far.
#[derive(Clone, Default)]
pub struct Known {
    secrets: BTreeSet<String>,
    bytes: usize,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({})", self.secrets.len())
    }
}

impl Known {
    /// One more; `false` where there are too many.
    fn add(&mut self, secret: &str, shortest: usize) -> bool {
        let secret = secret.trim();
        if secret.chars().count() < shortest || self.secrets.contains(secret) {
            return true;
        }
        if self.secrets.len() >= MAX_KNOWN || self.bytes + secret.len() > MAX_BYTES {
            return false;
        }
        self.bytes += secret.len();
        self.secrets.insert(secret.to_owned());
        true
    }

    /// A text with `mask` in their places.
    #[must_use]
    pub fn hide(&self, text: &str, mask: &str) -> String {
        self.without(text, mask).unwrap_or_else(|| text.to_owned())
    }

    /// A text without them, the longest first.
    fn without(&self, text: &str, mask: &str) -> Option<String> {
        let secrets = self.secrets.iter();
        let mut found: Vec<_> = secrets.filter(|one| text.contains(*one)).collect();
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|one| std::cmp::Reverse(one.len()));
        let mut text = text.to_owned();
        for one in found {
            text = text.replace(one.as_str(), mask);
        }
        Some(text)
    }
}

/// Why an envelope can't be redacted: nothing of it may be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactError {
    /// It can't be read.
    #[error(transparent)]
    Unread(#[from] DecodeError),
    /// There is no element in it.
    #[error("there is no element in it")]
    Empty,
    /// It holds more secrets than are remembered.
    #[error("it holds too many secrets")]
    Secrets,
}

impl From<Failure> for RedactError {
    fn from(failure: Failure) -> Self {
        Self::Unread(match failure {
            Failure::NotXml { position, .. } => DecodeError::NotXml {
                position,
                // What is wrong may cite the text.
                reason: "it can't be read".to_owned(),
            },
            Failure::Dtd => DecodeError::Dtd,
            Failure::Limit { kind, limit } => DecodeError::Limit { kind, limit },
            Failure::Content { .. } => DecodeError::NotEnvelope("its content is wrong"),
        })
    }
}

/// An element with all that is in it.
struct Node {
    name: String,
    attributes: Vec<(String, String)>,
    content: Vec<Content>,
}

enum Content {
    Node(Node),
    Text(String),
}

impl Node {
    fn local(&self) -> &str {
        self.name
            .rsplit_once(':')
            .map_or(&self.name, |(_, local)| local)
    }

    fn children(&self) -> impl Iterator<Item = &Self> {
        self.content.iter().filter_map(|content| match content {
            Content::Node(node) => Some(node),
            Content::Text(_) => None,
        })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for content in &self.content {
            if let Content::Text(part) = content {
                text.push_str(part);
            }
        }
        text
    }
}

/// An envelope as text in UTF-8, without its secrets. `charset` is what Content-Type says.
///
/// # Errors
/// [`RedactError`]: where its secrets can't be found, nothing of it is given.
pub fn redact(
    body: &[u8],
    charset: Option<&str>,
    rules: &Rules<'_>,
    known: &mut Known,
) -> Result<String, RedactError> {
    let mut repairs = Repairs::default();
    let text = charset::to_text(body, charset, &mut repairs);
    let mut root = read(&text, rules.limits)?.ok_or(RedactError::Empty)?;
    let mut work = Work {
        rules,
        known,
        full: false,
    };
    work.mask_secrets(&mut root);
    if work.full {
        return Err(RedactError::Secrets);
    }
    work.mask_known(&mut root);
    let mut out = String::with_capacity(text.len());
    write(&root, &mut out);
    Ok(out)
}

/// The document; one that was cut off ends where it ends.
fn read(text: &str, limits: Limits) -> Result<Option<Node>, Failure> {
    let mut xml = XmlReader::new(text, limits, Repairs::default());
    let mut open: Vec<Node> = Vec::new();
    loop {
        match xml.piece()? {
            Piece::Start(element) => {
                let attributes = element.attributes();
                open.push(Node {
                    name: element.name().to_owned(),
                    attributes: attributes
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                    content: Vec::new(),
                });
            }
            Piece::Text(part) => {
                if let Some(node) = open.last_mut() {
                    match node.content.last_mut() {
                        Some(Content::Text(text)) => text.push_str(&part),
                        _ => node.content.push(Content::Text(part)),
                    }
                }
            }
            Piece::End => {
                if let Some(root) = close(&mut open) {
                    return Ok(Some(root));
                }
            }
            Piece::Eof => {
                while !open.is_empty() {
                    if let Some(root) = close(&mut open) {
                        return Ok(Some(root));
                    }
                }
                return Ok(None);
            }
        }
    }
}

/// Ends the innermost element; answers it if it was the root.
fn close(open: &mut Vec<Node>) -> Option<Node> {
    let node = open.pop()?;
    match open.last_mut() {
        Some(parent) => {
            parent.content.push(Content::Node(node));
            None
        }
        None => Some(node),
    }
}

struct Work<'w> {
    rules: &'w Rules<'w>,
    known: &'w mut Known,
    full: bool,
}

impl Work<'_> {
    /// Masks what is secret by its name.
    fn mask_secrets(&mut self, node: &mut Node) {
        let local = node.local();
        if SECRET.contains(&local) || (self.rules.secret)(local) && !is_container(node) {
            return self.mask(node, SHORTEST);
        }
        if self.rules.strict && local == "FaultString" {
            return self.mask(node, SHORTEST);
        }
        let names: Vec<String> = node
            .children()
            .filter(|child| KEYS.contains(&child.local()))
            .map(|key| key.text().trim().to_owned())
            .collect();
        let is_secret = names.iter().any(|name| (self.rules.secret)(name));
        let hide = is_secret || names.iter().any(|name| (self.rules.personal)(name));
        let shortest = match hide && !is_secret {
            true => SHORTEST_OTHER,
            false => SHORTEST,
        };
        for content in &mut node.content {
            let Content::Node(child) = content else {
                continue;
            };
            let local = child.local();
            let is_key = KEYS.contains(&local);
            // A value whose name is missing may be anybody's.
            let nameless = names.is_empty() && local == "Value";
            if nameless || hide && !is_key && !HARMLESS.contains(&local) {
                self.mask(child, shortest);
            } else {
                self.mask_secrets(child);
            }
        }
    }

    /// Masks all texts of an element.
    fn mask(&mut self, node: &mut Node, shortest: usize) {
        for content in &mut node.content {
            match content {
                Content::Node(child) => self.mask(child, shortest),
                Content::Text(text) if text.trim().is_empty() => {}
                Content::Text(text) => {
                    self.full |= !self.known.add(text, shortest);
                    self.rules.mask.clone_into(text);
                }
            }
        }
    }

    /// Masks what is known as a secret, and all of URLs but scheme and host.
    fn mask_known(&self, node: &mut Node) {
        let mask = self.rules.mask;
        for content in &mut node.content {
            match content {
                Content::Node(child) => self.mask_known(child),
                Content::Text(text) => {
                    if let Some(clean) = self.known.without(text, mask) {
                        *text = clean;
                    }
                    if text.contains("://") {
                        *text = without_paths(text, mask);
                    }
                }
            }
        }
        for (key, value) in &mut node.attributes {
            let local = key
                .rsplit_once(':')
                .map_or(key.as_str(), |(_, local)| local);
            let known = key.starts_with("xmlns") || ATTRIBUTES.contains(&local);
            if !known || value.len() > MAX_ATTRIBUTE || self.known.without(value, mask).is_some() {
                mask.clone_into(value);
            }
        }
    }
}

/// Whether an element is a structure rather than a value: `SetParameterValues` is no secret for its
/// name.
fn is_container(node: &Node) -> bool {
    node.children().next().is_some()
}

/// `http://user:pass@host/path` becomes `http://host/MASK`.
fn without_paths(text: &str, mask: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>');
        let (url, after) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
        // What stands before an @ may hold a slash that nobody escaped.
        let url = match url.rsplit_once('@') {
            Some((_, host)) => host,
            None => url,
        };
        match url.find(['/', '?', '#']) {
            Some(end) => {
                out.push_str(&url[..end]);
                out.push('/');
                if url.len() > end + 1 {
                    out.push_str(mask);
                }
            }
            None => out.push_str(url),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

fn write(node: &Node, out: &mut String) {
    out.push('<');
    out.push_str(&node.name);
    for (key, value) in &node.attributes {
        out.push(' ');
        out.push_str(key);
        out.push_str("=\"");
        // As it came, but for what would end it.
        out.push_str(&value.replace('"', "&quot;").replace('<', "&lt;"));
        out.push('"');
    }
    if node.content.is_empty() {
        out.push_str("/>");
        return;
    }
    out.push('>');
    for content in &node.content {
        match content {
            Content::Node(child) => write(child, out),
            Content::Text(text) => {
                for c in text.chars() {
                    match c {
                        '&' => out.push_str("&amp;"),
                        '<' => out.push_str("&lt;"),
                        '>' => out.push_str("&gt;"),
                        c => out.push(c),
                    }
                }
            }
        }
    }
    out.push_str("</");
    out.push_str(&node.name);
    out.push('>');
}
