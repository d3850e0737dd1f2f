//! The process that ends a tap with everything that it started.
//!
//! It stands between this program and a tap. It sets the limits, starts the tap in a process group of its own, and waits
//! for what comes first: the tap's end, or the end of its own standard input, which is closed by whoever wants the tap
//! to stop and by the system when this program ends in any way, even by SIGKILL. Then it ends the group, removes the
//! private folder and goes.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getpid, kill_process, kill_process_group,
    set_child_subreaper, setrlimit, wait,
};

/// How long a tap may take to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How often what left the group is looked for, and how long to wait between.
const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);
/// Exit codes: as shells have them for a command that cannot be started, and for one that SIGKILL ended.
const NOT_STARTED: u8 = 127;
const KILLED: u8 = 137;

enum Event {
    /// The tap ended.
    Ended(std::io::Result<ExitStatus>),
    /// Nobody wants the tap any more.
    Left,
}

/// Keeps a tap to its end; its exit code. Arguments: bytes of memory, the private folder, the program, and the
/// program's own.
pub fn keep(mut args: impl Iterator<Item = OsString>) -> u8 {
    let memory = args.next().and_then(|text| text.to_str()?.parse::<u64>().ok());
    let (Some(memory), Some(folder), Some(program)) = (memory, args.next().map(PathBuf::from), args.next())
    else {
        return complain("memory, folder and program are expected");
    };
    let code = keep_program(memory, program, args);
    let _ = std::fs::remove_dir_all(&folder);
    code
}

fn complain(what: &str) -> u8 {
    let _ = writeln!(std::io::stderr(), "{what}");
    NOT_STARTED
}

fn keep_program(memory: u64, program: OsString, args: impl Iterator<Item = OsString>) -> u8 {
    // What a tap starts is ours when the tap is gone, also where it left the group.
    let _ = set_child_subreaper(Some(getpid()));
    let at_most = |most| Rlimit { current: Some(most), maximum: Some(most) };
    if setrlimit(Resource::As, at_most(memory)).and(setrlimit(Resource::Core, at_most(0))).is_err() {
        return complain("the limits cannot be set");
    }
    let started = Command::new(program).args(args).stdin(Stdio::null()).process_group(0).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return complain(&format!("the program cannot be started: {error}")),
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (events, come) = mpsc::channel();
    let left = events.clone();
    std::thread::spawn(move || {
        // Nothing is ever written there; an error is an end, too.
        let _ = std::io::stdin().read(&mut [0]);
        let _ = left.send(Event::Left);
    });
    std::thread::spawn(move || {
        let _ = events.send(Event::Ended(child.wait()));
    });
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    let code = match come.recv() {
        Ok(Event::Ended(Ok(status))) => code(status),
        Ok(Event::Left) => {
            signal(Signal::TERM);
            if let Err(RecvTimeoutError::Timeout) = come.recv_timeout(GRACE) {
                signal(Signal::KILL);
                let _ = come.recv_timeout(GRACE);
            }
            KILLED
        }
        Ok(Event::Ended(Err(_))) | Err(_) => KILLED,
    };
    signal(Signal::KILL);
    end_the_rest();
    code
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or_default();
    // A code that does not fit is still none of success.
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Ends what left the group and has become a child of this process, and what that leaves in turn.
fn end_the_rest() {
    for _ in 0..ROUNDS {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let children = children();
        if children.is_empty() {
            return;
        }
        for child in children {
            let _ = kill_process(child, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The children of this process, as the kernel lists them by thread.
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| {
        list.split_whitespace().filter_map(|n| n.parse().ok().and_then(Pid::from_raw)).collect::<Vec<_>>()
    };
    lists.flat_map(numbers).collect()
}
