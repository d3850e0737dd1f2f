//! The built program, as a person runs it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at while it is waited for.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// A command of the program in an installation of its own: nothing of the caller's environment sets it.
pub(crate) fn installed(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halo-sync"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HALO_SYNC_") {
            command.env_remove(name);
        }
    }
    command.args(args).args(["--data-dir", "data", "--no-input"]).current_dir(folder).stdin(Stdio::null());
    command
}

/// As [`installed`], with schedules of once a year: what is seen comes by webhook or by command, and no later
/// read hides a loss.
pub(crate) fn unscheduled(folder: &Path, args: &[&str]) -> Command {
    let mut command = installed(folder, args);
    command
        .env("HALO_SYNC_SYNC__INCREMENTAL_SCHEDULE", "0 0 1 1 *")
        .env("HALO_SYNC_SYNC__FULL_SCHEDULE", "0 0 1 1 *")
        .env("HALO_SYNC_SYNC__AUDIT_SCHEDULE", "");
    command
}

/// Runs a program to its end and gives what it printed; the error holds what it complained of. A program that
/// is not done in time is ended.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot be started: {e}"))?;
    // Both pipes are emptied while it runs: a full one would stop it.
    let out = drain(child.stdout.take().unwrap());
    let err = drain(child.stderr.take().unwrap());
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(LOOK);
    };
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    match status {
        Some(status) if status.success() => Ok(out),
        Some(status) => Err(format!("{status}: {err}{out}")),
        None => Err(format!("not done within {limit:?}: {err}{out}")),
    }
}

fn drain(mut pipe: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
