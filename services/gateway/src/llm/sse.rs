//! Server-sent events as OpenAI-compatible servers send them: the data of each event, whatever the pieces on the wire.
//!
//! Source: the HTML standard, "Server-sent events", <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use lodeway_domain::{Error, Result};

/// An event may be this large.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// Takes a byte stream apart. Only `data` fields are kept.
#[derive(Default)]
pub(super) struct Events {
    /// Bytes of a line whose end has not come.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, whose line feed may be the next one.
    after_cr: bool,
    data: String,
    has_data: bool,
}

impl Events {
    /// Adds bytes and puts the data of each event that they finish into `out`. Errors: an event that is too large, or no
    /// UTF-8.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut impl Extend<String>) -> Result<()> {
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (head, tail) = rest.split_at(at);
            let is_second_half = self.after_cr && at == 0 && tail.first() == Some(&b'\n');
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            if is_second_half {
                continue;
            }
            self.line.extend_from_slice(head);
            let line = std::mem::take(&mut self.line);
            if let Some(event) = self.end_line(&line)? {
                out.extend([event]);
            }
        }
        if !rest.is_empty() {
            self.after_cr = false;
            self.line.extend_from_slice(rest);
        }
        if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
            return Err(broken("sent an event that is too large"));
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<String>> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Ok(std::mem::take(&mut self.has_data).then_some(data));
        }
        let line = str::from_utf8(line).map_err(|_| broken("sent an event that is not UTF-8"))?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            if self.has_data {
                self.data.push('\n');
            }
            self.has_data = true;
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
        }
        Ok(None)
    }
}

fn broken(why: &str) -> Error {
    Error::unavailable(format!("the upstream {why}"), why.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut out) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece, &mut out).unwrap();
        }
        out
    }

    #[test]
    fn events_are_told_apart() {
        let text =
            b": hello\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:one\ndata: two\n\nid: 7\n\ndata\r\rdata: lost";
        assert_eq!(read(&[text]), ["{\"a\":1}", "one\ntwo", ""]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'a'; 1 << 20];
        let mut out = Vec::new();
        let refused = (0..6).find(|_| events.push(&piece, &mut out).is_err());
        assert_eq!(refused, Some(4));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            lines in proptest::collection::vec("(data: ?[a-zä]{0,5}|:c|id: 1)?", 0..12),
            end in prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
            cut in 1_usize..7,
        ) {
            let text: String = lines.iter().map(|line| format!("{line}{end}")).collect();
            let pieces: Vec<_> = text.as_bytes().chunks(cut).collect();
            prop_assert_eq!(read(&pieces), read(&[text.as_bytes()]));
        }
    }
}
