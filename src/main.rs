//! The command line of halo-sync.

use std::process::ExitCode;

use halo_sync::commands::{self, Invocation};

fn main() -> ExitCode {
    // One crypto provider for the process, before the first TLS client is built.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return commands::ExitCode::Failed.into(),
    };
    let code = runtime.block_on(commands::run(Invocation::of_process(halo_sync::registry::connectors())));
    // A blocking read of stdin that was given up must not keep the process alive.
    runtime.shutdown_background();
    code.into()
}
