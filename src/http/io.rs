//! A socket that gives up on a peer that does not read, and that looks at the first head as it was sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::telemetry::metric;

/// Bytes that a peer must take within the stall time, once it has made us wait.
const LEAST_PROGRESS: usize = 64 * 1024;

/// Bytes of the first head that are looked at; hyper refuses longer ones.
const WATCHED: usize = 32 * 1024;

/// What is wrong with the first head of a connection in a way that the parsed head does not show.
///
/// The parser drops a Content-Length beside a Transfer-Encoding and takes a bare line feed for a line end.
/// Both are how one request is made to look like two to whatever stands in front, and are refused. Only the
/// first head is watched. On a kept connection the parser's own ways hold, which RFC 9112 allows: it ends the
/// connection after a request with both lengths, so that nothing can be smuggled behind it.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadFault(Arc<AtomicU8>);

impl HeadFault {
    const TWO_LENGTHS: u8 = 1;
    const BARE_LINE_FEED: u8 = 2;

    /// What is wrong, in words.
    pub(super) fn found(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            Self::TWO_LENGTHS => Some("Transfer-Encoding and Content-Length are both set"),
            Self::BARE_LINE_FEED => Some("a line of the head does not end in CR LF"),
            _ => None,
        }
    }

    fn judge(&self, head: &[u8]) {
        let mut lengths = (false, false);
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            if line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
                self.0.store(Self::BARE_LINE_FEED, Ordering::Release);
                return;
            }
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
            lengths.0 |= name.eq_ignore_ascii_case(b"content-length");
            lengths.1 |= name.eq_ignore_ascii_case(b"transfer-encoding");
        }
        if lengths == (true, true) {
            self.0.store(Self::TWO_LENGTHS, Ordering::Release);
        }
    }
}

/// The end of a head: an empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.find(|at| {
        let rest = bytes.get(*at..).unwrap_or_default();
        rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
    })
}

/// Writing fails when the peer lets us wait for longer than the stall time without having taken
/// [`LEAST_PROGRESS`] bytes, or everything, meanwhile: a byte a second does not count as reading.
pub(super) struct Guarded {
    stream: TcpStream,
    stall_after: Duration,
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
    fault: HeadFault,
    /// The first head as far as it has come; `None` once it was judged.
    head: Option<Vec<u8>>,
}

impl Guarded {
    pub(super) fn new(stream: TcpStream, stall_after: Duration, fault: HeadFault) -> Self {
        Self { stream, stall_after, waiting: None, fault, head: Some(Vec::new()) }
    }

    fn watch(&mut self, bytes: &[u8]) {
        let Some(head) = &mut self.head else { return };
        head.extend_from_slice(bytes);
        let end = head_end(head);
        if end.is_some() || head.len() > WATCHED {
            self.fault.judge(head.get(..end.unwrap_or(head.len())).unwrap_or_default());
            self.head = None;
        }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn wrote(&mut self, n: usize, everything: bool) {
        if everything {
            self.waiting = None;
        } else if let Some((_, taken)) = &mut self.waiting {
            *taken += n;
            if *taken >= LEAST_PROGRESS {
                self.waiting = None;
            }
        }
    }

    fn stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stall_after = self.stall_after;
        let (sleep, _) = self.waiting.get_or_insert_with(|| (Box::pin(tokio::time::sleep(stall_after)), 0));
        match sleep.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                metrics::counter!(metric::HTTP_CUT_OFF, "reason" => "answer_not_read").increment(1);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn timed(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
        asked: usize,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Pending => self.stalled(cx),
            Poll::Ready(Ok(n)) => {
                self.wrote(n, n == asked);
                Poll::Ready(Ok(n))
            }
            failed => failed,
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.head.is_some() {
            self.watch(buffer.filled().get(before..).unwrap_or_default());
        }
        result
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, result, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        let asked = slices.iter().map(|slice| slice.len()).sum();
        self.timed(cx, result, asked)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(head: &str) -> Option<&'static str> {
        let fault = HeadFault::default();
        let end = head_end(head.as_bytes()).expect("a whole head");
        fault.judge(&head.as_bytes()[..end]);
        fault.found()
    }

    #[test]
    fn heads_are_judged_as_they_were_sent() {
        assert_eq!(judged("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n"), None);
        assert_eq!(judged("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), None);
        // What follows the head is not looked at.
        assert_eq!(judged("GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nTransfer-Encoding: x\n\n"), None);
        for both in [
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 1\r\n\r\n",
        ] {
            assert!(judged(both).unwrap().contains("both set"), "{both:?}");
        }
        for bare in [
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
        ] {
            assert!(judged(bare).unwrap().contains("CR LF"), "{bare:?}");
        }
    }
}
