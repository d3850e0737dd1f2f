//! What an operation says about itself. Stands beside its handler; [`super::Routes::add`] takes both.

use http::Method;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// Gives the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Chapters of the document. The order here is the order on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// Users, companies and their context.
    Identity,
    /// What the chat needs.
    Chat,
    /// Conversations, tickets, events.
    Activity,
    /// Reading what is known and derived.
    Data,
    /// What an organisation sets.
    Settings,
    /// Providers' deliveries.
    Webhooks,
    /// Health, metrics, documentation.
    Service,
}

impl Tag {
    pub(super) const ALL: [Self; 7] = [
        Self::Identity,
        Self::Chat,
        Self::Activity,
        Self::Data,
        Self::Settings,
        Self::Webhooks,
        Self::Service,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Identity => "Identity",
            Self::Chat => "Chat",
            Self::Activity => "Activity",
            Self::Data => "Data",
            Self::Settings => "Settings",
            Self::Webhooks => "Webhooks",
            Self::Service => "Service",
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Identity => "Who uses the product, for which company, and what is happening to them.",
            Self::Chat => "What the chat's system prompt says about a customer.",
            Self::Activity => "What customers did and said.",
            Self::Data => "What is known and derived, with its origins.",
            Self::Settings => "What an organisation decides about its data.",
            Self::Webhooks => "Where providers deliver. Signed by them; nobody else calls these.",
            Self::Service => "For those who run it.",
        }
    }
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Anybody,
    /// A publishable or a server key.
    AnyKey,
    /// A server key.
    ServerKey,
    /// A provider, by its signature.
    Signature,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    /// In the path: always required.
    Path,
    /// In the query.
    Query,
    /// A header.
    Header,
}

#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: In,
    pub(super) about: &'static str,
    pub(super) schema: SchemaOf,
}

#[derive(Debug, Clone)]
pub(super) struct Payload {
    pub(super) media: &'static str,
    /// `None` for text.
    pub(super) schema: Option<SchemaOf>,
    pub(super) example: Option<Value>,
}

#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) payload: Option<Payload>,
    /// A medium that the same answer comes in as text when it is asked for.
    pub(super) text: Option<&'static str>,
    pub(super) headers: Vec<(&'static str, &'static str)>,
}

/// One method of one path: what it is for, what it takes and gives, and which refusals are its own.
#[derive(Debug, Clone)]
pub struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) about: &'static str,
    pub(super) tag: Tag,
    pub(super) access: Access,
    pub(super) parameters: Vec<Parameter>,
    /// Query parameters that are the members of a structure.
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<Payload>,
    pub(super) answers: Vec<Answer>,
    pub(super) codes: Vec<&'static str>,
    pub(super) idempotent: bool,
}

impl Operation {
    /// An operation. `path` is axum's, whose `{name}` is OpenAPI's as well; `id` is unique, `snake_case`, and
    /// becomes the name of generated clients' functions; `summary` is a few words without a full stop.
    pub fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            about: "",
            tag: Tag::Service,
            access: Access::ServerKey,
            parameters: Vec::new(),
            query: None,
            body: None,
            answers: Vec::new(),
            codes: Vec::new(),
            idempotent: false,
        }
    }

    /// A `GET`.
    pub fn get(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::GET, path, id, summary)
    }

    /// A `POST`.
    pub fn post(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::POST, path, id, summary)
    }

    /// A `PATCH`.
    pub fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::PATCH, path, id, summary)
    }

    /// A `DELETE`.
    pub fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self::new(Method::DELETE, path, id, summary)
    }

    /// What a caller needs to know beyond the shapes: rules, limits, order. Markdown.
    #[must_use]
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// The chapter.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// Who may call; a server key unless said otherwise.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// A parameter of the path or a header, or of the query where [`Self::query`] does not fit.
    #[must_use]
    pub fn parameter<T: JsonSchema>(mut self, place: In, name: &'static str, about: &'static str) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.parameters.push(Parameter { name, place, about, schema });
        self
    }

    /// The query's parameters: the members of the structure that the handler reads them into, with their doc
    /// comments.
    #[must_use]
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(|generator| T::json_schema(generator));
        self
    }

    /// The body: JSON of this type. The example is checked against the type by a test.
    #[must_use]
    pub fn body<T: JsonSchema>(mut self, example: Value) -> Self {
        let schema = Some(SchemaGenerator::subschema_for::<T> as SchemaOf);
        self.body = Some(Payload { media: "application/json", schema, example: Some(example) });
        self
    }

    /// The body: bytes as they come.
    #[must_use]
    pub fn raw_body(mut self, media: &'static str) -> Self {
        self.body = Some(Payload { media, schema: None, example: None });
        self
    }

    /// An answer: JSON of this type. The example is checked against the type by a test.
    #[must_use]
    pub fn answer<T: JsonSchema>(mut self, status: u16, about: &'static str, example: Value) -> Self {
        let schema = Some(SchemaGenerator::subschema_for::<T> as SchemaOf);
        let payload = Some(Payload { media: "application/json", schema, example: Some(example) });
        self.answers.push(Answer { status, about, payload, text: None, headers: Vec::new() });
        self
    }

    /// The last answer that was named comes in this medium as well, as text.
    #[must_use]
    pub fn also_text(mut self, media: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.text = Some(media);
        }
        self
    }

    /// A `POST` that takes `Idempotency-Key`: sent again with the same key, it is answered as the first time and not done
    /// again. For what is not the same when it is done twice; not for streams.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self.parameter::<String>(
            In::Header,
            "Idempotency-Key",
            "1 to 255 visible ASCII characters, made up by the caller for this request. Sent again within 24 hours with the same \
             body, the request is not done again: the first answer comes, with `Idempotent-Replayed: true`.",
        )
        .codes(&["bad_idempotency_key", "idempotency_in_flight", "idempotency_mismatch"])
    }

    /// Whether it takes `Idempotency-Key`.
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// An answer of another kind (`text/csv`, `text/event-stream`), as text.
    #[must_use]
    pub fn answer_text(mut self, status: u16, media: &'static str, about: &'static str) -> Self {
        let payload = Some(Payload { media, schema: None, example: None });
        self.answers.push(Answer { status, about, payload, text: None, headers: Vec::new() });
        self
    }

    /// An answer without a body (204, 304).
    #[must_use]
    pub fn answer_empty(mut self, status: u16, about: &'static str) -> Self {
        self.answers.push(Answer { status, about, payload: None, text: None, headers: Vec::new() });
        self
    }

    /// A header of the last answer that was named.
    #[must_use]
    pub fn header(mut self, name: &'static str, about: &'static str) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.headers.push((name, about));
        }
        self
    }

    /// Refusals beyond those that every operation of its kind has (key, body, our troubles), by their names
    /// in [`crate::http::codes`].
    #[must_use]
    pub fn codes(mut self, codes: &[&'static str]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The codes that are its own.
    pub fn own_codes(&self) -> &[&'static str] {
        &self.codes
    }

    /// The path, with `{name}` for parameters.
    pub fn path(&self) -> &'static str {
        self.path
    }
}
