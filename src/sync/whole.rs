//! Reading a stream whole without storing anything.

use connector_sdk::{ConnectorError, Cursor, Next, Page, Partition, ReadMode, Session, Timestamp};

/// The pages of a stream, one partition after the other. Offers to divide a partition are not taken up.
pub(super) struct WholeRead<'a> {
    session: &'a dyn Session,
    stream: &'a str,
    open: Vec<Partition>,
    cursor: Option<Cursor>,
}

impl<'a> WholeRead<'a> {
    /// Plans the read.
    ///
    /// # Errors
    /// The provider's.
    pub(super) async fn begin(
        session: &'a dyn Session,
        stream: &'a str,
        now: Timestamp,
    ) -> Result<Self, ConnectorError> {
        let open = session.plan(stream, ReadMode::Full, now).await?;
        Ok(Self { session, stream, open, cursor: None })
    }

    /// The next page, or `None` when all were read.
    ///
    /// # Errors
    /// The provider's.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, ConnectorError> {
        let Some(partition) = self.open.last() else { return Ok(None) };
        let page =
            self.session.read_page(self.stream, ReadMode::Full, partition, self.cursor.as_ref()).await?;
        match &page.next {
            Next::More(cursor) => self.cursor = Some(cursor.clone()),
            Next::CaughtUp(_) => {
                self.cursor = None;
                self.open.pop();
            }
        }
        Ok(Some(page))
    }
}
