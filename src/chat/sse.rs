//! Server-sent events, as far as a stream of answers needs them: the `data` of each event.

/// Bytes of one event, at most.
const LONGEST: usize = 1024 * 1024;

/// An event is longer than any answer's could be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Parts a stream of bytes into events; a character or a line may come in pieces.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    /// The last byte was a carriage return: a line feed behind it ends no second line.
    after_return: bool,
    begun: bool,
}

impl Events {
    /// Takes the next bytes, and hands over the data of each event that ends in them.
    pub(super) fn push(&mut self, bytes: &[u8], mut event: impl FnMut(String)) -> Result<(), TooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    self.end_line(&mut event);
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                    if self.line.len() + self.data.len() > LONGEST {
                        return Err(TooLong);
                    }
                }
            }
        }
        Ok(())
    }

    fn end_line(&mut self, event: &mut impl FnMut(String)) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !self.begun {
            self.begun = true;
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                event(std::mem::take(&mut self.data));
            }
            return;
        }
        // A line that begins with a colon is a comment; other fields than the data say nothing here.
        let value = match line.strip_prefix(b"data") {
            Some(b"") => b"".as_slice(),
            Some(rest) => match rest.strip_prefix(b":") {
                Some(value) => value.strip_prefix(b" ").unwrap_or(value),
                None => return,
            },
            None => return,
        };
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(&String::from_utf8_lossy(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece, |data| found.push(data)).unwrap();
        }
        found
    }

    #[test]
    fn events_are_parted_wherever_the_bytes_are() {
        let stream = "\u{feff}: hello\n\ndata: {\"a\": \"é€😀\"}\r\n\r\nevent: x\rid: 7\rdata:b\rdata: c\r\rdata\n\ndata: [DONE]\n\ndata: lost";
        let expected = ["{\"a\": \"é€😀\"}", "b\nc", "", "[DONE]"];
        let bytes = stream.as_bytes();
        assert_eq!(read(&[bytes]), expected);
        for at in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..at], &bytes[at..]]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), expected);
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        assert_eq!(read(&[b"database: x\ndat: y\n\n:\n\n\n\n"]), [""; 0]);
        assert_eq!(read(&[b"data: \xff\n\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        assert_eq!(events.push(&vec![b'x'; LONGEST], |_| {}), Ok(()));
        assert_eq!(events.push(b"x", |_| {}), Err(TooLong));
        let mut events = Events::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; LONGEST / 2], b"\n"].concat();
        assert_eq!(events.push(&line, |_| {}), Ok(()));
        assert_eq!(events.push(&line, |_| {}), Err(TooLong));
    }
}
