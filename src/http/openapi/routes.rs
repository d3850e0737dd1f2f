//! Routes that cannot be served without being documented.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::Operation;

/// A router and the operations on it. The only way to a route leads through an [`Operation`], so that what is
/// served is what is documented.
#[derive(Debug)]
pub struct Routes<S = ()> {
    router: Router<S>,
    operations: Vec<Operation>,
    plain: Vec<(&'static str, &'static str)>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes.
    pub fn new() -> Self {
        Self { router: Router::new(), operations: Vec::new(), plain: Vec::new() }
    }

    /// An operation and its handler; method and path are the operation's.
    #[must_use]
    pub fn add<H: Handler<T, S>, T: 'static>(self, operation: Operation, handler: H) -> Self {
        let filter = filter(&operation.method);
        self.with(operation, on(filter, handler))
    }

    /// As [`Self::add`], for a handler with layers of its own around it. The method router must answer the operation's
    /// method and no other.
    #[must_use]
    pub fn with(mut self, operation: Operation, handler: MethodRouter<S>) -> Self {
        self.router = self.router.route(operation.path, handler);
        self.operations.push(operation);
        self
    }

    /// A path that no OpenAPI document can describe (a protocol of its own), with the reason. A test holds the list of them.
    #[must_use]
    pub fn plain(mut self, path: &'static str, handler: MethodRouter<S>, reason: &'static str) -> Self {
        self.router = self.router.route(path, handler);
        self.plain.push((path, reason));
        self
    }

    /// Both.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.operations.extend(other.operations);
        self.plain.extend(other.plain);
        self
    }

    /// Gives the handlers what they stand on.
    pub fn with_state(self, state: S) -> Routes {
        Routes { router: self.router.with_state(state), operations: self.operations, plain: self.plain }
    }

    /// The operations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Paths that are served and not described, with the reason.
    pub fn plain_paths(&self) -> &[(&'static str, &'static str)] {
        &self.plain
    }

    /// The router alone.
    pub fn into_router(self) -> Router<S> {
        self.router
    }
}

/// Methods that operations have; axum's own conversion refuses the others, which no operation can have either.
fn filter(method: &http::Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE)
}
