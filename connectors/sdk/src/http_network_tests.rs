//! The client against a network that misbehaves (J11 of the reliability goals): every call ends, nothing
//! is half taken, and each fault has its class.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::budget::{Budget, Priority};
use crate::clock::SystemClock;

const LIMIT: Duration = Duration::from_millis(400);

/// What the server does with a connection after the request.
type Behaviour = fn(TcpStream) -> futures_util::future::BoxFuture<'static, ()>;

async fn server(behaviour: Behaviour) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                behaviour(socket).await;
            });
        }
    });
    Url::parse(&url).unwrap()
}

fn io(max_body: usize) -> Io {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = HttpConfig { total_timeout: LIMIT, max_body, ..HttpConfig::default() };
    Io {
        http: HttpClient::new(config, Arc::clone(&clock)).unwrap(),
        clock,
        budget: Arc::new(Budget::unlimited()),
        priority: Priority::Webhook,
    }
}

async fn get(base: &Url) -> Result<Answer, ConnectorError> {
    let call = Call::get("GET /thing", base, &["thing"]).unwrap().bearer(&SecretString::from("s3cret"));
    let started = Instant::now();
    let io = io(10_000);
    let answer = io.call(&call).await;
    assert!(started.elapsed() < LIMIT + Duration::from_secs(2), "the call ends");
    assert_eq!(io.budget.stats().in_flight, 0, "and gives its place back");
    if let Err(e) = &answer {
        assert!(!format!("{e:?}").contains("s3cret"), "{e:?}");
        assert!(!format!("{e:?}").contains("127.0.0.1"), "no address: {e:?}");
    }
    answer
}

fn send(mut socket: TcpStream, bytes: impl Into<Vec<u8>>) -> futures_util::future::BoxFuture<'static, ()> {
    let bytes = bytes.into();
    Box::pin(async move {
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
    })
}

#[tokio::test]
async fn a_good_answer_is_taken_whole() {
    let base = server(|s| send(s, "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"answer\":42}")).await;
    #[derive(serde::Deserialize)]
    struct Body {
        answer: u8,
    }
    assert_eq!(get(&base).await.unwrap().json::<Body>().unwrap().answer, 42);
}

/// A server that answers 400 with the request it got.
fn echo(mut socket: TcpStream, request: Vec<u8>) -> futures_util::future::BoxFuture<'static, ()> {
    Box::pin(async move {
        let head = format!("HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n", request.len());
        let _ = socket.write_all(head.as_bytes()).await;
        let _ = socket.write_all(&request).await;
        let _ = socket.shutdown().await;
    })
}

#[tokio::test]
async fn a_patch_and_another_scheme_go_out_as_they_are_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"{\"a\":1}") {
            let n = socket.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..n]);
        }
        echo(socket, request).await;
    });
    let dialect = Dialect {
        refusal: |answer| Refusal {
            message: Some(String::from_utf8_lossy(&answer.body).into_owned()),
            ..Refusal::default()
        },
        ..Dialect::default()
    };
    let call = Call::patch_json("PATCH /thing", &base, &["thing"], &serde_json::json!({"a": 1}))
        .unwrap()
        .authorization("API-Key", &SecretString::from("s3cret"))
        .dialect(dialect);
    let io = io(10_000);
    let answer = io.call(&call).await.unwrap();
    let request = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(request.starts_with("PATCH /thing HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: API-Key s3cret\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    let error = io.unexpected(&call, &answer).to_string();
    assert!(error.contains("[secret]") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn faults_of_the_network_are_transient() {
    let faults: [(&str, Behaviour); 8] = [
        ("silence", |s| {
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(s);
            })
        }),
        ("closed without an answer", |s| send(s, "")),
        ("reset", |s| {
            Box::pin(async move {
                // A lingering close of no time sends a reset.
                #[expect(deprecated, reason = "the plain way to a reset")]
                let _ = s.set_linger(Some(Duration::ZERO));
            })
        }),
        ("half a header", |s| send(s, "HTTP/1.1 200 OK\r\ncontent-le")),
        ("a body that is cut", |s| send(s, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":")),
        ("a chunk that is cut", |s| {
            send(s, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\"")
        }),
        ("one byte at a time", |mut s| {
            Box::pin(async move {
                let _ = s.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
                while s.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            })
        }),
        ("bad compression", |s| {
            send(s, "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nplain")
        }),
    ];
    for (what, fault) in faults {
        let base = server(fault).await;
        let answer = get(&base).await;
        assert!(matches!(answer, Err(ConnectorError::Transient(_))), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn nobody_listening_is_transient_and_tls_to_a_plain_port_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let answer = get(&Url::parse(&format!("http://{address}")).unwrap()).await;
    assert!(matches!(answer, Err(ConnectorError::Transient(_))), "{answer:?}");

    let plain = server(|s| send(s, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")).await;
    let tls = plain.as_str().replace("http://", "https://");
    let answer = get(&Url::parse(&tls).unwrap()).await;
    assert!(matches!(answer, Err(ConnectorError::Transient(_))), "{answer:?}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    for behaviour in
        [(|s| send(s, "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")) as Behaviour, |s| {
            let mut answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
            answer.extend(vec![b' '; 20_000]);
            send(s, answer)
        }]
    {
        let base = server(behaviour).await;
        let answer = get(&base).await;
        assert!(matches!(answer, Err(ConnectorError::Protocol(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let base = server(|s| {
        send(s, "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    match get(&base).await {
        Err(ConnectorError::Protocol(text)) => assert!(text.contains("redirect"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_status_may_be_left_to_the_connector() {
    let base = server(|s| send(s, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
    assert!(matches!(get(&base).await, Err(ConnectorError::Auth { .. })));
    let call = Call::get("GET /thing", &base, &["thing"]).unwrap().leave(StatusCode::FORBIDDEN);
    assert_eq!(io(10).call(&call).await.unwrap().status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_providers_words_are_cleaned_of_the_secret() {
    let base = server(|s| send(s, "HTTP/1.1 401 No\r\ncontent-length: 11\r\n\r\nkey s3cret\n")).await;
    let words = Dialect {
        refusal: |answer| Refusal {
            code: Some("bad_key".to_owned()),
            message: Some(String::from_utf8_lossy(&answer.body).into_owned()),
            permission: None,
        },
        ..Dialect::default()
    };
    let call = Call::get("GET /thing", &base, &["thing"]).unwrap();
    let call = call.bearer(&SecretString::from("s3cret")).dialect(words);
    let text = io(100).call(&call).await.unwrap_err().to_string();
    assert_eq!(text, "credentials: GET /thing: HTTP 401 (bad_key): key [secret] ");
}

#[tokio::test]
async fn a_secret_that_no_header_can_hold_is_an_error() {
    let base = Url::parse("http://127.0.0.1:9").unwrap();
    let call = Call::get("GET /thing", &base, &["thing"]).unwrap().bearer(&SecretString::from("a\nb"));
    assert!(matches!(io(10).call(&call).await, Err(ConnectorError::Auth { .. })));
}
