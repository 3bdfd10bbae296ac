#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn servers_get_a_scheme_and_lose_a_slash() {
    let good = |text: &str| checked_server(text.into()).unwrap();
    assert_eq!(good("10.0.0.1:8080"), "http://10.0.0.1:8080");
    assert_eq!(good("https://acs.example.net/"), "https://acs.example.net");
    for bad in ["ftp://x", "http://", "https:///"] {
        assert!(checked_server(bad.into()).is_err(), "{bad}");
    }
}

#[test]
fn local_is_this_machine_only() {
    for local in [
        "http://127.0.0.1:1",
        "http://localhost",
        "http://[::1]:8080",
        "http://127.9.9.9",
    ] {
        assert!(is_local(local), "{local}");
    }
    for other in [
        "http://10.0.0.1:1",
        "http://localhost.example.net",
        "https://127.0.0.1.example",
    ] {
        assert!(!is_local(other), "{other}");
    }
}
