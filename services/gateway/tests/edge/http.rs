//! HTTP as CPEs speak and misspeak it (TR-069 3.4).

use std::io::Write as _;
use std::time::Duration;

use hearth_config::{ByteSize, HumanDuration};
use hearth_gateway::GatewayConfig;

use crate::support::client::basic;
use crate::support::xml::{self, inform};
use crate::support::{house, house_with};

#[tokio::test]
async fn only_posts_to_acs_urls_are_served() {
    let house = house().await;
    for method in ["GET", "PUT", "HEAD", "DELETE", "PROPFIND"] {
        let mut cpe = house.connect().await;
        cpe.write(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        if method == "HEAD" {
            continue;
        }
        let answer = cpe.answer().await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("Allow"), Some("POST"));
    }
    for path in ["/nowhere", "/t/", "/t/UPPER", "/acs/x"] {
        let answer = house
            .connect()
            .await
            .post_to(path, &basic(), inform())
            .await;
        assert_eq!(answer.status, 404, "{path}");
    }
    assert!(house.metric("hearth_gateway_refused_total{reason=\"path\",status=\"404\"}") >= 4.0);
    assert!(house.bus.published.lock().is_empty());
}

#[tokio::test]
async fn the_path_names_the_tenant() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let answer = cpe.post_to("/t/isp-1", &basic(), inform()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(house.bus.last().2.tenant, "isp-1");
    // Another tenant's cookie is none.
    let cookie = format!("Cookie: {}\r\n", answer.cookie());
    assert_eq!(cpe.post_to("/", &cookie, "").await.status, 401);
    let answer = cpe.post_to("/t/isp-1", &cookie, "").await;
    assert_eq!(answer.status, 204, "its own goes on");
    let answer = cpe.post_to("/acs", &basic(), inform()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(house.bus.last().2.tenant, "default");
}

#[tokio::test]
async fn headers_are_written_in_title_case() {
    let house = house().await;
    let answer = house.connect().await.post(&basic(), inform()).await;
    for line in [
        "Content-Type: text/xml; charset=utf-8",
        "Content-Length: ",
        "Set-Cookie: hs=",
    ] {
        assert!(answer.head.contains(line), "{}", answer.head);
    }
    let challenged = house.connect().await.post("", inform()).await;
    assert!(
        challenged.head.contains("Www-Authenticate: Digest realm="),
        "{}",
        challenged.head
    );
}

#[tokio::test]
async fn bodies_may_be_chunked_and_announced() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let body = inform();
    let (a, b) = body.split_at(100);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        basic()
    );
    cpe.write(head).await;
    cpe.write(format!("{:x}\r\n{a}\r\n", a.len())).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    cpe.write(format!("{:X};ext=1\r\n{b}\r\n0\r\n\r\n", b.len()))
        .await;
    let answer = cpe.answer().await;
    assert_eq!(answer.status, 200);

    // An empty chunked body is an empty POST.
    let cookie = answer.cookie();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    cpe.write(head).await;
    assert_eq!(cpe.answer().await.status, 204);

    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        basic(),
        body.len()
    );
    cpe.write(head).await;
    assert_eq!(cpe.answer().await.status, 100);
    cpe.write(&body).await;
    assert_eq!(cpe.answer().await.status, 200);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let body = inform();
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.0\r\n{}Content-Length: {length}\r\n\r\n",
        basic()
    );
    cpe.write(format!("{head}{body}")).await;
    let answer = cpe.answer().await;
    assert_eq!(answer.status, 200);
    assert!(cpe.is_closed().await);
    assert_eq!(
        house
            .connect()
            .await
            .turn(&answer.cookie(), "")
            .await
            .status,
        204
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn bodies_may_be_packed() {
    let house = house().await;
    let headers = format!("{}Content-Encoding: gzip\r\n", basic());
    let mut cpe = house.connect().await;
    assert_eq!(
        cpe.post(&headers, gzip(inform().as_bytes())).await.status,
        200
    );
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(inform().as_bytes()).unwrap();
    let headers = format!("{}Content-Encoding: deflate\r\n", basic());
    assert_eq!(cpe.post(&headers, zlib.finish().unwrap()).await.status, 200);

    for (coding, body, status) in [
        ("br", inform().into_bytes(), 415),
        ("gzip, gzip", gzip(&gzip(inform().as_bytes())), 415),
        ("gzip", inform().into_bytes(), 400),
        // 64 MiB of blanks in 64 KiB.
        ("gzip", gzip(&vec![b' '; 64 << 20]), 413),
    ] {
        let headers = format!("{}Content-Encoding: {coding}\r\n", basic());
        let answer = house.connect().await.post(&headers, body).await;
        assert_eq!(answer.status, status, "{coding}");
        assert!(answer.closes());
    }
    assert_eq!(house.metric("hearth_gateway_body_bytes_in_flight"), 0.0);
    assert_eq!(house.metric("hearth_gateway_informs_in_flight"), 0.0);
}

#[tokio::test]
async fn large_and_slow_bodies_are_refused() {
    let house = house_with(GatewayConfig {
        max_body: ByteSize::kib(8),
        body_timeout: HumanDuration::millis(200),
        ..GatewayConfig::default()
    })
    .await;
    let answer = house.connect().await.post(&basic(), vec![b' '; 9000]).await;
    assert_eq!(answer.status, 413);
    // Announced too large: refused before the body is sent.
    let mut cpe = house.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: 99999999\r\n\r\n",
        basic()
    );
    cpe.write(head).await;
    let answer = cpe.answer().await;
    assert_eq!(answer.status, 413);
    assert!(cpe.is_closed().await);
    // Half of it, and then nothing.
    let mut cpe = house.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: 500\r\n\r\n<soap",
        basic()
    );
    cpe.write(head).await;
    assert_eq!(cpe.answer().await.status, 408);
    assert!(cpe.is_closed().await);
    assert_eq!(house.metric("hearth_gateway_body_bytes_in_flight"), 0.0);
}

