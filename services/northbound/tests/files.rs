//! FileService.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Api, Authorized, blamed};
use hearth_config::{ByteSize, HumanDuration};
use hearth_northbound::NorthboundConfig;
use hearth_proto::northbound::v1 as nb;
use nb::file_service_client::FileServiceClient;
use nb::upload_file_request::Part;
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
    let parts = vec![file(), chunk(1024 * 1024), chunk(5), chunk(0)];
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
        (vec![file(), chunk(mega + 1)], "chunk"),
        (vec![file(), chunk(mega), chunk(mega), chunk(mega)], "chunk"),
    ] {
        let status = upload(&mut client, parts).await.unwrap_err();
        assert_eq!(blamed(&status), [field], "{status}");
    }
    assert!(api.fake.files.lock().is_empty());
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
