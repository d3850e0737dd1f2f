//! The command line of halo-sync.

use std::process::ExitCode;

use halo_sync::commands::{self, Invocation};
use halo_sync::registry;

fn main() -> ExitCode {
    // A keeper of a program is this program again, without anything that the rest of it needs.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == registry::KEEPER) {
        return registry::keep(args).into();
    }
    // One crypto provider for the process, before the first TLS client is built.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_) => return commands::ExitCode::Failed.into(),
    };
    let code = runtime.block_on(commands::run(Invocation::of_process(registry::connectors())));
    // A blocking read of stdin that was given up must not keep the process alive.
    runtime.shutdown_background();
    code.into()
}
