//! Definitions of properties: labels, types, and what the values of enumerations are called. A record's id is
//! `companies.industry`.

use connector_sdk::StreamSpec;

use super::{Reads, Stream, objects};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        incremental: false,
        ..objects(
            "properties",
            "Definitions of the properties of companies, contacts, deals and tickets.",
            "crm.schemas.companies.read",
            5,
        )
    },
    reads: Reads::Properties,
};
