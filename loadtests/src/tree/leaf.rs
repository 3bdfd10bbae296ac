//! What is known of a parameter apart from its value: type, access, constraints.

use hearth_cwmp::{FaultCode, XsdType};
use hearth_types::is_secret_name;

/// A parameter's definition, shared by all of its instances and all devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Type on the wire.
    pub xsd_type: XsdType,
    /// Whether SetParameterValues may set it.
    pub writable: bool,
    /// Whether it reads back empty (TR-106: hidden, secured).
    pub secret: bool,
    /// The Notification attribute before anyone has set it.
    pub notification: u8,
    /// Whether active notification is refused with 9009: counters that always change.
    pub deny_active: bool,
    /// Whether the model says that it stands in every Inform.
    pub forced_inform: bool,
    /// What values are allowed beyond the type.
    pub rule: Rule,
    /// The value of a new instance.
    pub default: Box<str>,
}

impl Leaf {
    /// A leaf at a path, of a type; secret if the name says so; default by type.
    pub fn new(path: &str, xsd_type: XsdType, writable: bool) -> Self {
        Self {
            xsd_type,
            writable,
            secret: is_secret_name(path) && xsd_type != XsdType::Boolean,
            notification: 0,
            deny_active: false,
            forced_inform: false,
            rule: Rule::default(),
            default: default_of(xsd_type).into(),
        }
    }

    /// Checks a value that the ACS wants to set, and returns it as the device keeps it
    /// (booleans as `true` or `false`).
    ///
    /// # Errors
    /// 9008 not writable, 9006 another type than the parameter's, 9007 a value that is none of
    /// the type or that the rule excludes.
    pub fn check(&self, text: &str, sent: XsdType) -> Result<Box<str>, FaultCode> {
        if !self.writable {
            return Err(FaultCode::NOT_WRITABLE);
        }
        if sent != XsdType::Other && sent != self.xsd_type {
            return Err(FaultCode::INVALID_PARAMETER_TYPE);
        }
        let kept = normal(self.xsd_type, text).ok_or(FaultCode::INVALID_PARAMETER_VALUE)?;
        if self.rule.allows(&kept, self.xsd_type) {
            Ok(kept)
        } else {
            Err(FaultCode::INVALID_PARAMETER_VALUE)
        }
    }
}

/// What values of a parameter are allowed beyond its type. Empty allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The words allowed; of a list, its items.
    pub words: Box<[Box<str>]>,
    /// Inclusive ranges, of which the number must be in one.
    pub ranges: Box<[(i128, i128)]>,
    /// Longest text, in characters.
    pub max_length: Option<u32>,
    /// Whether the value is a comma-separated list.
    pub list: bool,
}

impl Rule {
    /// Reads the short form: `a|b|c` words, `1..100` a range, `len 64` a length, empty nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rule = Self::default();
        let text = text.trim();
        if let Some(length) = text.strip_prefix("len ") {
            rule.max_length = Some(length.trim().parse().ok()?);
        } else if let Some((least, most)) = text.split_once("..") {
            rule.ranges = Box::new([(least.trim().parse().ok()?, most.trim().parse().ok()?)]);
        } else if !text.is_empty() {
            rule.words = text.split('|').map(Box::from).collect();
        }
        Some(rule)
    }

    fn allows(&self, text: &str, xsd_type: XsdType) -> bool {
        if self
            .max_length
            .is_some_and(|max| text.chars().count() > max as usize)
        {
            return false;
        }
        if !self.words.is_empty() {
            let known = |word: &str| self.words.iter().any(|known| &**known == word);
            let good = match self.list {
                true => text.is_empty() || text.split(',').all(|item| known(item.trim())),
                false => known(text),
            };
            if !good {
                return false;
            }
        }
        let number = matches!(
            xsd_type,
            XsdType::Int | XsdType::UnsignedInt | XsdType::Long | XsdType::UnsignedLong
        );
        if self.ranges.is_empty() || !number {
            return true;
        }
        text.parse::<i128>().is_ok_and(|n| {
            self.ranges
                .iter()
                .any(|(least, most)| (*least..=*most).contains(&n))
        })
    }
}

/// The value of a parameter that nothing else is known of.
pub fn default_of(xsd_type: XsdType) -> &'static str {
    match xsd_type {
        XsdType::Int | XsdType::UnsignedInt | XsdType::Long | XsdType::UnsignedLong => "0",
        XsdType::Boolean => "false",
        XsdType::DateTime => "0001-01-01T00:00:00Z",
        XsdType::String | XsdType::Base64 | XsdType::HexBinary | XsdType::Other => "",
    }
}

/// A value of a type as the device keeps it; `None` if the text is no value of it.
fn normal(xsd_type: XsdType, text: &str) -> Option<Box<str>> {
    let number = |good: bool| good.then(|| text.trim().into());
    match xsd_type {
        XsdType::String | XsdType::Other => Some(text.into()),
        XsdType::Int => number(text.trim().parse::<i32>().is_ok()),
        XsdType::UnsignedInt => number(text.trim().parse::<u32>().is_ok()),
        XsdType::Long => number(text.trim().parse::<i64>().is_ok()),
        XsdType::UnsignedLong => number(text.trim().parse::<u64>().is_ok()),
        XsdType::Boolean => match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" => Some("true".into()),
            "0" | "false" => Some("false".into()),
            _ => None,
        },
        XsdType::DateTime => {
            let time = hearth_cwmp::CwmpTime::from(text).time();
            time.map(|_| text.trim().into())
        }
        XsdType::Base64 => text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n ".contains(&b))
            .then(|| text.into()),
        XsdType::HexBinary => (text.len().is_multiple_of(2)
            && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| text.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_are_checked_in_the_order_of_their_faults() {
        let mut leaf = Leaf::new("Device.X.Port", XsdType::UnsignedInt, true);
        leaf.rule = Rule::parse("1..65535").unwrap();
        let check = |leaf: &Leaf, text, sent| leaf.check(text, sent).map_err(|code| code.0);
        assert_eq!(&*leaf.check("80", XsdType::UnsignedInt).unwrap(), "80");
        assert_eq!(&*leaf.check(" 80 ", XsdType::Other).unwrap(), "80");
        assert_eq!(check(&leaf, "80", XsdType::String), Err(9006));
        assert_eq!(check(&leaf, "-1", XsdType::UnsignedInt), Err(9007));
        assert_eq!(check(&leaf, "0", XsdType::UnsignedInt), Err(9007));
        leaf.writable = false;
        assert_eq!(check(&leaf, "x", XsdType::String), Err(9008));
    }

    #[test]
    fn words_and_lists() {
        let mut leaf = Leaf::new("Device.X.Mode", XsdType::String, true);
        leaf.rule = Rule::parse("a|b").unwrap();
        assert!(leaf.check("a", XsdType::String).is_ok());
        assert!(leaf.check("a,b", XsdType::String).is_err());
        leaf.rule.list = true;
        assert!(leaf.check("a, b", XsdType::String).is_ok());
        assert!(leaf.check("", XsdType::String).is_ok());
        assert!(leaf.check("a,c", XsdType::String).is_err());
    }

    #[test]
    fn booleans_are_kept_in_words() {
        let leaf = Leaf::new("Device.X.Enable", XsdType::Boolean, true);
        assert_eq!(&*leaf.check("1", XsdType::Boolean).unwrap(), "true");
        assert_eq!(&*leaf.check("FALSE", XsdType::Boolean).unwrap(), "false");
        assert!(leaf.check("yes", XsdType::Boolean).is_err());
    }
}
