#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn v1(line: &str) -> Result<Parsed, ProxyError> {
    parse(format!("{line}\r\n").as_bytes())
}

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(value);
    bytes
}

const IPV4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0x1d, 0x7b];

/// Reads as a connection does, from a stream with more after the header.
async fn from_stream(header: &[u8]) -> (Result<ProxyHeader, ProxyError>, Vec<u8>) {
    let mut bytes = header.to_vec();
    bytes.extend(b"POST / HTTP/1.1\r\n\r\n");
    let mut stream = bytes.as_slice();
    let read = receive(&mut stream, Duration::from_secs(1)).await;
    (read, stream.to_vec())
}

#[test]
fn version_1() {
    let source = |line: &str| match v1(line).unwrap() {
        Parsed::Done(header) => header.source.map(|source| source.to_string()),
        Parsed::Needs(_) => panic!("{line}"),
    };
    let four = source("PROXY TCP4 192.0.2.7 198.51.100.1 8080 7547");
    assert_eq!(four.as_deref(), Some("192.0.2.7:8080"));
    let six = source("PROXY TCP6 2001:db8::7 2001:db8::1 8080 7547");
    assert_eq!(six.as_deref(), Some("[2001:db8::7]:8080"));
    assert_eq!(source("PROXY UNKNOWN"), None);
    assert_eq!(source("PROXY UNKNOWN ffff::1 ffff::2 1 2"), None);
    for bad in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 8080",
        "PROXY TCP4 192.0.2.7 198.51.100.1 8080 7547 x",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +8080 7547",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 7547",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2",
        "PROXY  TCP4 192.0.2.7 198.51.100.1 1 2",
        "PROXY TCP4 192.0.2.7\n198.51.100.1 1 2",
    ] {
        assert!(matches!(v1(bad), Err(ProxyError::Malformed(_))), "{bad}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(100));
    assert_eq!(v1(&long), Err(ProxyError::TooLong));
    assert_eq!(
        parse(format!("PROXY UNKNOWN {}", "x".repeat(93)).as_bytes()),
        Err(ProxyError::TooLong)
    );
}

#[test]
fn version_2_with_what_a_proxy_says_of_tls() {
    let mut tls = vec![0x07, 0, 0, 0, 0];
    tls.extend(tlv(0x21, b"TLSv1.0"));
    tls.extend(tlv(0x22, b"0000CA-Router-0001"));
    let mut payload = IPV4.to_vec();
    payload.extend(tlv(0x02, b"acs.example"));
    payload.extend(tlv(0x20, &tls));
    payload.extend(tlv(0xe0, b"anything"));
    let Parsed::Done(header) = parse(&v2(0x21, 0x11, &payload)).unwrap() else {
        panic!("not whole");
    };
    assert_eq!(header.source, Some("192.0.2.7:8080".parse().unwrap()));
    assert_eq!(header.authority.as_deref(), Some("acs.example"));
    let told = header.tls.unwrap();
    assert!(told.verified);
    assert_eq!(told.common_name.as_deref(), Some("0000CA-Router-0001"));
    // Not verified: no certificate, or a bad one.
    for (client, result) in [(0x01, 0), (0x07, 1)] {
        let tls = parse_tls(&[client, 0, 0, 0, result]).unwrap();
        assert!(!tls.verified);
    }
}

#[test]
fn version_2_without_an_address() {
    let nothing = Parsed::Done(ProxyHeader::default());
    assert_eq!(parse(&v2(0x20, 0x00, b"")).unwrap(), nothing, "LOCAL");
    assert_eq!(parse(&v2(0x20, 0x11, b"junk")).unwrap(), nothing, "LOCAL");
    assert_eq!(parse(&v2(0x21, 0x00, b"junk")).unwrap(), nothing);
    for (command, family, payload) in [
        (0x22, 0x11, &IPV4[..]),
        (0x11, 0x11, &IPV4[..]),
        (0x21, 0x12, &IPV4[..]),
        (0x21, 0x31, &IPV4[..]),
        (0x21, 0x11, &IPV4[..11]),
        (0x21, 0x21, &IPV4[..]),
    ] {
        let parsed = parse(&v2(command, family, payload));
        assert!(
            matches!(parsed, Err(ProxyError::Malformed(_))),
            "{command:x} {family:x}"
        );
    }
    for cut in [&[0x20, 0][..], &[0x20, 0, 9, 1], &[0x02, 0, 1, b'\n']] {
        let payload = [&IPV4[..], cut].concat();
        let parsed = parse(&v2(0x21, 0x11, &payload));
        assert!(matches!(parsed, Err(ProxyError::Malformed(_))), "{cut:?}");
    }
    let mut long = SIGNATURE.to_vec();
    long.extend([0x21, 0x11, 0xff, 0xff]);
    assert_eq!(parse(&long), Err(ProxyError::TooLong));
}

#[tokio::test]
async fn nothing_after_the_header_is_taken() {
    let rest = b"POST / HTTP/1.1\r\n\r\n";
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n".to_vec(),
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 23\r\n".to_vec(),
        v2(0x21, 0x11, &IPV4),
        v2(0x20, 0x00, b""),
    ] {
        let (read, left) = from_stream(&header).await;
        assert!(read.is_ok(), "{read:?}");
        assert_eq!(left, rest);
    }
    let (read, _) = from_stream(b"").await;
    assert_eq!(read, Err(ProxyError::Missing));
    let mut short = &b"PROXY TCP4 1.2.3.4"[..];
    let read = receive(&mut short, Duration::from_secs(1)).await;
    assert_eq!(read, Err(ProxyError::Disconnected));
}

#[tokio::test(start_paused = true)]
async fn a_header_has_its_time() {
    let (_held, mut stream) = tokio::io::duplex(64);
    let read = receive(&mut stream, Duration::from_secs(3)).await;
    assert_eq!(read, Err(ProxyError::Timeout));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        version in 0..3usize,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let begin: &[u8] = [&b""[..], b"PROXY TCP4 ", &SIGNATURE][version];
        let bytes = [begin, &bytes].concat();
        // Fed as asked for, it ends: each step takes at least one byte, and no more than the limit.
        let mut had = SIGNATURE.len().min(bytes.len());
        while let Ok(Parsed::Needs(more)) = parse(&bytes[..had]) {
            prop_assert!(more > 0 && had + more <= MAX_V2.max(MAX_V1 + 2));
            if had + more > bytes.len() {
                break;
            }
            had += more;
        }
    }

    #[test]
    fn what_is_written_is_read(
        address in any::<[u8; 16]>(),
        port in any::<u16>(),
        name in "[a-z0-9.-]{1,40}",
        unknown in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let source = SocketAddr::from((Ipv6Addr::from(address), port));
        let mut payload = address.to_vec();
        payload.extend([0; 16]);
        payload.extend(port.to_be_bytes());
        payload.extend([0, 0]);
        payload.extend(tlv(0xea, &unknown));
        payload.extend(tlv(0x02, name.as_bytes()));
        let parsed = parse(&v2(0x21, 0x21, &payload)).unwrap();
        let expected = ProxyHeader { source: Some(source), authority: Some(name), tls: None };
        prop_assert_eq!(parsed, Parsed::Done(expected));
        let line = format!("PROXY TCP6 {} :: {port} 1", source.ip());
        // The text of a mapped IPv4 address holds dots, and reads as IPv6 all the same.
        let Parsed::Done(header) = v1(&line).unwrap() else { panic!("{line}") };
        prop_assert_eq!(header.source, Some(source));
    }
}
