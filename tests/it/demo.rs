//! `serve --demo`, as somebody runs it who has nothing yet.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::support::program::{LOOK, installed};

/// For the whole demo, on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
/// What it says when it has shown all.
const LAST: &str = "The demo goes on until Ctrl-C.";

/// Ends the program whatever becomes of the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines that it prints, on both streams together.
fn lines(child: &mut Child) -> Receiver<String> {
    let (said, lines) = mpsc::channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for stream in streams {
        let said = said.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
    }
    lines
}

#[test]
fn three_tools_make_one_company_and_a_signed_webhook_of_each_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = installed(folder.path(), &["serve", "--demo", "--listen", "127.0.0.1:0"]);
    // An address of the real installation is none of the demo's.
    command.env("HALO_SYNC_SERVER__PUBLIC_URL", "https://halo.example");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut program = Ended(child);
    let printed = lines(&mut program.0);
    let (until, mut text) = (Instant::now() + LIMIT, String::new());
    while !text.contains(LAST) {
        match printed.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => text.extend([line.as_str(), "\n"]),
            Err(RecvTimeoutError::Timeout) => panic!("not done within {LIMIT:?}:\n{text}"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended:\n{text}"),
        }
    }
    // The two streams may overtake each other; each is in order.
    for (what, line) in [
        ("Stripe says the plan", "plan             \"Starter\""),
        ("HubSpot the head count", "employee_count   34"),
        ("and who looks after it", "owner            \"Sam Seller\""),
        ("Stripe's webhook", "- Plan: Starter"),
        ("Stripe's webhook", "+ Plan: Team"),
        ("HubSpot's webhook", "- Employee Count: 34"),
        ("HubSpot's webhook", "+ Employee Count: 41"),
        ("PandaDoc's webhook", "+ Contract Term Months: 24"),
        ("the step", "6. Northwind Traders moves to another plan in Stripe."),
        ("the step", "7. In HubSpot, Northwind Traders has grown"),
        ("the step", "8. In PandaDoc, Northwind Traders signs for two years."),
    ] {
        assert!(text.contains(line), "{what}: {line:?} is not in\n{text}");
    }
    for tool in ["stripe-sandbox ", "hubspot-sandbox ", "pandadoc-sandbox "] {
        assert!(text.contains(tool), "{tool} says nothing of the company:\n{text}");
    }
    let pid = program.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let until = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = program.0.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < until, "it does not stop");
        std::thread::sleep(LOOK);
    };
    assert!(status.success(), "{status}");
}
