//! The built program, as a person runs it.

use std::path::Path;
use std::process::{Command, Stdio};

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
