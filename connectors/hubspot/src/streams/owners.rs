//! Owners: the people of the portal who look after records, former ones included.

use connector_sdk::StreamSpec;

use super::{Reads, Stream, objects};

pub(super) const STREAM: Stream = Stream {
    spec: StreamSpec {
        incremental: false,
        ..objects("owners", "Owners of records, former ones included.", "crm.objects.owners.read", 1)
    },
    reads: Reads::Owners,
};
