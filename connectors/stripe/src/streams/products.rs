//! Products, active or not. Mutable: an incremental read is a full pass.

use connector_sdk::StreamSpec;

use super::Stream;

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        name: "products",
        about: "Products, whose names are the plan names.",
        permission: Some("rak_product_read"),
        incremental: false,
        party: false,
        full_pass_deletes: true,
        feed: true,
        order: 1,
    },
    object: "product",
    list: "GET /v1/products",
    retrieve: "GET /v1/products/:id",
    query: &[],
    expand: &[],
    overlap: None,
    nesting: None,
};
