//! Parts of a measurement in processes of their own: the benchmark starts itself again.
//!
//! A part prints one line when it is ready (an address) or done (its figures), and ends when the pipe to its
//! stdin closes, also when the benchmark is killed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use connector_testkit::sandbox::stripe::{Options, StripeSandbox};

/// A part that runs.
pub struct Part {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Part {
    /// Starts this program again with these arguments.
    pub fn start(args: &[&str]) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("its own path"));
        program.args(args);
        Self::of(program)
    }

    /// Starts another program that keeps to the same rules.
    pub fn of(mut program: Command) -> Self {
        let mut child = program
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match std::env::var_os("HALO_SYNC_BENCH_VERBOSE") {
                Some(_) => Stdio::inherit(),
                None => Stdio::null(),
            })
            .spawn()
            .expect("it starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, stdin, stdout }
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("its output");
        assert!(!line.is_empty(), "a part ended before its time; HALO_SYNC_BENCH_VERBOSE=1 shows why");
        line.trim_end().to_owned()
    }

    /// Says a line to a part that takes commands; the line that it answers.
    pub fn ask(&mut self, command: &str) -> String {
        let stdin = self.stdin.as_mut().expect("a part that runs");
        writeln!(stdin, "{command}").expect("a part that listens");
        self.line()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// Returns when the starter is gone or wants the part to end.
pub fn wait_for_end() {
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
}

/// The next line that the starter says to this part; `None` when it wants the part to end.
pub async fn command() -> Option<String> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    line.await.expect("a thread")?.ok()
}

/// The part `--sandbox N`: a sandbox account with so many customers, until the end.
pub fn sandbox(customers: usize) {
    super::runtime().block_on(async {
        let sandbox = StripeSandbox::start(Options::default()).await.expect("the sandbox starts");
        sandbox.seed_customers(customers);
        println!("{}", sandbox.base_url());
        let _ = tokio::task::spawn_blocking(wait_for_end).await;
    });
}

/// This process's largest resident size so far, MiB.
pub fn peak_mib() -> f64 {
    status_mib(std::process::id(), "VmHWM:")
}

/// A line of `/proc/PID/status`, MiB.
pub fn status_mib(pid: u32, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kib = line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// Processor time that a process has used, all threads, seconds.
pub fn processor_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold spaces.
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    // Linux counts in hundredths of a second for every program, whatever the kernel's own clock.
    ticks / 100.0
}