#[tokio::test]
async fn a_strangers_body_is_not_kept() {
    let house = house().await;
    let mut cpe = house.connect().await;
    let answer = cpe.post("", vec![b'x'; 20_000]).await;
    assert_eq!(answer.status, 401);
    assert!(
        !answer.closes(),
        "the answer to the challenge comes on this connection"
    );
    assert_eq!(cpe.post(&basic(), inform()).await.status, 200);
    let mut cpe = house.connect().await;
    cpe.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        .await;
    let answer = cpe.answer().await;
    assert_eq!(answer.status, 401);
    assert!(answer.closes() && cpe.is_closed().await);
}

#[tokio::test]
async fn what_is_no_envelope_is_400_and_the_end_of_the_connection() {
    let house = house().await;
    for body in [
        &b"hello"[..],
        b"<a/>",
        b"<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
        b"\x00\x01\x02",
        b"<soap:Envelope xmlns:soap=\"s\"><soap:Body><cwmp:Inform>",
    ] {
        let mut cpe = house.connect().await;
        let answer = cpe.post(&basic(), body).await;
        assert_eq!(answer.status, 400, "{:?}", String::from_utf8_lossy(body));
        assert!(answer.closes());
        assert!(cpe.is_closed().await);
    }
    let mut cpe = house.connect().await;
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(cpe.post(&basic(), deep).await.status, 400);
    assert!(house.bus.published.lock().is_empty());
}

