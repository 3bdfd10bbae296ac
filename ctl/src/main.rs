//! The binary: the process's own terminal, environment and signals around [`hearthctl::run`].

use hearthctl::Exit;
use std::{process::ExitCode, time::Duration};

/// How long a run has to end by itself after Ctrl-C.
const PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // The worker hears Ctrl-C even while the run itself blocks on standard input.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(async {
        let mut host = hearthctl::Host::process();
        let interrupt = host.interrupt.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupt.notify_one();
                tokio::time::sleep(PATIENCE).await;
                std::process::exit(Exit::Interrupted.code().into());
            }
        });
        hearthctl::run(std::env::args_os(), &mut host).await
    });
    // A read of standard input may still block; it must not hold the exit up.
    runtime.shutdown_background();
    exit.into()
}
