//! What the SDK's tests say often.

use halo_sync::domain::connections::KeyClass;
use halo_sync::domain::users::EndUser;
use halo_sync::store::identity::Lookup;
use reqwest::Method;
use serde_json::Value;

use crate::support::app::App;

pub(super) struct Client<'a> {
    pub(super) app: &'a App,
    key: String,
}

impl<'a> Client<'a> {
    pub(super) async fn server(app: &'a App) -> Self {
        Self { app, key: app.key(KeyClass::Server).await.1 }
    }

    pub(super) async fn browser(app: &'a App) -> Self {
        Self { app, key: app.key(KeyClass::Publishable).await.1 }
    }

    /// Sends a body as it is; status and answer.
    pub(super) async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, Value) {
        let call = self.app.http.request(method, format!("{}/api/sdk/{path}", self.app.base));
        let answer = call.bearer_auth(&self.key).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.bytes().await.unwrap();
        let answer = serde_json::from_slice(&bytes);
        (status, answer.unwrap_or_else(|_| panic!("{path}: {}", String::from_utf8_lossy(&bytes))))
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, body.to_string().into_bytes()).await
    }

    pub(super) async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(Method::DELETE, path, Vec::new()).await
    }

    /// Posts what must be right.
    pub(super) async fn done(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body.clone()).await;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        assert_eq!(answer["success"], true, "{answer}");
        answer
    }

    /// Posts what must be refused with this status and code.
    pub(super) async fn refused(&self, path: &str, body: Value, expected: (u16, &str)) -> Value {
        let (status, answer) = self.post(path, body.clone()).await;
        assert_eq!((status, answer["code"].as_str().unwrap()), expected, "{path} {body}: {answer}");
        assert!(answer["request_id"].is_string() && answer["error"].is_string(), "{answer}");
        answer
    }
}

pub(super) async fn user(app: &App, id: &str) -> Option<EndUser> {
    app.store.find_user(&app.org, &Lookup::External(id.to_owned())).await.unwrap()
}
