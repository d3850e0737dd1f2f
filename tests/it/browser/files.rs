//! What is committed is what the source makes, small, typed, and served as browsers like it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use halo_sync::http::browser;
use http::StatusCode;

use super::driver::modules;
use super::stand::Stand;
use crate::support::program::run;

const LIMIT: Duration = Duration::from_secs(120);
/// What the issue allows a file to weigh on its way.
const MOST_BYTES: usize = 4_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[test]
fn each_file_is_under_four_kilobytes_on_its_way() {
    for file in [browser::script(), browser::module()] {
        let (plain, zipped) = (file.text.len(), file.zipped_bytes());
        // Past the test's captured output: the figure is to be seen in every run.
        let line = format!("browser SDK: {} is {plain} bytes, {zipped} gzipped\n", file.plain);
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        assert!(zipped < MOST_BYTES, "{}: {zipped} bytes, at most {MOST_BYTES}", file.plain);
    }
}

#[test]
fn what_is_embedded_is_what_the_source_makes() {
    if modules().is_none() {
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let build = root().join("sdk/browser/build.sh");
    run(Command::new("sh").arg(build).arg(out.path()), LIMIT).unwrap();
    for file in [browser::script(), browser::module()] {
        let made = std::fs::read_to_string(out.path().join(file.plain)).unwrap();
        assert!(made == file.text, "{} is not what sh sdk/browser/build.sh makes: run it", file.plain);
    }
}

#[test]
fn the_types_say_what_may_be_called() {
    let Some(modules) = modules() else { return };
    let tsc = |file: &str| {
        run(
            Command::new(modules.join(".bin/tsc"))
                .args(["--noEmit", "--strict", "--ignoreConfig", "--target", "es2020", "--lib", "es2020,dom"])
                .args(["--module", "esnext", "--moduleResolution", "bundler", "--types", ""])
                .arg(root().join("tests/browser").join(file)),
            LIMIT,
        )
    };
    tsc("types_good.ts").unwrap();
    // Every line of it is a mistake that must be found.
    let found = tsc("types_bad.ts").unwrap_err();
    let bad = std::fs::read_to_string(root().join("tests/browser/types_bad.ts")).unwrap();
    for (number, line) in bad.lines().enumerate().filter(|(_, line)| line.starts_with("HaloSync.")) {
        let place = format!("types_bad.ts({},", number + 1);
        assert!(found.contains(&place), "not found: {line}\n{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_served_for_pages_of_any_origin() {
    let stand = Stand::start().await;
    let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let get = |name: &str| client.get(format!("{}/sdk/{name}", stand.api));
    for (file, media_type) in [
        (browser::script().plain, "text/javascript; charset=utf-8"),
        (&browser::script().hashed, "text/javascript; charset=utf-8"),
        (browser::module().plain, "text/javascript; charset=utf-8"),
        (&browser::module().hashed, "text/javascript; charset=utf-8"),
        ("v1.d.ts", "application/typescript; charset=utf-8"),
    ] {
        let answer = get(file).header("origin", "https://app.example.com").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
        let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("content-type").as_deref(), Some(media_type), "{file}");
        assert_eq!(header("access-control-allow-origin").as_deref(), Some("*"), "{file}");
        assert_eq!(header("cross-origin-resource-policy").as_deref(), Some("cross-origin"), "{file}");
        assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{file}");
        assert_eq!(header("vary").as_deref(), Some("accept-encoding"), "{file}");
        let cache = header("cache-control").unwrap();
        assert_eq!(cache.contains("immutable"), file.len() > 10, "{file}: {cache}");
        let tag = header("etag").unwrap();
        let text = answer.text().await.unwrap();

        let again = get(file).header("if-none-match", format!("\"x\", W/{tag}")).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{file}");
        assert_eq!(again.headers()["etag"], tag.as_str());
        assert_eq!(again.headers()["access-control-allow-origin"], "*", "a page reads the kept copy by it");
        assert_eq!(again.bytes().await.unwrap().len(), 0);
        let other = get(file).header("if-none-match", "\"x\"").send().await.unwrap();
        assert_eq!(other.status(), 200, "{file}");

        let zipped = get(file).header("accept-encoding", "br, gzip").send().await.unwrap();
        assert_eq!(zipped.headers()["content-encoding"], "gzip");
        assert_ne!(zipped.headers()["etag"], tag.as_str(), "other bytes, another tag");
        let mut unzipped = String::new();
        let bytes = zipped.bytes().await.unwrap();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut unzipped).unwrap();
        assert!(unzipped == text, "{file}");
        let head = client.head(format!("{}/sdk/{file}", stand.api)).send().await.unwrap();
        assert_eq!((head.status().as_u16(), head.headers()["etag"].to_str().unwrap()), (200, tag.as_str()));
    }
    for name in ["v2.js", "v1.0123456789abcdef.js", "..%2f..%2fCargo.toml", "%00"] {
        assert_eq!(get(name).send().await.unwrap().status(), 404, "{name}");
    }
}
