//! A forgiving reader of authentication headers (RFC 9110 section 11).
//!
//! CPEs quote what should be bare and leave bare what should be quoted, fold lines, forget commas
//! and add spaces. Whatever can be told apart is read; nothing makes it fail or loop.

use std::borrow::Cow;

/// One thing in an authentication header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// The name of a scheme, such as `Digest`, or a bare word.
    Word(&'a str),
    /// `name=value`, unquoted.
    Param(&'a str, Cow<'a, str>),
}

/// Reads the items of a header's value one after another.
#[derive(Debug, Clone)]
pub(crate) struct Items<'a> {
    rest: &'a str,
}

impl<'a> Items<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
}

fn is_gap(c: char) -> bool {
    // Besides white space: what is left of a folded line, and stray separators.
    c.is_ascii_whitespace() || c == ',' || c == ';' || c == '\0'
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let rest = self.rest.trim_start_matches(is_gap);
            if rest.is_empty() {
                self.rest = rest;
                return None;
            }
            let end = rest
                .find(|c| is_gap(c) || c == '=' || c == '"')
                .unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let spaced = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
            if let Some(value) = spaced.strip_prefix('=') {
                let (value, rest) = read_value(value);
                self.rest = rest;
                return Some(Item::Param(name, value));
            }
            if name.is_empty() {
                // A stray quote: skip it.
                self.rest = after.get(1..).unwrap_or_default();
                continue;
            }
            self.rest = after;
            return Some(Item::Word(name));
        }
    }
}

/// A quoted or bare value, and what follows it.
fn read_value(text: &str) -> (Cow<'_, str>, &str) {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(is_gap).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (Cow::Borrowed(value.trim_end_matches('"')), rest);
    };
    let Some(end) = quoted.find(['"', '\\']) else {
        // No end: take it all, rather than nothing.
        return (Cow::Borrowed(quoted.trim_end()), "");
    };
    if quoted[end..].starts_with('"') {
        return (Cow::Borrowed(&quoted[..end]), &quoted[end + 1..]);
    }
    let mut value = quoted[..end].to_owned();
    let mut chars = quoted[end..].char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (Cow::Owned(value), &quoted[end + at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (Cow::Owned(value), "")
}

/// Writes `text` as a quoted string; line ends and other control characters are left out, so that
/// nothing can break out of the header.
pub(crate) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars().filter(|c| !c.is_control()) {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

/// Splits a header's value into its scheme and the rest.
pub(crate) fn split_scheme(value: &str) -> (&str, &str) {
    let value = value.trim();
    match value.find(|c: char| c.is_ascii_whitespace()) {
        Some(end) => (&value[..end], value[end..].trim_start()),
        None => (value, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        Items::new(text)
            .map(|item| match item {
                Item::Word(word) => (word.to_owned(), String::new()),
                Item::Param(name, value) => (name.to_owned(), value.into_owned()),
            })
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn odd_spacing_quoting_and_folding() {
        assert_eq!(
            read("a=\"1\",b = 2 ,, c= \"x, y\"\r\n\td=\"q\\\"r\\\\s\" e=\"\" f="),
            pairs(&[
                ("a", "1"),
                ("b", "2"),
                ("c", "x, y"),
                ("d", "q\"r\\s"),
                ("e", ""),
                ("f", "")
            ])
        );
        assert_eq!(
            read("Digest realm=r, Basic realm=\"s\""),
            pairs(&[
                ("Digest", ""),
                ("realm", "r"),
                ("Basic", ""),
                ("realm", "s")
            ])
        );
    }

    #[test]
    fn broken_input_ends() {
        assert_eq!(read("a=\"open, b=1"), pairs(&[("a", "open, b=1")]));
        assert_eq!(read("a=\"open\\"), pairs(&[("a", "open")]));
        assert_eq!(read("\"\"\"=\"x\""), pairs(&[("", "x")]));
        assert_eq!(read(" , ;\0"), pairs(&[]));
    }

    #[test]
    fn quoting_cannot_be_broken_out_of() {
        let mut out = String::new();
        quote(&mut out, "a\"b\\c\r\nX: y");
        assert_eq!(out, "\"a\\\"b\\\\cX: y\"");
    }
}
