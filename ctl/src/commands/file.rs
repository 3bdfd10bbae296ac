//! `hearthctl file`.

use crate::{
    api::{Api, all_pages},
    app::App,
    cli::{FileCommand, FileGetArgs, FilePutArgs},
    error::{Error, id_of},
    exit::Exit,
    progress, show,
};
use futures::{Stream, stream};
use hearth_proto::northbound::v1::{self as nb, upload_file_request::Part};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::io::AsyncReadExt;

/// Bytes of one message of an upload; the API takes up to 1 MiB.
const CHUNK: usize = 256 * 1024;

/// Runs one command.
pub(crate) async fn run(command: FileCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        FileCommand::Put(args) => put(app, *args).await,
        FileCommand::List { limit } => list(app, limit).await,
        FileCommand::Info { name } => {
            let api = app.api().await?;
            let file = metadata(&api, &name).await?;
            app.print(&file, |app, file| show::file(app, file))
        }
        FileCommand::Get(args) => get(app, *args).await,
        FileCommand::Delete { names } => {
            let api = app.api().await?;
            for name in &names {
                let name = api.name("files", name)?;
                let request = nb::DeleteFileRequest { name: name.clone() };
                api.answer(api.files().delete_file(request)).await?;
                super::device::deleted(app, &name)?;
            }
            Ok(())
        }
    }
}

/// What the server knows of a file.
pub(super) async fn metadata(api: &Api, name: &str) -> Result<nb::File, Error> {
    let name = api.name("files", name)?;
    let request = nb::GetFileRequest { name };
    let answer = api.answer(api.files().get_file(request)).await?;
    Ok(answer.file.unwrap_or_default())
}

async fn list(app: &mut App<'_>, limit: usize) -> Result<(), Error> {
    let api = app.api().await?;
    let (files, more) = all_pages(limit, 1000, |page_size, page_token| {
        let request = nb::ListFilesRequest {
            parent: api.tenant_name(),
            page_size,
            page_token,
        };
        let api = &api;
        async move {
            let page = api.answer(api.files().list_files(request)).await?;
            Ok((page.files, page.next_page_token))
        }
    })
    .await?;
    app.print(&files, |app, files| show::files(app, files))?;
    app.more(more, limit);
    Ok(())
}

async fn put(app: &mut App<'_>, args: FilePutArgs) -> Result<(), Error> {
    let path = app.path(&args.path);
    let name = match &args.name {
        Some(name) => name.clone(),
        None => own_name(&args.path)?,
    };
    let api = app.api().await?;
    let (size, sha256) = checksum(&path).map_err(Error::file(&path))?;
    let file = nb::File {
        name: api.name("files", &name)?,
        file_type: args.file_type.to_string(),
        size,
        sha256: sha256.clone(),
        version: args.file_version,
        ..Default::default()
    };
    let bar = progress::bytes(app, size, &name);
    let source = tokio::fs::File::open(&path)
        .await
        .map_err(Error::file(&path))?;
    let broken = Arc::new(Mutex::new(None));
    let parts = parts(file, source, bar.clone(), broken.clone());
    let answer = api.files().upload_file(parts).await;
    bar.finish_and_clear();
    // A file that can't be read to its end is the cause of whatever the server said.
    let broken = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(error) = broken {
        return Err(Error::file(path)(error));
    }
    let kept = answer?.into_inner().file.unwrap_or_default();
    if !kept.sha256.eq_ignore_ascii_case(&sha256) || kept.size != size {
        return Err(Error::Said {
            exit: Exit::Failed,
            message: format!(
                "the server has {} bytes with SHA-256 {}, sent were {size} with {sha256}",
                kept.size, kept.sha256
            ),
            advice: format!(
                "did the file change meanwhile? Delete it and send it again: hearthctl file delete {name}"
            ),
        });
    }
    app.print(&kept, |app, file| show::file(app, file))
}

fn own_name(path: &Path) -> Result<String, Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        Error::usage(format!(
            "{} has no usable name; give one by --name",
            path.display()
        ))
    })
}

/// Size and SHA-256 of a file.
fn checksum(path: &Path) -> io::Result<(u64, String)> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, hex(hash)));
        }
        size += read as u64;
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Which message of an upload is next.
enum Next {
    File(nb::File),
    Bytes,
    Nothing,
}

