//! Files in through the role's calls, down and up over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hearth_auth::SecretKeys;
use hearth_clients::{ByteStream, Files, Kind};
use hearth_engine::{Engine, EngineOptions};
use hearth_files::{FilesConfig, FilesService};
use hearth_proto::files::v1::*;
use hearth_runtime::{Clock, SystemClock};
use hearth_store::EmbeddedStore;
use hearth_telemetry::Registry;
use hearth_types::TaskId;
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use tempfile::TempDir;

struct World {
    role: FilesService,
    host: String,
    _dir: TempDir,
}

async fn world(config: FilesConfig) -> World {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path().join("db"))).unwrap();
    let store = Arc::new(EmbeddedStore::open(&engine).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let role = FilesService::new(
        config,
        address.port(),
        &dir.path().join("files"),
        store,
        &SecretKeys::from_seed([1; 32]),
        SystemClock::shared(),
        &Registry::new(),
    )
    .unwrap();
    let router = role.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    World {
        role,
        host: address.to_string(),
        _dir: dir,
    }
}

fn content(bytes: &'static [u8]) -> ByteStream {
    futures::stream::iter(bytes.chunks(4).map(|c| Ok(Bytes::from_static(c)))).boxed()
}

fn firmware(name: &str) -> File {
    File {
        tenant: "default".into(),
        name: name.into(),
        file_type: "1 Firmware Upgrade Image".into(),
        ..File::default()
    }
}

async fn ticket(world: &World, file: &str, seconds: i64) -> PrepareTransferResponse {
    let expire_time_us = SystemClock::new().now().as_micros() + seconds * 1_000_000;
    let request = PrepareTransferRequest {
        tenant: "default".into(),
        device: "001122-Router-1".into(),
        task: TaskId::generate().to_string(),
        file: file.into(),
        upload_file_type: "2 Vendor Log File".into(),
        expire_time_us,
    };
    world.role.prepare_transfer(request).await.unwrap()
}

/// A request with Basic credentials and further headers.
async fn ask(
    world: &World,
    method: &str,
    ticket: &PrepareTransferResponse,
    headers: &[(&str, &str)],
    body: &'static [u8],
) -> (http::response::Parts, Bytes) {
    let basic = hearth_auth::BasicCredentials {
        username: ticket.username.clone(),
        password: ticket.password.clone().into(),
    };
    let url = ticket.url.replace("{host}", "127.0.0.1");
    assert!(url.starts_with(&format!("http://{}/", world.host)), "{url}");
    let mut request = http::Request::builder().method(method).uri(url).header(
        "Authorization",
        hearth_auth::ExposeSecret::expose_secret(&basic.header()),
    );
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<Full<Bytes>>();
    let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
    let (parts, body) = client.request(request).await.unwrap().into_parts();
    (parts, body.collect().await.unwrap().to_bytes())
}

/// Of two replicas that take a name at the same moment one has it, and its bytes are those that are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_give_a_name_once() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(EngineOptions::new(dir.path().join("db"))).unwrap();
    let store = Arc::new(EmbeddedStore::open(&engine).unwrap());
    let replica = || {
        FilesService::new(
            FilesConfig::default(),
            7567,
            &dir.path().join("files"),
            store.clone(),
            &SecretKeys::from_seed([1; 32]),
            SystemClock::shared(),
            &Registry::new(),
        )
        .unwrap()
    };
    let replicas = [replica(), replica()];
    for round in 0..20 {
        let name = format!("fw-{round}.bin");
        let put = |at: usize, bytes| {
            let (role, file) = (replicas[at].clone(), firmware(&name));
            tokio::spawn(async move { role.put_file(file, content(bytes)).await })
        };
        let (one, two) = (put(0, b"one"), put(1, b"two"));
        let (one, two) = (one.await.unwrap(), two.await.unwrap());
        let (won, lost): (&[u8], _) = match (&one, two) {
            (Ok(_), Err(lost)) => (b"one", lost),
            (Err(lost), Ok(_)) => (b"two", lost.clone()),
            both => panic!("{both:?}"),
        };
        assert_eq!(lost.kind, Kind::AlreadyExists);
        let request = ReadFileRequest {
            tenant: "default".into(),
            name,
        };
        let read = replicas[round % 2].read_file(request).await.unwrap();
        let read: Vec<Bytes> = read.try_collect().await.unwrap();
        assert_eq!(read.concat(), won);
    }
}

