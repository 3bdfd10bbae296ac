//! Start, failure and drain of services.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_runtime::{
    FnService, Runtime, RuntimeError, RuntimeOptions, ServiceContext, Shutdown, SystemClock,
};

type Log = Arc<Mutex<Vec<String>>>;

fn options() -> RuntimeOptions {
    RuntimeOptions {
        start_timeout: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(8),
    }
}

fn runtime() -> Runtime {
    Runtime::new(SystemClock::shared(), options())
}

/// A service that takes 1 s to become ready and logs its life.
fn plain(name: &'static str, log: &Log) -> FnService<impl FnOnce(ServiceContext) -> Run + use<>> {
    let log = log.clone();
    FnService::new(name, move |ctx: ServiceContext| -> Run {
        Box::pin(async move {
            log.lock().unwrap().push(format!("{name} starts"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            ctx.readiness.ready();
            log.lock().unwrap().push(format!("{name} ready"));
            ctx.stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            log.lock().unwrap().push(format!("{name} stopped"));
            Ok(())
        })
    })
}

type Run =
    std::pin::Pin<Box<dyn Future<Output = Result<(), hearth_runtime::BoxError>> + Send + 'static>>;

#[tokio::test(start_paused = true)]
async fn up_in_order_down_in_reverse() {
    let log = Log::default();
    let mut runtime = runtime();
    runtime.add(plain("bus", &log)).add(plain("gateway", &log));
    let (readiness, shutdown) = (runtime.readiness(), Shutdown::new());
    let running = tokio::spawn(runtime.run(shutdown.clone()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(
        !readiness.is_ready(),
        "the gateway is registered and not ready"
    );
    assert_eq!(readiness.snapshot().len(), 2);
    readiness.wait_all_ready().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(readiness.is_ready());
    shutdown.request();
    running.await.unwrap().unwrap();
    assert!(!readiness.is_ready());
    let expected = [
        "bus starts",
        "bus ready",
        "gateway starts",
        "gateway ready",
        "gateway stopped",
        "bus stopped",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_failure_brings_all_down_with_its_reason() {
    let log = Log::default();
    let mut runtime = runtime();
    runtime.add(plain("bus", &log)).add(FnService::new(
        "gateway",
        |ctx: ServiceContext| async move {
            ctx.readiness.ready();
            tokio::time::sleep(Duration::from_secs(60)).await;
            Err("the disk is gone".into())
        },
    ));
    let error = runtime.run(Shutdown::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "service gateway failed");
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "the disk is gone"
    );
    assert!(
        log.lock().unwrap().contains(&"bus stopped".to_owned()),
        "drained all the same"
    );
}

#[tokio::test(start_paused = true)]
async fn panics_early_ends_and_slow_starts_are_failures() {
    let mut panicking = runtime();
    panicking.add(FnService::new("p", |_| async { panic!("oh no") }));
    let error = panicking.run(Shutdown::new()).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Panicked { message, .. } if message == "oh no"));

    let mut ending = runtime();
    ending.add(FnService::new("e", |_| async { Ok(()) }));
    let error = ending.run(Shutdown::new()).await.unwrap_err();
    assert!(
        matches!(error, RuntimeError::EndedEarly { .. }),
        "{error:?}"
    );

    let mut slow = runtime();
    slow.add(FnService::new("s", |ctx: ServiceContext| async move {
        ctx.readiness.not_ready("waiting for the bus");
        ctx.stop.cancelled().await;
        Ok(())
    }));
    let error = slow.run(Shutdown::new()).await.unwrap_err();
    assert!(
        matches!(error, RuntimeError::StartTimeout { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("waiting for the bus"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stuck_service_is_aborted_and_leaves_time_to_the_others() {
    let log = Log::default();
    let mut runtime = runtime();
    runtime.add(plain("store", &log)).add(FnService::new(
        "stuck",
        |ctx: ServiceContext| async move {
            ctx.readiness.ready();
            std::future::pending::<()>().await;
            Ok(())
        },
    ));
    let (readiness, shutdown) = (runtime.readiness(), Shutdown::new());
    let running = tokio::spawn(runtime.run(shutdown.clone()));
    readiness.wait_all_ready().await;
    let asked = tokio::time::Instant::now();
    shutdown.request();
    running.await.unwrap().unwrap();
    let took = asked.elapsed();
    assert!(
        took >= Duration::from_secs(4) && took <= options().drain_timeout,
        "{took:?}"
    );
    assert!(log.lock().unwrap().contains(&"store stopped".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_second_request_does_not_wait() {
    let mut runtime = runtime();
    runtime.add(FnService::new("stuck", |ctx: ServiceContext| async move {
        ctx.readiness.ready();
        std::future::pending::<()>().await;
        Ok(())
    }));
    let (readiness, shutdown) = (runtime.readiness(), Shutdown::new());
    let running = tokio::spawn(runtime.run(shutdown.clone()));
    readiness.wait_all_ready().await;
    shutdown.request();
    shutdown.request();
    let asked = tokio::time::Instant::now();
    assert!(matches!(running.await.unwrap(), Err(RuntimeError::Forced)));
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn asked_to_stop_while_starting() {
    let log = Log::default();
    let mut runtime = runtime();
    runtime.add(plain("bus", &log)).add(plain("gateway", &log));
    let shutdown = Shutdown::new();
    shutdown.request();
    runtime.run(shutdown).await.unwrap();
    assert!(
        !log.lock()
            .unwrap()
            .iter()
            .any(|line| line == "gateway ready")
    );
}