/// The messages of an upload: metadata, then bytes, then the end. What can't be read has no end.
fn parts(
    file: nb::File,
    source: tokio::fs::File,
    bar: ProgressBar,
    broken: Arc<Mutex<Option<io::Error>>>,
) -> impl Stream<Item = nb::UploadFileRequest> + Send + 'static {
    let message = |part| nb::UploadFileRequest { part: Some(part) };
    stream::unfold((Next::File(file), source), move |(next, mut source)| {
        let (bar, broken) = (bar.clone(), broken.clone());
        async move {
            match next {
                Next::File(file) => {
                    return Some((message(Part::File(file)), (Next::Bytes, source)));
                }
                Next::Nothing => return None,
                Next::Bytes => {}
            }
            let mut chunk = vec![0; CHUNK];
            match source.read(&mut chunk).await {
                Ok(0) => Some((message(Part::End(true)), (Next::Nothing, source))),
                Ok(read) => {
                    chunk.truncate(read);
                    bar.inc(read as u64);
                    Some((message(Part::Chunk(chunk)), (Next::Bytes, source)))
                }
                Err(error) => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            }
        }
    })
}

async fn get(app: &mut App<'_>, args: FileGetArgs) -> Result<(), Error> {
    let api = app.api().await?;
    let file = metadata(&api, &args.name).await?;
    let path = args
        .output_file
        .unwrap_or_else(|| PathBuf::from(id_of(&file.name)));
    fetch(app, &api, &file, &path, args.force).await
}

/// Whether a file can go to `path`: its folder is there, and no file that isn't to be replaced.
pub(super) fn check_target(app: &App<'_>, path: &Path, force: bool) -> Result<(), Error> {
    if path == Path::new("-") {
        return Ok(());
    }
    let target = app.path(path);
    if target.is_dir() || (!force && target.exists()) {
        let advice = match target.is_dir() {
            true => "it is a folder; give a file's name: -O PATH",
            false => "replace it: --force; another name: -O PATH",
        };
        return Err(Error::Said {
            exit: Exit::Failed,
            message: format!("{} is there already", target.display()),
            advice: advice.into(),
        });
    }
    match target.parent() {
        Some(folder) if !folder.is_dir() => Err(Error::Said {
            exit: Exit::NotFound,
            message: format!("there is no folder {}", folder.display()),
            advice: "make it first, or give another name: -O PATH".into(),
        }),
        _ => Ok(()),
    }
}

/// Fetches a file and checks it. Nothing is at `path` before all of it is there and right.
pub(super) async fn fetch(
    app: &mut App<'_>,
    api: &Api,
    file: &nb::File,
    path: &Path,
    force: bool,
) -> Result<(), Error> {
    if path == Path::new("-") {
        let mut out = std::mem::replace(&mut app.host.out, Box::new(io::sink()));
        let result = read_into(app, api, file, &mut out).await;
        app.host.out = out;
        return result;
    }
    check_target(app, path, force)?;
    let target = app.path(path);
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(Error::file(folder))?;
    read_into(app, api, file, &mut temporary).await?;
    let kept = match force {
        true => temporary.persist(&target),
        false => temporary.persist_noclobber(&target),
    };
    kept.map_err(|error| Error::file(&target)(error.error))?;
    let shown = path.display().to_string();
    app.print(file, |app, file| {
        app.say(format!("{shown}  {} bytes, checksum right", file.size))
    })
}

async fn read_into(
    app: &App<'_>,
    api: &Api,
    file: &nb::File,
    target: &mut (impl Write + ?Sized),
) -> Result<(), Error> {
    let name = file.name.clone();
    let request = nb::ReadFileRequest { name };
    let mut chunks = api.answer(api.files().read_file(request)).await?;
    let bar = progress::bytes(app, file.size, id_of(&file.name));
    let mut hash = Sha256::new();
    while let Some(message) = chunks.message().await? {
        hash.update(&message.chunk);
        target.write_all(&message.chunk)?;
        bar.inc(message.chunk.len() as u64);
    }
    target.flush()?;
    bar.finish_and_clear();
    let read = hex(hash);
    match file.sha256.is_empty() || read.eq_ignore_ascii_case(&file.sha256) {
        true => Ok(()),
        false => Err(Error::Said {
            exit: Exit::Failed,
            message: format!("what came has SHA-256 {read}, the file has {}", file.sha256),
            advice: "try again; if it stays so, the server's copy is damaged".into(),
        }),
    }
}
