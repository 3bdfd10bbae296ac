//! Which addresses may be asked. The URL comes from the device, so that
//! without a guard anyone with a device's credential could make this server
//! send requests into networks of the operator.

use crate::WakeupConfig;
use http::Uri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A connection-request URL that can be asked, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Host as it goes into the Host header.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
    /// Whether it is HTTPS.
    pub secure: bool,
}

/// Why a URL is not asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a URL of the form that is needed.
    #[error("the device's address can't be used: {0}")]
    Url(&'static str),
    /// Its address is not allowed.
    #[error("{0} is not in a range that `wakeup.allow` holds, or is never asked")]
    Address(IpAddr),
}

impl Target {
    /// Takes a ConnectionRequestURL apart.
    pub fn parse(url: &str) -> Result<Self, Refused> {
        let uri: Uri = url
            .trim()
            .parse()
            .map_err(|_| Refused::Url("it is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(Refused::Url("it is no http or https URL")),
        };
        let authority = uri.authority().ok_or(Refused::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(Refused::Url("it has a user name in it"));
        }
        Ok(Self {
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(standard_port(secure)),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
            secure,
        })
    }

    /// The value of the Host header.
    pub fn host_header(&self) -> String {
        if self.port == standard_port(self.secure) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The addresses of the host, every one of them allowed. Connecting to one
    /// of these, and not to the name again, leaves a changing DNS answer no
    /// way around the guard.
    pub async fn resolve(&self, config: &WakeupConfig) -> Result<Vec<SocketAddr>, Refused> {
        resolve(&self.host, self.port, config).await
    }

    /// The host without the brackets of an IPv6 address.
    pub fn bare_host(&self) -> &str {
        bare(&self.host)
    }
}

const fn standard_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

async fn resolve(host: &str, port: u16, config: &WakeupConfig) -> Result<Vec<SocketAddr>, Refused> {
    let host = bare(host);
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|_| Refused::Url("its host name is not known"))?
            .collect(),
    };
    match addresses
        .iter()
        .find(|address| !allowed(address.ip(), config))
    {
        Some(address) => Err(Refused::Address(address.ip())),
        None if addresses.is_empty() => Err(Refused::Url("its host name has no address")),
        None => Ok(addresses),
    }
}

/// The addresses of a UDPConnectionRequestAddress, `host:port` or `host` (port 80), every one of
/// them allowed.
pub async fn resolve_authority(
    text: &str,
    config: &WakeupConfig,
) -> Result<Vec<SocketAddr>, Refused> {
    let authority: http::uri::Authority = text
        .trim()
        .parse()
        .map_err(|_| Refused::Url("its UDPConnectionRequestAddress is no host and port"))?;
    let port = authority.port_u16().unwrap_or(80);
    if authority.as_str().contains('@') || port == 0 {
        return Err(Refused::Url(
            "its UDPConnectionRequestAddress has no usable port",
        ));
    }
    resolve(authority.host(), port, config).await
}

/// The IPv4 address that a translator or a tunnel makes of an IPv6 one: NAT64 (RFC 6052), 6to4
/// (RFC 3056), and the compatible form of old (RFC 4291 2.5.5.1).
fn translated(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b, c, d] = v6.octets();
    match v6.segments() {
        _ if v6.is_loopback() || v6.is_unspecified() => None,
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0, 0, _, _] => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        [0x2002, ..] => {
            let [_, _, a, b, c, d, ..] = v6.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

/// Whether an address may be asked.
pub fn allowed(ip: IpAddr, config: &WakeupConfig) -> bool {
    // An IPv4 address in IPv6 clothes is judged as what it is.
    let ip = ip.to_canonical();
    if let IpAddr::V6(v6) = ip
        && let Some(v4) = translated(v6)
        && !allowed(IpAddr::V4(v4), config)
    {
        return false;
    }
    if ip.is_loopback() {
        return config.allow_loopback;
    }
    let never = match ip {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_broadcast() || v4.is_multicast() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_multicast() || v6.is_unspecified(),
    };
    !never && config.allow.contains(ip) && !config.deny.contains(ip)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hearth_config::CidrList;

    fn check(url: &str, config: &WakeupConfig) -> Result<(), Refused> {
        let target = Target::parse(url)?;
        let ip: IpAddr = target.host.trim_matches(['[', ']']).parse().unwrap();
        if allowed(ip, config) {
            Ok(())
        } else {
            Err(Refused::Address(ip))
        }
    }

    #[test]
    fn device_addresses_pass_and_others_do_not() {
        let config = WakeupConfig::default();
        for good in [
            "http://10.0.0.5:7547/x",
            "http://203.0.113.9/",
            "http://[2001:db8::1]:80/a",
            "http://[64:ff9b::cb00:7109]/",
        ] {
            assert_eq!(check(good, &config), Ok(()), "{good}");
        }
        for bad in [
            "http://127.0.0.1:7547/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://0.1.2.3/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::1]/",
            "http://[::127.0.0.1]/",
        ] {
            assert!(
                matches!(check(bad, &config), Err(Refused::Address(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn ranges_narrow_it() {
        let config = WakeupConfig {
            allow: CidrList(vec!["10.0.0.0/8".parse().unwrap()]),
            deny: CidrList(vec!["10.96.0.0/12".parse().unwrap()]),
            ..WakeupConfig::default()
        };
        assert!(check("http://10.1.2.3/", &config).is_ok());
        assert!(check("http://10.96.0.1/", &config).is_err());
        assert!(check("http://192.0.2.1/", &config).is_err());
        let all = WakeupConfig {
            deny: config.deny,
            ..WakeupConfig::default()
        };
        assert!(check("http://[64:ff9b::a60:1]/", &all).is_err());
    }

    #[test]
    fn urls_are_taken_apart() {
        let secure = Target::parse("https://[2001:db8::1]/a").unwrap();
        assert!(secure.secure);
        assert_eq!((secure.port, secure.bare_host()), (443, "2001:db8::1"));
        assert_eq!(secure.host_header(), "[2001:db8::1]");
        let target = Target::parse("http://10.0.0.5:7547/a1b2?x=1").unwrap();
        assert_eq!(target.host_header(), "10.0.0.5:7547");
        assert_eq!(target.path, "/a1b2?x=1");
        for bad in [
            "",
            "ftp://10.0.0.1/",
            "file:///etc/passwd",
            "gopher://10.0.0.1/",
            "http://u:p@10.0.0.1/",
            "/x",
            // What would be more than a request line.
            "http://10.0.0.1/ HTTP/1.1\r\nX: y",
            "http://10.0.0.1/a\nb",
            "http://10.0.0.1\r\n.example/",
            "http://10.0.0.1/a\0b",
        ] {
            assert!(matches!(Target::parse(bad), Err(Refused::Url(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let target = Target::parse("http://localhost:1/").unwrap();
        let refused = target.resolve(&WakeupConfig::default()).await.unwrap_err();
        assert!(matches!(refused, Refused::Address(_) | Refused::Url(_)));
    }
}
