//! The binary: the process's own terminal, environment and signals around [`hearthctl::run`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
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
            }
        });
        hearthctl::run(std::env::args_os(), &mut host).await
    });
    // A read of standard input may still block; it must not hold the exit up.
    runtime.shutdown_background();
    exit.into()
}
