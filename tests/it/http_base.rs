//! The HTTP base, driven over raw sockets: what a slow, lying or flooding client can and cannot do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use halo_sync::clock::SystemClock;
use halo_sync::http::extract::{JsonBody, RawBody};
use halo_sync::http::probes::{Check, Probe, Probes};
use halo_sync::http::{ApiError, Limits, base, probes, server};
use halo_sync::telemetry::Metrics;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest that any answer or closing may take here; far above the limits under test.
const BOUND: Duration = Duration::from_secs(10);

fn limits() -> Limits {
    Limits {
        max_body_bytes: 10_000,
        header_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(900),
        stall_timeout: Duration::from_millis(300),
        max_connections: 64,
        shutdown: Duration::from_secs(5),
    }
}

fn probe_routes(probe: Probe) -> Router {
    probes::routes().with_state(Probes { probe, metrics: Metrics::detached().unwrap() }).into_router()
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<usize>,
    /// An operation waits here after it has begun.
    begun: Arc<Semaphore>,
    release: Arc<Notify>,
}

async fn start(limits: Limits) -> Running {
    let (begun, release) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (begun_there, release_there) = (Arc::clone(&begun), Arc::clone(&release));
    let routes = Router::new()
        .route("/echo", post(|RawBody(bytes): RawBody| async move { bytes }))
        .route("/api/sdk/json", post(|JsonBody(v): JsonBody<Value>| async move { v.to_string() }))
        .route("/api/v1/json", post(|JsonBody(v): JsonBody<Value>| async move { v.to_string() }))
        .route("/ignore", post(|| async { "ignored" }))
        .route("/swallow", post(|body: axum::body::Bytes| async move { body.len().to_string() }))
        .route("/big", get(|| async { vec![b'x'; 64 * 1024 * 1024] }))
        .route("/panic", get(|| async { std::hint::black_box(None::<&str>).unwrap() }))
        .route("/fail", get(|| async { ApiError::internal(&std::io::Error::other("the cause hunter2")) }))
        .route(
            "/wait",
            get(move || async move {
                begun_there.add_permits(1);
                release_there.notified().await;
                "waited"
            }),
        );
    let probe: Probe =
        Arc::new(|| Box::pin(async { vec![Check { name: "database", ok: true, detail: None }] }));
    let routes = routes.merge(probe_routes(probe));
    let router = base(routes, limits.clone(), Arc::new(SystemClock));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server::serve(listener, router, limits, stop.clone()));
    Running { address, stop, task, begun, release }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a new connection and reads until the server closes it.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may answer and close before all is sent.
        let _ = stream.write_all(bytes).await;
        to_end(&mut stream).await
    }

    async fn is_fine(&self) {
        let answer = self
            .exchange(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
    }
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well; what arrived before it counts.
    let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut bytes)).await.expect("the server hung on");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer of a connection that stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|l| {
                    l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
                });
                if body.len() >= length.unwrap_or(0) {
                    return text;
                }
            }
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed after {text:?}");
        }
    };
    tokio::time::timeout(BOUND, read).await.expect("no answer")
}

