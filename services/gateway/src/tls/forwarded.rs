//! A client certificate that a proxy passes on in a header.
//!
//! What proxies write: nginx' `$ssl_client_escaped_cert` and Apache (PEM, URL-encoded or with
//! blanks for line ends), HAProxy's `ssl_c_der,base64` with `ssl_c_chain_der,base64` after a comma,
//! Traefik (DER in base64, URL-encoded), Envoy's x-forwarded-client-cert with `Cert` or `Chain`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The longest chain that is taken.
const MAX_CHAIN: usize = 8;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const ENVOY_KEYS: [&str; 7] = ["By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"];

/// The chain in a header's value, leaf first; empty when the client showed none.
///
/// # Errors
/// It is none of the forms above.
pub(crate) fn chain(value: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(Vec::new());
    }
    match envoy(value)? {
        Envoy::No => certificates(value),
        Envoy::Without => Ok(Vec::new()),
        Envoy::With(encoded) => certificates(&encoded),
    }
}

fn certificates(encoded: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let decoded = percent_decode_str(encoded).decode_utf8();
    let text = decoded.map_err(|_| "it is not text")?;
    let mut chain = Vec::new();
    if text.trim_start().starts_with("-----") {
        let mut rest = text.as_ref();
        while let Some((_, begun)) = rest.split_once(BEGIN) {
            let (body, after) = begun.split_once(END).ok_or("a certificate is cut off")?;
            add(&mut chain, body)?;
            rest = after;
        }
    } else {
        for body in text.split(',').filter(|body| !body.trim().is_empty()) {
            add(&mut chain, body)?;
        }
    }
    match chain.is_empty() {
        true => Err("it holds no certificate"),
        false => Ok(chain),
    }
}

/// Adds what is in a piece of base64: one certificate or several, one after another.
fn add(chain: &mut Vec<CertificateDer<'static>>, base64: &str) -> Result<(), &'static str> {
    let plain: String = base64
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .collect();
    let bytes = STANDARD.decode(plain).map_err(|_| "it is not base64")?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let parsed = X509Certificate::from_der(rest);
        let (after, _) = parsed.map_err(|_| "it is no certificate")?;
        let length = rest.len() - after.len();
        if chain.len() == MAX_CHAIN {
            return Err("the chain is too long");
        }
        chain.push(rest[..length].to_vec().into());
        rest = after;
    }
    Ok(())
}

enum Envoy {
    /// Another form.
    No,
    /// Without a certificate, which its hash and names can't stand for.
    Without,
    With(String),
}

/// Reads Envoy's form: `Hash=…;Cert="…";Chain="…"`.
fn envoy(value: &str) -> Result<Envoy, &'static str> {
    let first = value.split('=').next().unwrap_or_default();
    if !ENVOY_KEYS.iter().any(|key| key.eq_ignore_ascii_case(first)) {
        return Ok(Envoy::No);
    }
    let (mut certificate, mut chain) = (None, None);
    let mut rest = value;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("a key has no value")?;
        let (text, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find([';', ',']).unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        let found = match key.trim() {
            key if key.eq_ignore_ascii_case("Cert") => Some(&mut certificate),
            key if key.eq_ignore_ascii_case("Chain") => Some(&mut chain),
            _ => None,
        };
        if found.is_some_and(|found| found.replace(text).is_some()) {
            return Err("a key stands twice");
        }
        rest = match after.as_bytes() {
            [] => "",
            [b';', ..] => &after[1..],
            // An element for each proxy on the way: only what our own proxy saw counts, and it is
            // to set the header, not to add to it.
            _ => return Err("it was not set by one proxy alone"),
        };
    }
    Ok(match chain.or(certificate) {
        Some(encoded) if !encoded.is_empty() => Envoy::With(encoded),
        _ => Envoy::Without,
    })
}

/// A quoted text up to its end, and what follows.
fn unquote(quoted: &str) -> Result<(String, &str), &'static str> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((text, &quoted[at + 1..])),
            '\\' => text.extend(chars.next().map(|(_, c)| c)),
            c => text.push(c),
        }
    }
    Err("a quote is not closed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tls::testing::Ca;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    #[test]
    fn what_proxies_write() {
        let ca = Ca::new("Acme");
        let leaf = ca.issue("0000CA-Router-0001", &[]);
        let pem = leaf.cert.pem();
        let (leaf, root) = (leaf.cert.der().clone(), ca.certificate.der().clone());
        let escaped = utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string();
        let base64 = STANDARD.encode(&leaf);
        let traefik = utf8_percent_encode(&base64, NON_ALPHANUMERIC).to_string();
        for value in [
            escaped.clone(),
            pem.replace('\n', " "),
            base64.clone(),
            traefik,
            format!("Hash=00;Cert=\"{escaped}\";Subject=\"CN=a\\\"b,O=c\";URI=x"),
            format!("By=x;Cert={escaped}"),
        ] {
            assert_eq!(
                chain(&value).unwrap(),
                std::slice::from_ref(&leaf),
                "{value}"
            );
        }
        let both = [leaf.clone(), root.clone()];
        let roots = STANDARD.encode(&root);
        assert_eq!(chain(&format!("{base64},{roots}")).unwrap(), both);
        let joined = STANDARD.encode([leaf.as_ref(), root.as_ref()].concat());
        assert_eq!(chain(&joined).unwrap(), both);
        let root_pem = utf8_percent_encode(&ca.certificate.pem(), NON_ALPHANUMERIC).to_string();
        let envoy = format!("Hash=00;Cert=\"{escaped}\";Chain=\"{escaped}{root_pem}\"");
        assert_eq!(chain(&envoy).unwrap(), both);
        assert!(chain("").unwrap().is_empty());
        assert!(chain("Hash=00;Subject=\"\"").unwrap().is_empty());
        let nine = [base64.as_str(); 9].join(",");
        for bad in [
            "x",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN CERTIFICATE----- AAAA -----END CERTIFICATE-----",
            "Cert=\"x",
            "%FF",
            &nine,
            &format!("Cert={escaped},Cert={escaped}"),
            &format!("Cert={escaped};Cert={escaped}"),
            &base64[..base64.len() - 3],
        ] {
            assert!(chain(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused(value in "(Cert=|Chain=\"|-----BEGIN CERTIFICATE-----|MII)?[ -~]{0,80}") {
            let _ = chain(&value);
        }
    }
}
