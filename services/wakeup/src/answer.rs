//! Reads what a device's HTTP server answers. Those servers are small and many
//! are wrong: bare line feeds, folded headers, no final blank line, no length.
//! Nothing but the status and the challenge is needed, so that is all that is
//! read.

/// The part of an answer that matters.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Every WWW-Authenticate header, unfolded.
    pub challenges: Vec<String>,
}

/// Whether `received` holds a whole head, so that reading may stop.
pub fn head_is_complete(received: &[u8]) -> bool {
    received.windows(4).any(|w| w == b"\r\n\r\n") || received.windows(2).any(|w| w == b"\n\n")
}

/// Reads an answer, whole or cut off by the end of the connection. `None` when
/// there is not even a status line.
pub fn parse(received: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(received);
    let mut lines = text.lines();
    let status = lines
        .by_ref()
        .find(|line| !line.trim().is_empty())
        .and_then(status_of)?;
    let mut challenges: Vec<String> = Vec::new();
    let mut in_challenge = false;
    for line in lines {
        if line.trim().is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            if let (true, Some(challenge)) = (in_challenge, challenges.last_mut()) {
                challenge.push(' ');
                challenge.push_str(line.trim());
            }
            continue;
        }
        in_challenge = false;
        if let Some((name, value)) = line.split_once(':')
            && name.trim().eq_ignore_ascii_case("www-authenticate")
        {
            challenges.push(value.trim().to_owned());
            in_challenge = true;
        }
    }
    Some(Answer { status, challenges })
}

fn status_of(line: &str) -> Option<u16> {
    let rest = line.trim().strip_prefix("HTTP/")?;
    let code = rest.split_whitespace().nth(1)?;
    code.parse().ok().filter(|code| (100..600).contains(code))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_proper_answer() {
        let bytes = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", nonce=\"n\"\r\nContent-Length: 0\r\n\r\n";
        assert!(head_is_complete(bytes));
        let answer = parse(bytes).unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.challenges, ["Digest realm=\"r\", nonce=\"n\""]);
    }

    /// As real CPEs answer: bare LF, a folded header, no length, no final blank line.
    #[test]
    fn a_broken_answer() {
        let bytes = b"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Digest realm=\"r\",\n\tnonce=\"n\",\n  qop=\"auth\"\nServer: tiny";
        assert!(!head_is_complete(bytes));
        let answer = parse(bytes).unwrap();
        assert_eq!(
            answer.challenges,
            ["Digest realm=\"r\", nonce=\"n\", qop=\"auth\""]
        );
    }

    #[test]
    fn a_status_line_alone_and_nothing_at_all() {
        assert_eq!(parse(b"HTTP/1.0 204").unwrap().status, 204);
        for bad in [
            &b""[..],
            b"\r\n",
            b"hello",
            b"HTTP/1.1",
            b"HTTP/1.1 abc",
            b"HTTP/1.1 9999",
        ] {
            assert_eq!(parse(bad), None);
        }
    }
}
