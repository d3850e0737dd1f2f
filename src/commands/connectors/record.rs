//! `halo-sync connectors record`: pages of a connection as fixtures, without what is anybody's.

use std::path::PathBuf;

use connector_sdk::{DynConnector, Next, Priority, ReadMode, Record, Session};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::host::{Access, Host};
use super::super::{App, CommandError};
use crate::kit::{Scrubber, put};
use crate::service::Failure;

/// What is given to `connectors record`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which connection: its id (`con_…`) or name
    #[arg(value_name = "CONN")]
    pub connection: String,
    /// Folder that gets a file STREAM.json for each stream; `connectors/NAME/fixtures` for a connector's own
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only this stream; may be given more than once
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// At most so many pages of each stream
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pages: u32,
    /// At most so many records of each stream
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub records: u32,
}

/// What became of a stream.
#[derive(Debug, Serialize)]
struct Recorded {
    stream: String,
    file: Option<String>,
    records: usize,
    /// Records that are translated before but not after the scrubbing: their files would mislead.
    left_out: usize,
    reason: Option<String>,
}

/// Reads, scrubs, writes. Everything is read before a file is written.
///
/// # Errors
///
/// An unknown connection or stream; the provider's refusals; files that cannot be written.
pub async fn run(app: &App, args: &Args) -> Result<(), CommandError> {
    let loaded = app.settings()?;
    app.start_logs(&loaded, false)?;
    let host = Host::open(app, loaded, Access::Read).await?;
    let connection = host.services.connection(&host.org, &args.connection).await?;
    let providers = &host.services.providers;
    let connector = providers.connector(&connection.connector).map_err(Failure::from)?.clone();
    let spec = connector.spec();
    if let Some(unknown) = args.streams.iter().find(|name| spec.stream(name).is_none()) {
        return Err(CommandError::not_found(format_args!("stream {unknown}"))
            .try_this(format!("halo-sync connectors show {}", spec.id)));
    }
    let session = providers.session(&connection, Priority::Backfill).await.map_err(Failure::from)?;
    let mut streams: Vec<_> = spec
        .streams
        .iter()
        .filter(|s| args.streams.is_empty() || args.streams.iter().any(|n| n == s.name))
        .collect();
    streams.sort_by_key(|stream| (stream.order, stream.name));

    let mut read = Vec::new();
    for stream in streams {
        match pages(app, &*session, stream.name, args).await {
            Ok(records) => read.push((stream.name, Ok(records))),
            Err(error) if error.is_of_one_stream() => read.push((stream.name, Err(error.to_string()))),
            Err(error) => return Err(error.into()),
        }
    }
    let mut scrubber = Scrubber::new();
    for record in read.iter().flat_map(|(_, records)| records.iter().flatten()) {
        scrubber.id(&record.key.id);
    }
    let mut answer = Vec::new();
    for (stream, records) in &read {
        answer.push(match records {
            Ok(records) => write(args, &*connector, &mut scrubber, stream, records)?,
            Err(reason) => Recorded {
                stream: (*stream).to_owned(),
                file: None,
                records: 0,
                left_out: 0,
                reason: Some(reason.clone()),
            },
        });
    }
    app.out.list(
        &answer,
        &[
            ("STREAM", &|r: &Recorded| r.stream.clone()),
            ("RECORDS", &|r| r.records.to_string()),
            ("LEFT OUT", &|r| r.left_out.to_string()),
            ("FILE", &|r| r.file.clone().unwrap_or_default()),
            ("", &|r| r.reason.clone().unwrap_or_default()),
        ],
        "The connector has no streams.",
    )?;
    app.out.note("Look through the files before you commit them: only you know what your account holds.");
    Ok(())
}

async fn pages(
    app: &App,
    session: &dyn Session,
    stream: &str,
    args: &Args,
) -> Result<Vec<Record>, connector_sdk::ConnectorError> {
    let mut out = Vec::new();
    let mut left = args.pages;
    for partition in session.plan(stream, ReadMode::Full, app.clock.now()).await? {
        let mut cursor = None;
        while left > 0 && out.len() < args.records as usize {
            left -= 1;
            let page = session.read_page(stream, ReadMode::Full, &partition, cursor.as_ref()).await?;
            out.extend(page.records.into_iter().filter(|record| record.key.stream == stream));
            match page.next {
                Next::More(next) => cursor = Some(next),
                Next::CaughtUp(_) => break,
            }
        }
    }
    out.truncate(args.records as usize);
    Ok(out)
}

fn write(
    args: &Args,
    connector: &dyn DynConnector,
    scrubber: &mut Scrubber,
    stream: &str,
    records: &[Record],
) -> Result<Recorded, CommandError> {
    let (mut kept, mut left_out) = (Vec::new(), 0);
    for record in records {
        let value: Value = serde_json::from_str(record.payload.get()).map_err(anyhow::Error::from)?;
        let (id, payload) = (scrubber.id(&record.key.id), scrubber.object(&value));
        let text = RawValue::from_string(payload.to_string()).map_err(anyhow::Error::from)?;
        let scrubbed = Record { key: connector_sdk::RecordKey::new(stream, id.as_str()), payload: text };
        if connector.facts(record).is_ok() && connector.facts(&scrubbed).is_err() {
            left_out += 1;
            continue;
        }
        kept.push(json!({ "id": id, "payload": payload }));
    }
    let path = args.out.join(format!("{stream}.json"));
    let text = serde_json::to_string_pretty(&kept).map_err(anyhow::Error::from)?;
    put(&path, &(text + "\n"))?;
    let reason = (left_out > 0).then(|| "some are not understood without what was replaced".to_owned());
    Ok(Recorded {
        stream: stream.to_owned(),
        file: Some(path.display().to_string()),
        records: kept.len(),
        left_out,
        reason,
    })
}
