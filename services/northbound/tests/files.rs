//! FileService.

use crate::common::{self, Api, Authorized, blamed};
use hearth_config::{ByteSize, HumanDuration};
use hearth_northbound::NorthboundConfig;
use hearth_proto::northbound::v1 as nb;
use nb::file_service_client::FileServiceClient;
use nb::upload_file_request::Part;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

const NAME: &str = "tenants/default/files/fw-1.bin";

fn file() -> Part {
    Part::File(nb::File {
        name: NAME.into(),
        file_type: "1 Firmware Upgrade Image".into(),
        ..Default::default()
    })
}

fn chunk(size: usize) -> Part {
    Part::Chunk(vec![7; size])
}

async fn upload(
    client: &mut FileServiceClient<Authorized>,
    parts: Vec<Part>,
) -> Result<nb::File, Status> {
    let messages = parts
        .into_iter()
        .map(|part| nb::UploadFileRequest { part: Some(part) });
    let answer = client
        .upload_file(futures::stream::iter(messages.collect::<Vec<_>>()))
        .await?;
    Ok(answer.into_inner().file.unwrap())
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let api = Api::start().await;
    let mut client = FileServiceClient::new(api.authorized().await);
    let parts = vec![
        file(),
        chunk(1024 * 1024),
        chunk(5),
        chunk(0),
        Part::End(true),
    ];
    let kept = upload(&mut client, parts).await.unwrap();
    assert_eq!((kept.name.as_str(), kept.size), (NAME, 1024 * 1024 + 5));
    let get = nb::GetFileRequest { name: NAME.into() };
    let got = client
        .get_file(get)
        .await
        .unwrap()
        .into_inner()
        .file
        .unwrap();
    assert_eq!(got.file_type, "1 Firmware Upgrade Image");

    let read = nb::ReadFileRequest { name: NAME.into() };
    let mut chunks = client.read_file(read).await.unwrap().into_inner();
    let mut content = Vec::new();
    while let Some(message) = chunks.message().await.unwrap() {
        assert!(message.chunk.len() <= 256 * 1024);
        content.extend(message.chunk);
    }
    assert_eq!(content, vec![7; 1024 * 1024 + 5]);

    let list = nb::ListFilesRequest {
        parent: "tenants/default".into(),
        ..Default::default()
    };
    assert_eq!(
        client
            .list_files(list)
            .await
            .unwrap()
            .into_inner()
            .files
            .len(),
        1
    );
    let delete = nb::DeleteFileRequest { name: NAME.into() };
    client.delete_file(delete.clone()).await.unwrap();
    assert_eq!(
        client.delete_file(delete).await.unwrap_err().code(),
        Code::NotFound
    );
    let read = nb::ReadFileRequest { name: NAME.into() };
    assert_eq!(
        client.read_file(read).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_named() {
    let config = NorthboundConfig {
        max_file_size: ByteSize(3_000_000),
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut client = FileServiceClient::new(api.authorized().await);
    let with = |change: &dyn Fn(&mut nb::File)| {
        let Part::File(mut metadata) = file() else {
            panic!("not a file");
        };
        change(&mut metadata);
        Part::File(metadata)
    };
    let mega = 1024 * 1024;
    for (parts, field) in [
        (vec![], "file"),
        (vec![chunk(1)], "file"),
        (vec![with(&|file| file.name = "fw.bin".into())], "file.name"),
        (
            vec![with(&|file| file.name = "tenants/default/files/a b".into())],
            "file.name",
        ),
        (vec![with(&|file| file.size = 3_000_001)], "file.size"),
        (
            vec![with(&|file| file.sha256 = "abc".into())],
            "file.sha256",
        ),
        (vec![file(), chunk(1), file()], "chunk"),
        (vec![file(), chunk(1), Part::End(false)], "chunk"),
        (vec![file(), chunk(1)], "end"),
        (vec![file()], "end"),
        (vec![file(), chunk(mega + 1)], "chunk"),
        (vec![file(), chunk(mega), chunk(mega), chunk(mega)], "chunk"),
    ] {
        let status = upload(&mut client, parts).await.unwrap_err();
        assert_eq!(blamed(&status), [field], "{status}");
    }
    assert!(api.fake.files.lock().is_empty());
    // A name that only is badly written is not said to be of another kind.
    let badly = vec![with(&|file| file.name = "tenants/default/files/a b".into())];
    let status = upload(&mut client, badly).await.unwrap_err();
    assert!(
        status.message().starts_with("file.name: expected tenants/"),
        "{status}"
    );
}

#[tokio::test]
async fn a_silent_upload_is_given_up() {
    let config = NorthboundConfig {
        transfer_idle_timeout: HumanDuration::millis(50),
        ..Default::default()
    };
    let api = Api::with(config).await;
    let mut client = FileServiceClient::new(api.authorized().await);
    let first = nb::UploadFileRequest { part: Some(file()) };
    let silent = futures::StreamExt::chain(
        futures::stream::iter([first]),
        futures::stream::pending::<nb::UploadFileRequest>(),
    );
    let status = client.upload_file(silent).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// Passes one connection on, until it is aborted.
async fn relay(to: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let passing = tokio::spawn(async move {
        let (mut from, _) = listener.accept().await.unwrap();
        let mut to = TcpStream::connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
    });
    (address, passing)
}

/// Whatever way a client goes in the middle of a file, no part of it is kept under its name.
#[tokio::test]
async fn a_part_of_a_file_is_never_kept() {
    let api = Api::start().await;
    let message = |part| nb::UploadFileRequest { part: Some(part) };
    for breaks_connection in [false, true] {
        let (address, relay) = relay(api.addr).await;
        let channel = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = channel.connect().await.unwrap();
        let mut client =
            FileServiceClient::new(InterceptedService::new(channel, common::WithToken));
        let (sender, parts) = futures::channel::mpsc::unbounded();
        sender.unbounded_send(message(file())).unwrap();
        sender.unbounded_send(message(chunk(100_000))).unwrap();
        let call = tokio::spawn(async move { client.upload_file(parts).await });
        let begun = || api.fake.asked.lock().iter().any(|q| q.contains("fw-1.bin"));
        tokio::time::timeout(Duration::from_secs(10), async {
            while !begun() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        // Until the chunk is there too.
        tokio::time::sleep(Duration::from_millis(50)).await;
        if breaks_connection {
            relay.abort();
            call.await.unwrap().unwrap_err();
        } else {
            // RST_STREAM with CANCEL.
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(api.fake.files.lock().is_empty());
        api.fake.asked.lock().clear();
    }
    // The whole file by its size or checksum is fine without an end: older clients send none.
    let mut client = FileServiceClient::new(api.authorized().await);
    let Part::File(mut metadata) = file() else {
        panic!("not a file");
    };
    metadata.size = 3;
    upload(&mut client, vec![Part::File(metadata), chunk(3)])
        .await
        .unwrap();
}
