//! A client that costs next to nothing: one keep-alive connection, requests as bytes.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::with_capacity(64 * 1024) }
    }

    /// The head of the answer that came last, in small letters.
    pub fn head(&self) -> String {
        let end = self.buffer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(self.buffer.len());
        String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase()
    }

    /// Sends a whole request and reads the whole answer; its status.
    pub async fn call(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.expect("sent");
        self.buffer.clear();
        loop {
            let n = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(n > 0, "the server closed the connection");
            if let Some(head) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
                // Such an answer has no body.
                if text.starts_with("http/1.1 304") {
                    return 304;
                }
                let length = text
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .and_then(|value| value.trim().parse::<usize>().ok())
                    .expect("answers carry a length");
                while self.buffer.len() < head + 4 + length {
                    let n = self.stream.read_buf(&mut self.buffer).await.expect("a body");
                    assert!(n > 0, "the server cut a body");
                }
                return text.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
            }
        }
    }
}

/// A POST with these headers.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    request
}
