//! What a client sends in its Authorization header.

use std::borrow::Cow;

use crate::basic::BasicCredentials;
use crate::header::{Item, Items, split_scheme};

use super::Algorithm;

/// The quality of protection that a client chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qop {
    /// RFC 2069: no qop, no counter.
    None,
    /// `auth`.
    Auth,
    /// `auth-int` or something unknown, which was never offered.
    Other,
}

/// A client's Authorization header.
#[derive(Debug, Clone)]
pub enum Authorization<'a> {
    /// HTTP Digest.
    Digest(DigestResponse<'a>),
    /// HTTP Basic.
    Basic(BasicCredentials),
    /// Another scheme (its name), or one that isn't readable.
    Other(&'a str),
}

impl<'a> Authorization<'a> {
    /// Reads a header's value. Never fails: what isn't readable is [`Authorization::Other`].
    pub fn parse(value: &'a str) -> Self {
        let (scheme, rest) = split_scheme(value);
        if scheme.eq_ignore_ascii_case("digest") {
            return Self::Digest(DigestResponse::parse(rest));
        }
        if scheme.eq_ignore_ascii_case("basic")
            && let Some(basic) = BasicCredentials::parse(rest)
        {
            return Self::Basic(basic);
        }
        Self::Other(scheme)
    }

    /// The user that the client claims to be, not verified.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Digest(digest) => Some(&digest.username),
            Self::Basic(basic) => Some(&basic.username),
            Self::Other(_) => None,
        }
    }
}

/// The parameters of a digest response, as sent. What was missing is empty.
#[derive(Debug, Clone, Default)]
pub struct DigestResponse<'a> {
    /// The user.
    pub username: Cow<'a, str>,
    /// The realm.
    pub realm: Cow<'a, str>,
    /// The server's nonce.
    pub nonce: Cow<'a, str>,
    /// The target that the client hashed.
    pub uri: Cow<'a, str>,
    /// The proof, in hex.
    pub response: Cow<'a, str>,
    /// The algorithm's name; MD5 when missing.
    pub algorithm: Cow<'a, str>,
    /// The quality of protection.
    pub qop: Cow<'a, str>,
    /// The counter, in hex as sent: the text is hashed.
    pub nc: Cow<'a, str>,
    /// The client's nonce.
    pub cnonce: Cow<'a, str>,
}

impl<'a> DigestResponse<'a> {
    /// Reads what follows `Digest`. The first of several parameters of a name counts; unknown
    /// ones are ignored, a missing `opaque` isn't missed.
    pub fn parse(text: &'a str) -> Self {
        let mut read = Self::default();
        for item in Items::new(text) {
            let Item::Param(name, value) = item else {
                continue;
            };
            let field = match name.to_ascii_lowercase().as_str() {
                "username" => &mut read.username,
                "realm" => &mut read.realm,
                "nonce" => &mut read.nonce,
                "uri" => &mut read.uri,
                "response" => &mut read.response,
                "algorithm" => &mut read.algorithm,
                "qop" => &mut read.qop,
                "nc" => &mut read.nc,
                "cnonce" => &mut read.cnonce,
                _ => continue,
            };
            if field.is_empty() {
                *field = value;
            }
        }
        read
    }

    /// The algorithm; `None` when its name is unknown.
    pub fn algorithm(&self) -> Option<Algorithm> {
        if self.algorithm.is_empty() {
            return Some(Algorithm::Md5);
        }
        Algorithm::parse(&self.algorithm)
    }

    /// The quality of protection.
    pub fn qop(&self) -> Qop {
        match self.qop.trim() {
            "" => Qop::None,
            auth if auth.eq_ignore_ascii_case("auth") => Qop::Auth,
            _ => Qop::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_and_sloppy_headers_read_the_same() {
        let curl = "Digest username=\"000000-HG-1\",realm=\"hearth\",nonce=\"abc==\",uri=\"/\",\
                    cnonce=\"Zm9v\",nc=00000001,algorithm=MD5,response=\"00ff\",qop=\"auth\"";
        let sloppy = "digest  Username = 000000-HG-1 realm=hearth ,nonce=abc==, uri=/\r\n \
                      cnonce=\"Zm9v\" , NC=\"00000001\",algorithm=\"md5\",response=00ff,qop=auth,\
                      opaque=";
        for text in [curl, sloppy] {
            let Authorization::Digest(read) = Authorization::parse(text) else {
                panic!("not a digest: {text}")
            };
            assert_eq!(read.username, "000000-HG-1");
            assert_eq!(read.realm, "hearth");
            assert_eq!(read.nonce, "abc==");
            assert_eq!(read.uri, "/");
            assert_eq!(
                (read.cnonce.as_ref(), read.nc.as_ref()),
                ("Zm9v", "00000001")
            );
            assert_eq!(read.response, "00ff");
            assert_eq!(
                (read.algorithm(), read.qop()),
                (Some(Algorithm::Md5), Qop::Auth)
            );
        }
    }

    #[test]
    fn other_schemes() {
        assert!(matches!(
            Authorization::parse("Bearer abc"),
            Authorization::Other("Bearer")
        ));
        assert!(matches!(
            Authorization::parse("Basic !"),
            Authorization::Other("Basic")
        ));
        assert!(matches!(Authorization::parse(""), Authorization::Other("")));
        let basic = Authorization::parse("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(basic.username(), Some("Aladdin"));
    }
}