#[tokio::test]
async fn character_sets_of_the_field_are_read() {
    let house = house().await;
    let named = |text: &str| xml::envelope("1", &xml::inform_body("0000CA", text, "0001", &[]));
    // ISO-8859-1 by Content-Type, without a declaration of its own.
    let latin = named("Bo\u{ee}te").replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", "");
    let latin: Vec<u8> = latin
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    let headers = format!(
        "{}Content-Type: text/xml; charset=\"iso-8859-1\"\r\n",
        basic()
    );
    let mut cpe = house.connect().await;
    assert_eq!(cpe.post(&headers, latin).await.status, 200);
    assert_eq!(house.bus.last().2.device, "0000CA-Bo%C3%AEte-0001");
    let wide = named("Bo\u{ee}te").replace("UTF-8", "UTF-16");
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(wide.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(cpe.post(&basic(), wide).await.status, 200);
    assert_eq!(house.bus.last().2.device, "0000CA-Bo%C3%AEte-0001");
    assert!(house.metric("hearth_gateway_repairs_total{kind=\"charset\"}") >= 2.0);
}

#[tokio::test]
async fn a_length_counted_in_characters_is_tolerated() {
    let house = house().await;
    let body = xml::envelope("1", &xml::inform_body("0000CA", "Boîte", "0001", &[]));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: {}\r\n\r\n",
        basic(),
        body.chars().count()
    );
    let mut cpe = house.connect().await;
    cpe.write(format!("{head}{body}")).await;
    let answer = cpe.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.closes(), "what is left of the body is no request");
}

#[tokio::test]
async fn an_overloaded_gateway_says_when_to_come_again() {
    let house = house_with(GatewayConfig {
        max_informs: 1,
        retry_after: HumanDuration::secs(10),
        ..GatewayConfig::default()
    })
    .await;
    let mut first = house.connect().await;
    let mut second = house.connect().await;
    let (body, proof) = (inform(), basic());
    house.bus.held.send_replace(true);
    let busy = async {
        house.until("hearth_gateway_informs_in_flight", 1.0).await;
        let refused = second.post(&proof, &body).await;
        house.bus.held.send_replace(false);
        refused
    };
    let (accepted, refused) = tokio::join!(first.post(&proof, &body), busy);
    assert_eq!(accepted.status, 200);
    assert_eq!(refused.status, 503);
    let after: u64 = refused.header("Retry-After").unwrap().parse().unwrap();
    assert!((10..=20).contains(&after));
    assert_eq!(
        house.bus.published.lock().len(),
        1,
        "nothing of it was accepted"
    );
    let again = second.post(&proof, &body).await;
    assert_eq!(again.status, 200, "the connection is still good");
    // A session in progress is not turned away.
    let mut third = house.connect().await;
    house.bus.held.send_replace(true);
    let turn = async {
        house.until("hearth_gateway_informs_in_flight", 1.0).await;
        let turn = second.turn(&again.cookie(), "").await;
        house.bus.held.send_replace(false);
        turn
    };
    let other = xml::inform_of("0002", &[]);
    let (_, turn) = tokio::join!(third.post(&proof, other), turn);
    assert_eq!(turn.status, 204);
}

#[tokio::test]
async fn slow_senders_keep_nobody_out() {
    let house = house_with(GatewayConfig {
        max_informs: 1,
        max_body_in_flight: ByteSize::kib(256),
        ..GatewayConfig::default()
    })
    .await;
    // Announces much, and sends a little of it.
    let mut slow = house.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n",
        basic()
    );
    slow.write(head).await;
    assert_eq!(slow.answer().await.status, 100);
    slow.write("<soap").await;
    let mut other = house.connect().await;
    assert_eq!(other.post(&basic(), inform()).await.status, 200);
}

#[tokio::test]
async fn a_chunked_body_takes_its_room_as_it_comes() {
    let house = house_with(GatewayConfig {
        max_body_in_flight: ByteSize::kib(256),
        ..GatewayConfig::default()
    })
    .await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\n{}Transfer-Encoding: chunked\r\n\r\n",
        basic()
    );
    let mut first = house.connect().await;
    first.write(&head).await;
    first.write(format!("{:x}\r\n", 200_000)).await;
    first.write(vec![b' '; 200_000]).await;
    house
        .until("hearth_gateway_body_bytes_in_flight", 200_000.0)
        .await;
    let mut second = house.connect().await;
    second.write(&head).await;
    second.write(format!("{:x}\r\n", 100_000)).await;
    second.write(vec![b' '; 100_000]).await;
    let refused = second.answer().await;
    assert_eq!(refused.status, 503);
    assert!(refused.closes());
    house
        .until("hearth_gateway_body_bytes_in_flight", 200_000.0)
        .await;
}
