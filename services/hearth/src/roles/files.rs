//! Files for devices and from them.

use crate::config::HearthConfig;
use crate::links::Links;
use crate::server::{Base, make_private_dir};
use anyhow::Result;
use hearth_files::FilesService;
use hearth_runtime::{FnService, Runtime, Service, ServiceContext};
use std::sync::Arc;
use tokio::net::TcpListener;

/// Adds the files role.
pub(crate) fn files(
    base: &Base,
    config: &HearthConfig,
    links: &mut Links<'_>,
    listener: TcpListener,
    runtime: &mut Runtime,
) -> Result<()> {
    let given = config.files_dir.clone();
    let directory = given.unwrap_or_else(|| config.data_dir.join("files"));
    make_private_dir(&directory)?;
    let service = FilesService::new(
        config.files.clone(),
        listener.local_addr()?.port(),
        &directory,
        base.backends.store()?,
        base.keys()?,
        Arc::clone(&base.clock),
        &base.registry,
    )?;
    runtime.add(base.http("files", listener, service.router())?);
    runtime.add(sweep(service.clone()));
    links.here.files = Some(Arc::new(service));
    Ok(())
}

/// Deletes, once after the start, bytes of files that a kill left behind.
fn sweep(files: FilesService) -> impl Service {
    FnService::new("files-sweep", move |ctx: ServiceContext| async move {
        ctx.readiness.ready();
        match files.sweep().await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "unfinished files were deleted"),
            Err(error) => tracing::warn!(%error, "unfinished files can't be looked for"),
        }
        ctx.stop.cancelled().await;
        Ok(())
    })
}