fn body(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {head} {body:?}"))
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn idle_half_and_dripping_heads_are_closed() {
    let running = start(limits()).await;
    let began = Instant::now();
    for sent in [&b""[..], b"POST /echo HT", b"POST /echo HTTP/1.1\r\nHost: h\r\n"] {
        assert_eq!(running.exchange(sent).await, "", "{sent:?}");
        assert!(began.elapsed() >= Duration::from_millis(250));
    }

    // A byte now and then does not buy time.
    let mut stream = running.connect().await;
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        let head = b"POST /echo HTTP/1.1\r\nHost: h\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
        for byte in head {
            tick.tick().await;
            if writing.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
    };
    let mut nothing = Vec::new();
    let ended = async { reading.read_to_end(&mut nothing).await };
    tokio::select! {
        _ = ended => {}
        () = drip => {}
        () = tokio::time::sleep(BOUND) => panic!("a dripping head was kept"),
    }
    running.is_fine().await;
}

#[tokio::test]
async fn a_connection_between_requests_is_kept_no_longer_than_a_head_may_take() {
    let running = start(limits()).await;
    let mut stream = running.connect().await;
    for _ in 0..3 {
        stream.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        assert!(answer(&mut stream).await.ends_with("ok"));
    }
    assert_eq!(to_end(&mut stream).await, "");
}

#[tokio::test]
async fn stalled_and_dripping_bodies_are_cut_off() {
    let running = start(limits()).await;
    let began = Instant::now();
    let stalled =
        running.exchange(b"POST /api/v1/json HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{").await;
    assert_eq!(status(&stalled), 408);
    assert_eq!(body(&stalled)["code"], "body_timeout");
    assert!(began.elapsed() >= Duration::from_millis(250));

    // Each byte comes in time, the whole does not.
    let mut stream = running.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n").await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let drip = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            if writing.write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut text = Vec::new();
    tokio::select! {
        _ = reading.read_to_end(&mut text) => {}
        () = drip => {}
        () = tokio::time::sleep(BOUND) => panic!("a dripping body was kept"),
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(status(&text), 408, "{text}");
    running.is_fine().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    // With a single slot, the next client is served only when the one that does not read is gone.
    let running = start(Limits { max_connections: 1, ..limits() }).await;
    let mut deaf = running.connect().await;
    deaf.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    deaf.readable().await.unwrap();
    tokio::time::timeout(BOUND, running.is_fine()).await.expect("the deaf client kept the only slot");
    let mut got = Vec::new();
    let _ = deaf.read_to_end(&mut got).await;
    assert!(got.len() < 64 * 1024 * 1024, "{} bytes went through", got.len());
}

#[tokio::test]
async fn many_slow_clients_do_not_keep_others_out() {
    let running = start(Limits { max_connections: 600, ..limits() }).await;
    let mut slow = Vec::new();
    for i in 0..250 {
        let mut stream = running.connect().await;
        let sent: &[u8] = match i % 4 {
            0 => b"",
            1 => b"POST /ec",
            2 => b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{",
            _ => b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        };
        stream.write_all(sent).await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        running.is_fine().await;
    }
    for mut stream in slow {
        to_end(&mut stream).await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let running = start(limits()).await;
    // Nothing but the head is sent.
    let by_head =
        running.exchange(b"POST /api/v1/json HTTP/1.1\r\nHost: h\r\nContent-Length: 10001\r\n\r\n").await;
    assert_eq!((status(&by_head), &body(&by_head)["code"]), (413, &Value::from("body_too_large")));
    assert_eq!(body(&by_head)["max_bytes"], 10_000);
    assert!(by_head.to_ascii_lowercase().contains("connection: close"));

    // A client that sends it all the same still hears the answer.
    let mut all = b"POST /api/sdk/json HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n".to_vec();
    all.resize(all.len() + 3_000_000, b' ');
    let heard = running.exchange(&all).await;
    assert_eq!(status(&heard), 413, "{heard}");
    assert_eq!(body(&heard)["error"], "a body may have at most 10000 bytes");

    // Without a length in the head, at the first byte too many, whatever the operation makes of it.
    for path in ["/api/v1/json", "/swallow", "/echo"] {
        let mut chunks =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
        for _ in 0..11 {
            chunks.extend_from_slice(b"3e8\r\n");
            chunks.resize(chunks.len() + 1_000, b' ');
            chunks.extend_from_slice(b"\r\n");
        }
        let heard = running.exchange(&chunks).await;
        assert_eq!(status(&heard), 413, "{path}: {heard}");
    }

    // Exactly as much as allowed is fine.
    let mut most =
        b"POST /swallow HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\nConnection: close\r\n\r\n".to_vec();
    most.resize(most.len() + 10_000, b' ');
    assert!(running.exchange(&most).await.ends_with("\r\n\r\n10000"));
    running.is_fine().await;
}

#[tokio::test]
async fn an_encoded_body_is_refused_not_inflated() {
    let running = start(limits()).await;
    for encoding in ["gzip", "deflate", "br", "identity", "x"] {
        let request = format!(
            "POST /api/v1/json HTTP/1.1\r\nHost: h\r\nContent-Encoding: {encoding}\r\nContent-Length: 3\r\n\r\nabc"
        );
        let heard = running.exchange(request.as_bytes()).await;
        assert_eq!(
            (status(&heard), &body(&heard)["code"]),
            (415, &Value::from("encoded_body")),
            "{encoding}"
        );
    }
    running.is_fine().await;
}

#[tokio::test]
async fn an_operation_that_does_not_read_the_body_ends_the_connection_after_its_answer() {
    let running = start(limits()).await;
    let mut all = b"POST /ignore HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n".to_vec();
    all.resize(all.len() + 9_000, b'x');
    let heard = running.exchange(&all).await;
    assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with("ignored"), "{heard}");
    assert_eq!(heard.matches("HTTP/1.1").count(), 1, "{heard}");
}

#[tokio::test]
async fn lies_about_lengths_are_client_errors() {
    let running = start(limits()).await;
    let bad = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "Content-Length: 5, 6\r\n\r\nabcdef",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 0x5\r\n\r\nabcde",
        "Content-Length: +5\r\n\r\nabcde",
        "Content-Length: 99999999999999999999999\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        " Folded: x\r\nContent-Length: 0\r\n\r\n",
        "X: a\0b\r\nContent-Length: 0\r\n\r\n",
        "No colon\r\n\r\n",
        "Content-Length: 0\n\n",
        "X: y\nContent-Length: 0\r\n\r\n",
    ];
    for rest in bad {
        let heard = running.exchange(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{rest}").as_bytes()).await;
        assert!((400..500).contains(&status(&heard)), "{rest:?}: {heard}");
        assert_eq!(heard.matches("HTTP/1.1 ").count(), 1, "{rest:?}: {heard}");
        running.is_fine().await;
    }
    // A body that ends early has nobody to answer; nothing else suffers.
    for cut in ["Content-Length: 50\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nab"] {
        let mut stream = running.connect().await;
        stream.write_all(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{cut}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let heard = to_end(&mut stream).await;
        assert!(heard.is_empty() || status(&heard) == 400, "{heard}");
        running.is_fine().await;
    }
}

#[tokio::test]
async fn floods_of_headers_are_refused() {
    let running = start(limits()).await;
    let many: String = (0..200).map(|i| format!("X-{i}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(100_000));
    for headers in [many, long] {
        let heard =
            running.exchange(format!("GET /healthz HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes()).await;
        assert_eq!(status(&heard), 431);
        running.is_fine().await;
    }
    let uri = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "y".repeat(100_000));
    assert!((400..500).contains(&status(&running.exchange(uri.as_bytes()).await)));
    running.is_fine().await;
}

#[tokio::test]
async fn what_is_not_http_is_closed() {
    let running = start(limits()).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let heard = running.exchange(bytes).await;
        assert!(heard.is_empty() || (400..600).contains(&status(&heard)), "{heard:?}");
        running.is_fine().await;
    }
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let running = start(limits()).await;
    let mut stream = running.connect().await;
    stream.write_all(b"GET /panic HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine-1\r\n\r\n").await.unwrap();
    let heard = answer(&mut stream).await;
    assert_eq!((status(&heard), &body(&heard)["code"]), (500, &Value::from("internal")));
    assert_eq!(body(&heard)["request_id"], "mine-1");
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    assert!(answer(&mut stream).await.ends_with("ok"));
}

#[tokio::test]
async fn errors_have_the_form_of_their_path_and_the_requests_id() {
    let running = start(limits()).await;
    let send = async |request: &str| {
        running.exchange(format!("{request}\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).await
    };

    let unknown = send("GET /api/v1/nothing?token=hunter2 HTTP/1.1").await;
    assert_eq!(status(&unknown), 404);
    assert!(unknown.contains("application/problem+json"));
    assert_eq!(body(&unknown)["instance"], "/api/v1/nothing");
    let id = body(&unknown)["request_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("req_") && unknown.contains(&format!("x-request-id: {id}\r\n")), "{unknown}");

    let sdk = send("GET /api/sdk/nothing HTTP/1.1").await;
    assert_eq!((status(&sdk), &body(&sdk)["code"]), (404, &Value::from("not_found")));
    assert!(body(&sdk)["error"].is_string() && body(&sdk).get("title").is_none());

    let method = send("GET /echo HTTP/1.1").await;
    assert_eq!((status(&method), &body(&method)["code"]), (405, &Value::from("method_not_allowed")));
    assert!(method.contains("allow: POST\r\n"), "{method}");

    let failed = send("GET /fail HTTP/1.1").await;
    assert_eq!(status(&failed), 500);
    assert!(!failed.contains("hunter2"));

    for (sent, kept) in [("abc-1._X", true), ("a b", false), ("<script>", false), (&"x".repeat(129), false)] {
        let heard = send(&format!("GET /healthz HTTP/1.1\r\nX-Request-Id: {sent}")).await;
        assert_eq!(heard.contains(&format!("x-request-id: {sent}\r\n")), kept, "{sent}: {heard}");
        assert!(heard.contains("x-request-id: "), "{heard}");
    }
}

#[tokio::test]
async fn json_bodies_are_parsed_or_refused_with_the_place() {
    let running = start(limits()).await;
    let post = async |text: &str| {
        let head = format!(
            "POST /api/v1/json HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        running.exchange(format!("{head}{text}").as_bytes()).await
    };
    assert!(post("{\"a\":1}").await.ends_with("{\"a\":1}"));
    for bad in ["", "{", "[1,]", "nul", "{\"a\":1}{", &"[".repeat(9_000)] {
        let heard = post(bad).await;
        assert_eq!((status(&heard), &body(&heard)["code"]), (400, &Value::from("invalid_json")), "{bad:?}");
    }
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_end() {
    let running = start(limits()).await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let _begun = tokio::time::timeout(BOUND, running.begun.acquire()).await.unwrap().unwrap();
    let mut idle = running.connect().await;
    idle.write_all(b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
    answer(&mut idle).await;

    running.stop.cancel();
    // The idle connection is closed at once, new ones are refused, the busy one goes on.
    assert_eq!(to_end(&mut idle).await, "");
    let refused = tokio::time::timeout(BOUND, async {
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    refused.await.expect("still accepting");
    assert!(!running.task.is_finished());
    running.release.notify_one();
    assert!(to_end(&mut busy).await.ends_with("waited"));
    assert_eq!(tokio::time::timeout(BOUND, running.task).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let running = start(Limits { shutdown: Duration::from_millis(100), ..limits() }).await;
    let mut busy = running.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let _begun = tokio::time::timeout(BOUND, running.begun.acquire()).await.unwrap().unwrap();
    running.stop.cancel();
    assert_eq!(tokio::time::timeout(BOUND, running.task).await.unwrap().unwrap(), 1);
    assert_eq!(to_end(&mut busy).await, "");
}

#[tokio::test]
async fn probes_answer() {
    let running = start(limits()).await;
    let get = async |path: &str| {
        running
            .exchange(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes())
            .await
    };
    assert!(get("/healthz").await.ends_with("\r\n\r\nok\n"));
    let ready = get("/readyz").await;
    assert_eq!((status(&ready), &body(&ready)["status"]), (200, &Value::from("ready")));
    assert_eq!(body(&ready)["checks"][0]["name"], "database");
    let metrics = get("/metrics").await;
    assert_eq!(status(&metrics), 200);
    assert!(metrics.contains("text/plain; version=0.0.4"));
}

mod without_a_socket {
    use std::io::Write;
    use std::sync::Mutex;

    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_access_log_has_no_query_no_body_and_no_probes() {
        let lines = Lines::default();
        let sink = lines.clone();
        let layer = tracing_subscriber::fmt::layer().json().with_writer(move || sink.clone());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let probe: Probe = Arc::new(|| Box::pin(async { Vec::new() }));
        let routes = Router::new()
            .route("/echo", post(|RawBody(bytes): RawBody| async move { bytes }))
            .route("/fail", get(|| async { ApiError::internal(&std::io::Error::other("disk gone")) }))
            .merge(probe_routes(probe));
        let router = base(routes, limits(), Arc::new(SystemClock));
        let send = async |method: &str, uri: &str, body: &'static str| {
            let request =
                Request::builder().method(method).uri(uri).header("authorization", "Bearer sk_canary");
            router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
        };
        send("POST", "/echo?token=canary", "a canary in the body").await;
        send("GET", "/fail?signature=canary", "").await;
        for probe in ["/healthz", "/readyz", "/metrics"] {
            send("GET", probe, "").await;
        }
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains("canary"), "{text}");
        let parsed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&parsed[0]["level"], &parsed[0]["fields"]["status"]), (&"INFO".into(), &200.into()));
        assert_eq!(parsed[0]["span"]["path"], "/echo");
        assert_eq!(
            (&parsed[1]["level"], &parsed[1]["fields"]["cause"]),
            (&"ERROR".into(), &"disk gone".into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_or_hanging_check_is_not_ready() {
        let checks: [Probe; 3] = [
            Arc::new(|| {
                Box::pin(async {
                    vec![Check { name: "database", ok: false, detail: Some("no answer".into()) }]
                })
            }),
            Arc::new(|| Box::pin(std::future::pending())),
            Arc::new(|| Box::pin(async { panic!("a check fails") })),
        ];
        for probe in checks {
            let router = base(probe_routes(probe), limits(), Arc::new(SystemClock));
            let response =
                router.clone().oneshot(Request::get("/readyz").body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 503);
            let alive = router.oneshot(Request::get("/healthz").body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(alive.status(), 200);
        }
    }
}
