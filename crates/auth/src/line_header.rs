//! The header by which a proxy of the operator says on which line a device is:
//! `t=UNIX-SECONDS; line="LINE"; sig=HEX`, HEX being HMAC-SHA256 over time, tenant and line.

use aws_lc_rs::hmac;
use hearth_types::TenantId;
use secrecy::{ExposeSecret, SecretString};

/// Why a header doesn't count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineHeaderError {
    /// Not of the form above.
    #[error("the line header is not `t=UNIX-SECONDS; line=\"LINE\"; sig=HEX`")]
    Malformed,
    /// Its time is too far from now: it may be a repetition.
    #[error("the line header's time is outside its window")]
    Time,
    /// Not signed with the secret, or for another tenant.
    #[error("the line header's signature is wrong")]
    Signature,
}

fn message(time: i64, tenant: &TenantId, line: &str) -> Vec<u8> {
    format!("{time}\n{tenant}\n{line}").into_bytes()
}

fn key(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())
}

/// The header's value for a line, as the proxy makes it. `time` in seconds since the epoch.
#[must_use]
pub fn sign(secret: &SecretString, tenant: &TenantId, line: &str, time: i64) -> String {
    let signature = hmac::sign(&key(secret), &message(time, tenant, line));
    let hex: String = signature
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={time}; line=\"{line}\"; sig={hex}")
}

/// The line that a header's value proves. `now` and `window` in seconds.
///
/// # Errors
/// [`LineHeaderError`].
pub fn verify<'a>(
    secret: &SecretString,
    tenant: &TenantId,
    value: &'a str,
    now: i64,
    window: u32,
) -> Result<&'a str, LineHeaderError> {
    let (time, line, signature) = parts(value).ok_or(LineHeaderError::Malformed)?;
    hmac::verify(&key(secret), &message(time, tenant, line), &signature)
        .map_err(|_| LineHeaderError::Signature)?;
    match now.abs_diff(time) <= u64::from(window) {
        true => Ok(line),
        false => Err(LineHeaderError::Time),
    }
}

fn parts(value: &str) -> Option<(i64, &str, Vec<u8>)> {
    let rest = value.trim().strip_prefix("t=")?;
    let (time, rest) = rest.split_once(';')?;
    let rest = rest.trim_start().strip_prefix("line=\"")?;
    // A line's name may hold quotes and semicolons: what is last counts.
    let (line, rest) = rest.rsplit_once('"')?;
    let hex = rest.strip_prefix(';')?.trim().strip_prefix("sig=")?;
    let digits = hex.as_bytes();
    if line.is_empty() || digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let signature = digits.chunks_exact(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    Some((
        time.trim().parse().ok()?,
        line,
        signature.collect::<Option<_>>()?,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_signed_line_counts_in_its_window_and_tenant_only() {
        let secret = SecretString::from("0123456789abcdef".to_owned());
        let tenant = TenantId::default();
        let value = sign(&secret, &tenant, "dslam7 \"a\"; 0/3", 1000);
        let check = |value: &str, now| verify(&secret, &tenant, value, now, 60).map(str::to_owned);
        for now in [940, 1000, 1060] {
            assert_eq!(check(&value, now).unwrap(), "dslam7 \"a\"; 0/3");
        }
        for now in [939, 1061] {
            assert_eq!(check(&value, now), Err(LineHeaderError::Time));
        }
        let later = value.replacen("1000", "1001", 1);
        assert_eq!(check(&later, 1000), Err(LineHeaderError::Signature));
        let other = value.replacen("0/3", "0/4", 1);
        assert_eq!(check(&other, 1000), Err(LineHeaderError::Signature));
        let isp = "isp".parse().unwrap();
        let foreign = verify(&secret, &isp, &value, 1000, 60);
        assert_eq!(foreign, Err(LineHeaderError::Signature));
        let wrong = SecretString::from("another secret !".to_owned());
        let wrong = verify(&wrong, &tenant, &value, 1000, 60);
        assert_eq!(wrong, Err(LineHeaderError::Signature));
        for bad in [
            "",
            "t=1; line=\"\"; sig=00",
            "t=x; line=\"a\"; sig=",
            "line=\"a\"; t=1",
        ] {
            assert_eq!(check(bad, 1000), Err(LineHeaderError::Malformed), "{bad}");
        }
    }

    #[test]
    fn the_signature_is_what_openssl_makes() {
        // printf '1000\ndefault\na' | openssl dgst -sha256 -hmac 0123456789abcdef
        let secret = SecretString::from("0123456789abcdef".to_owned());
        let value = sign(&secret, &TenantId::default(), "a", 1000);
        assert!(value.ends_with(OPENSSL), "{value}");
    }

    const OPENSSL: &str = "9eff218e9a4c6f1ff0a214b8d7c4a35bcf41d7538b84ea2b1a219f289f68f50c";
}
