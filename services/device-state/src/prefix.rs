//! Prefixes of addresses, as people write them.

use std::net::IpAddr;

use ipnet::IpNet;

/// An address or a network; an address stands for itself alone. IPv4 addresses written as IPv6 ones
/// are IPv4 addresses.
///
/// # Errors
/// What was expected.
pub fn parse(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let net = text
        .parse::<IpNet>()
        .map_err(|_| "expected an address or a network: 192.0.2.7, 192.0.2.0/24, 2001:db8::/56")?;
    if net.prefix_len() == 0 {
        return Err("a network of all addresses stands for nothing".to_owned());
    }
    if net.trunc() != net {
        return Err(format!(
            "has bits beyond its length; {} may be meant",
            net.trunc()
        ));
    }
    Ok(net)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prefixes_are_read_as_people_write_them() {
        for (text, prefix) in [
            ("192.0.2.7", "192.0.2.7/32"),
            (" 192.0.2.0/24 ", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::/56", "2001:db8::/56"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), prefix);
        }
        for bad in ["", "x", "192.0.2.1/24", "0.0.0.0/0", "192.0.2.0/33"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