#[tokio::test]
async fn a_file_goes_down_whole_and_in_parts() {
    let world = world(FilesConfig::default()).await;
    let kept = world
        .role
        .put_file(firmware("fw.bin"), content(b"0123456789"))
        .await
        .unwrap();
    let kept = kept.file.unwrap();
    assert_eq!(kept.size, 10);
    assert_eq!(kept.sha256.len(), 64);

    let ticket = ticket(&world, "fw.bin", 60).await;
    assert_eq!(ticket.file_size, 10);
    let (parts, body) = ask(&world, "GET", &ticket, &[], b"").await;
    assert_eq!(
        (parts.status.as_u16(), &body[..]),
        (200, &b"0123456789"[..])
    );
    assert_eq!(parts.headers["content-length"], "10");

    for (range, status, expected) in [
        ("bytes=2-4", 206, &b"234"[..]),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=0-0,5-6", 200, b"0123456789"),
        ("bytes=20-", 416, b""),
        ("lines=1-2", 200, b"0123456789"),
    ] {
        let (parts, body) = ask(&world, "GET", &ticket, &[("Range", range)], b"").await;
        assert_eq!(
            (parts.status.as_u16(), &body[..]),
            (status, expected),
            "{range}"
        );
    }
    let (parts, _) = ask(&world, "GET", &ticket, &[("Range", "bytes=2-4")], b"").await;
    assert_eq!(parts.headers["content-range"], "bytes 2-4/10");
    let (parts, body) = ask(&world, "HEAD", &ticket, &[], b"").await;
    assert_eq!((parts.status.as_u16(), body.len()), (200, 0));
}

#[tokio::test]
async fn a_ticket_opens_nothing_else_and_expires() {
    let world = world(FilesConfig::default()).await;
    for name in ["a.bin", "b.bin"] {
        world
            .role
            .put_file(firmware(name), content(b"x"))
            .await
            .unwrap();
    }
    let good = ticket(&world, "a.bin", 60).await;
    let mut other = good.clone();
    other.url = other.url.replace("a.bin", "b.bin");
    let (parts, _) = ask(&world, "GET", &other, &[], b"").await;
    assert_eq!(parts.status, 401);
    assert_eq!(parts.headers.get_all("www-authenticate").iter().count(), 2);
    let mut wrong = good.clone();
    wrong.password.push('x');
    assert_eq!(ask(&world, "GET", &wrong, &[], b"").await.0.status, 401);
    let late = ticket(&world, "a.bin", -5).await;
    assert_eq!(ask(&world, "GET", &late, &[], b"").await.0.status, 401);
}

#[tokio::test]
async fn an_upload_is_kept_and_may_be_repeated() {
    let config = FilesConfig {
        max_upload_size: hearth_config::ByteSize(8),
        ..FilesConfig::default()
    };
    let world = world(config).await;
    let ticket = ticket(&world, "", 60).await;
    for body in [&b"log one"[..], b"log two"] {
        assert_eq!(ask(&world, "PUT", &ticket, &[], body).await.0.status, 201);
    }
    let again = PrepareTransferRequest {
        tenant: "default".into(),
        task: ticket.file.trim_start_matches("upload-").into(),
        ..PrepareTransferRequest::default()
    };
    let again = world.role.prepare_transfer(again).await.unwrap();
    assert!(!ticket.begun && again.begun && again.kept, "{again:?}");
    let request = GetFileRequest {
        tenant: "default".into(),
        name: ticket.file.clone(),
    };
    let file = world.role.get_file(request).await.unwrap().file.unwrap();
    assert_eq!((file.size, file.device.as_str()), (7, "001122-Router-1"));
    assert_eq!(file.file_type, "2 Vendor Log File");
    let request = ReadFileRequest {
        tenant: "default".into(),
        name: ticket.file.clone(),
    };
    let bytes = world.role.read_file(request).await.unwrap();
    let bytes: Vec<Bytes> = bytes.try_collect().await.unwrap();
    assert_eq!(bytes.concat(), b"log two");
    assert_eq!(
        ask(&world, "PUT", &ticket, &[], b"too large")
            .await
            .0
            .status,
        413
    );
    assert_eq!(ask(&world, "GET", &ticket, &[], b"").await.0.status, 405);
}

#[tokio::test]
async fn what_is_announced_is_checked() {
    let world = world(FilesConfig::default()).await;
    let put = |file: File, bytes| world.role.put_file(file, content(bytes));
    let error = put(firmware("../x"), b"1").await.unwrap_err();
    assert_eq!(
        (error.kind, error.field.as_str()),
        (Kind::InvalidArgument, "name")
    );
    let mut file = firmware("fw");
    file.size = 2;
    assert_eq!(put(file, b"1").await.unwrap_err().field, "size");
    let mut file = firmware("fw");
    file.sha256 = "00".repeat(32);
    assert_eq!(put(file, b"1").await.unwrap_err().field, "sha256");

    put(firmware("fw"), b"1").await.unwrap();
    put(firmware("fw"), b"1").await.unwrap();
    assert_eq!(
        put(firmware("fw"), b"2").await.unwrap_err().kind,
        Kind::AlreadyExists
    );
    let list = world.role.list_files(ListFilesRequest {
        tenant: "default".into(),
        ..Default::default()
    });
    assert_eq!(list.await.unwrap().files.len(), 1);
    let delete = DeleteFileRequest {
        tenant: "default".into(),
        name: "fw".into(),
    };
    world.role.delete_file(delete.clone()).await.unwrap();
    assert_eq!(
        world.role.delete_file(delete).await.unwrap_err().kind,
        Kind::NotFound
    );
}
