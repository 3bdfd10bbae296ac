//! Requests within requests: framing that two readers may read in two ways (RFC 9112 6 and 11.2).

use crate::support::client::basic;
use crate::support::house;
use crate::support::xml::inform;

/// Whatever hides a second request in a first: never are two answered where one was meant.
#[tokio::test]
async fn smuggled_requests_are_not_answered() {
    let house = house().await;
    let (auth, body) = (basic(), inform());
    let length = body.len();
    let hidden = format!(
        "POST /t/other HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: {length}\r\n\r\n{body}"
    );
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    // Refused before anybody looks at them.
    let refused = [
        (
            "two lengths",
            format!(
                "{post}{auth}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
        (
            "two lengths in one",
            format!(
                "{post}{auth}Content-Length: 0, {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
        (
            "a signed length",
            format!("{post}{auth}Content-Length: +{length}\r\n\r\n{body}{hidden}"),
        ),
        (
            "a length in hex",
            format!("{post}{auth}Content-Length: 0x10\r\n\r\n{hidden}"),
        ),
        (
            "a negative length",
            format!("{post}{auth}Content-Length: -1\r\n\r\n{hidden}"),
        ),
        (
            "a length beyond all numbers",
            format!("{post}{auth}Content-Length: 99999999999999999999\r\n\r\n{hidden}"),
        ),
        (
            "a folded header",
            format!("{post}{auth}X: a\r\n Content-Length: 5\r\n\r\n{hidden}"),
        ),
        (
            "a folded coding",
            format!("{post}{auth}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a blank before the colon",
            format!("{post}{auth}Content-Length : 0\r\n\r\n{hidden}"),
        ),
        (
            "a coding that isn't the last",
            format!("{post}{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "an unknown coding",
            format!("{post}{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "chunks in HTTP/1.0",
            format!("POST / HTTP/1.0\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a NUL in a header",
            format!("{post}{auth}X: a\0b\r\nContent-Length: 0\r\n\r\n{hidden}"),
        ),
        (
            "a bare CR in a header",
            format!("{post}{auth}X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "another version",
            format!("POST / HTTP/3.7\r\nHost: a\r\n{auth}Content-Length: 0\r\n\r\n{hidden}"),
        ),
    ];
    let mut number = 0.0;
    for (what, bytes) in refused {
        let mut cpe = house.connect().await;
        cpe.write(bytes).await;
        assert_eq!(cpe.answer().await.status, 400, "{what}");
        assert!(cpe.is_closed().await, "{what}");
        number += 1.0;
        house
            .until("hearth_gateway_requests_malformed_total", number)
            .await;
    }
    assert!(house.bus.published.lock().is_empty());
}

/// RFC 9112 6.1 and 6.3: the coding counts, and the connection ends after the answer.
#[tokio::test]
async fn a_length_beside_a_coding_ends_the_connection() {
    let (auth, body) = (basic(), inform());
    let hidden = format!(
        "POST /t/other HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for headers in [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
            chunked.len()
        ),
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".to_owned(),
    ] {
        let house = house().await;
        let mut cpe = house.connect().await;
        cpe.write(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{auth}{headers}\r\n{chunked}{hidden}"
        ))
        .await;
        let answer = cpe.answer().await;
        assert_eq!(answer.status, 200, "{headers}");
        assert!(cpe.is_closed().await, "{headers}");
        let tenants: Vec<String> = house
            .bus
            .published
            .lock()
            .iter()
            .map(|(_, _, event)| event.tenant.clone())
            .collect();
        assert_eq!(tenants, ["default"], "{headers}");
    }
}

/// Chunks that lie about their size, or have line ends of their own.
#[tokio::test]
async fn broken_chunks_are_refused() {
    let house = house().await;
    for chunks in [
        "zz\r\n<a>\r\n0\r\n\r\n",
        "-1\r\n",
        "3\r\n<a>4\r\n",
        "fffffffffffffffff\r\n",
        "3\n<a>\n0\n\n",
    ] {
        let mut cpe = house.connect().await;
        cpe.write(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n{chunks}",
            basic()
        ))
        .await;
        assert_eq!(cpe.answer().await.status, 400, "{chunks:?}");
        assert!(cpe.is_closed().await, "{chunks:?}");
    }
    let line = "hearth_gateway_refused_total{reason=\"disconnected\",status=\"400\"}";
    assert_eq!(house.metric(line), 5.0);
}

/// Old HTTP stacks end lines with LF alone, which RFC 9112 2.2 lets a server take. It is one request
/// all the same, and an absolute target names no other tenant than its path does.
#[tokio::test]
async fn bare_line_feeds_and_absolute_targets_are_one_request() {
    let house = house().await;
    let (auth, body) = (basic().replace('\r', ""), inform());
    let mut cpe = house.connect().await;
    cpe.write(format!(
        "POST / HTTP/1.1\nHost: a\n{auth}Content-Length: {}\n\n{body}",
        body.len()
    ))
    .await;
    assert_eq!(cpe.answer().await.status, 200);
    for (target, status, tenant) in [
        ("http://acs.example/t/isp-1", 200, "isp-1"),
        ("http://elsewhere.example:99/", 200, "default"),
        ("http://a@b/t/../t/isp-2", 404, ""),
        ("*", 404, ""),
    ] {
        let answer = house
            .connect()
            .await
            .post_to(target, &basic(), inform())
            .await;
        assert_eq!(answer.status, status, "{target}");
        if status == 200 {
            assert_eq!(house.bus.last().2.tenant, tenant, "{target}");
        }
    }
}
