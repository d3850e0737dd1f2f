//! An OpenAI-compatible endpoint on the loopback that says, and fails, what a test wants.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// What it does with a call.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Says these pieces, and ends as it should. The bytes come in odd portions, with comments between the events.
    Say(Vec<String>),
    /// Says them in one JSON document.
    Whole(String),
    /// Says these, and closes the connection.
    Cut(Vec<String>),
    /// Says these, and nothing more for ever.
    Stall(Vec<String>),
    /// Says these, and then what is no event of such an endpoint.
    Garbage(Vec<String>),
    /// Says these, and then that something went wrong, quoting the prompt.
    Report(Vec<String>),
    /// Says more than anybody wants to hear.
    Flood,
    /// A status, quoting the prompt.
    Status(u16),
}

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub authorization: Option<String>,
    pub body: Value,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    /// Answers that were dropped before their end.
    called_off: AtomicUsize,
}

/// The endpoint.
pub struct ModelSandbox {
    shared: Arc<Shared>,
    pub base_url: String,
    task: AbortHandle,
}

impl Drop for ModelSandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts an answer that is dropped before its end.
struct Watch(Arc<Shared>, bool);

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.1 {
            self.0.called_off.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn event(delta: Value, finish: Value) -> String {
    let chunk = json!({"id": "x", "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

impl ModelSandbox {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new().route("/v1/chat/completions", post(answer)).with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { shared, base_url, task }
    }

    /// What it does with the next call that nothing is said about yet.
    pub fn next(&self, reply: Reply) {
        self.shared.replies.lock().unwrap().push_back(reply);
    }

    pub fn says(&self, pieces: &[&str]) {
        self.next(Reply::Say(pieces.iter().map(|piece| (*piece).to_owned()).collect()));
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// The messages of the newest call.
    pub fn messages(&self) -> Vec<(String, Value)> {
        let last = self.asked().pop().unwrap().body;
        let read =
            |message: &Value| (message["role"].as_str().unwrap().to_owned(), message["content"].clone());
        last["messages"].as_array().unwrap().iter().map(read).collect()
    }

    pub fn called_off(&self) -> usize {
        self.shared.called_off.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let quoted = body["messages"].to_string();
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    shared.asked.lock().unwrap().push(Asked { authorization, body });
    let reply = shared.replies.lock().unwrap().pop_front().expect("a reply for this call");
    let (pieces, end) = match reply {
        Reply::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            let body = json!({"error": {"message": format!("refused: {quoted}")}}).to_string();
            return (status, [(header::RETRY_AFTER, "7")], body).into_response();
        }
        Reply::Whole(text) => {
            let message = json!({"role": "assistant", "content": text});
            return axum::Json(json!({"choices": [{"message": message, "finish_reason": "stop"}]}))
                .into_response();
        }
        Reply::Flood => (vec!["x".repeat(1_000); 300], None),
        Reply::Say(pieces) => (pieces, Some(event(json!({}), json!("stop")) + "data: [DONE]\n\n")),
        Reply::Cut(pieces) => (pieces, Some(String::new())),
        Reply::Stall(pieces) => (pieces, None),
        Reply::Garbage(pieces) => (pieces, Some("data: <html>oops</html>\n\n".to_owned())),
        Reply::Report(pieces) => {
            let error = json!({"error": {"message": format!("overloaded: {quoted}")}});
            (pieces, Some(format!("data: {error}\n\n")))
        }
    };
    let mut text = event(json!({"role": "assistant"}), Value::Null);
    for piece in pieces {
        text.push_str(": still here\r\n");
        text.push_str(&event(json!({"content": piece}), Value::Null));
    }
    let stalls = end.is_none();
    text.push_str(&end.unwrap_or_default());
    // Seven bytes at a time: characters and lines come in pieces.
    let portions: Vec<Bytes> = if text.len() < 10_000 {
        text.into_bytes().chunks(7).map(Bytes::copy_from_slice).collect()
    } else {
        vec![Bytes::from(text)]
    };
    let watch = Watch(shared, false);
    let portions = stream::iter(portions).map(Ok::<_, Infallible>);
    let tail = stream::unfold(watch, move |watch| async move {
        // The whole of it is held while it waits.
        let mut watch = watch;
        if stalls {
            std::future::pending::<()>().await;
        }
        watch.1 = true;
        drop(watch);
        None::<(Result<Bytes, Infallible>, Watch)>
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(portions.chain(tail))).into_response()
}
