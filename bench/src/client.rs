//! A plain HTTP/1.1 client on a blocking socket: one connection that stays open, one request at a time.
//!
//! It costs next to nothing, which matters where load and server share two cores.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// Servers close connections that are idle for some seconds; one that old is opened anew.
const IDLE: Duration = Duration::from_secs(2);

/// A connection to a server.
pub struct Client {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
    used: Instant,
    out: Vec<u8>,
    body: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(addr: SocketAddr) -> Result<Self> {
        Ok(Self {
            addr,
            stream: open(addr)?,
            used: Instant::now(),
            out: Vec::new(),
            body: Vec::new(),
        })
    }

    /// Sends a request and gives status and body.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(u16, &[u8])> {
        let (status, length) = self.head(method, path, body, "application/json")?;
        self.body.clear();
        match length {
            Some(length) => {
                self.body.resize(length, 0);
                self.stream.read_exact(&mut self.body)?;
            }
            None => self.chunks()?,
        }
        self.used = Instant::now();
        Ok((status, &self.body))
    }

    /// Sends a request that has to succeed.
    pub fn ok(&mut self, method: &str, path: &str, body: &[u8]) -> Result<&[u8]> {
        let (status, answer) = self.send(method, path, body)?;
        if status != 200 {
            let text = String::from_utf8_lossy(answer)
                .chars()
                .take(400)
                .collect::<String>();
            bail!("{method} {path}: {status} {text}");
        }
        // Borrowed anew: the borrow above ends with the check.
        Ok(&self.body)
    }

    /// Posts JSON below `/api/2.0/mlflow/`; the call has to succeed.
    pub fn post(&mut self, call: &str, body: &[u8]) -> Result<&[u8]> {
        self.ok("POST", &format!("/api/2.0/mlflow/{call}"), body)
    }

    /// Posts JSON below `/api/2.0/mlflow/` and reads the answer.
    pub fn post_json(&mut self, call: &str, body: &Value) -> Result<Value> {
        let answer = self.post(call, body.to_string().as_bytes())?;
        serde_json::from_slice(answer).with_context(|| format!("the answer to {call}"))
    }

    /// Gets from below `/api/2.0/mlflow/`; the call has to succeed.
    pub fn get(&mut self, call_and_query: &str) -> Result<&[u8]> {
        self.ok("GET", &format!("/api/2.0/mlflow/{call_and_query}"), b"")
    }

    /// Gets a file and throws its bytes away; how many there were.
    pub fn download(&mut self, path: &str) -> Result<usize> {
        let (status, length) = self.head("GET", path, b"", "application/json")?;
        ensure!(status == 200, "GET {path}: {status}");
        let mut buffer = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            let left = match length {
                Some(length) => length - total,
                None => self.chunk_length()?,
            };
            if left == 0 {
                break;
            }
            let mut of_chunk = left;
            while of_chunk > 0 {
                let most = of_chunk.min(buffer.len());
                let n = self.stream.read(buffer.get_mut(..most).unwrap_or_default())?;
                ensure!(n > 0, "GET {path}: the connection ended after {total} bytes");
                of_chunk -= n;
                total += n;
            }
            if length.is_none() {
                self.line()?;
            }
        }
        self.used = Instant::now();
        Ok(total)
    }

    /// Sends a request and reads the head of the answer: status, and length unless it comes in chunks.
    fn head(&mut self, method: &str, path: &str, body: &[u8], kind: &str) -> Result<(u16, Option<usize>)> {
        if self.used.elapsed() > IDLE {
            self.stream = open(self.addr)?;
        }
        self.out.clear();
        write!(
            self.out,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        )?;
        if body.len() <= 256 * 1024 {
            // One packet for head and body, so that no server waits for the second.
            self.out.extend_from_slice(body);
            self.stream.get_mut().write_all(&self.out)?;
        } else {
            self.stream.get_mut().write_all(&self.out)?;
            self.stream.get_mut().write_all(body)?;
        }
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.with_context(|| format!("{method} {path}: not an HTTP answer: `{first}`"))?;
        let mut length = Some(0);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok((status, length));
            }
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse().context("content-length")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = None;
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line)? > 0,
            "the server closed the connection"
        );
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn chunk_length(&mut self) -> Result<usize> {
        let line = self.line()?;
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
        let length = length.with_context(|| format!("a chunk's length: `{line}`"))?;
        if length == 0 {
            self.line()?;
        }
        Ok(length)
    }

    fn chunks(&mut self) -> Result<()> {
        loop {
            let length = self.chunk_length()?;
            if length == 0 {
                return Ok(());
            }
            let start = self.body.len();
            self.body.resize(start + length, 0);
            self.stream
                .read_exact(self.body.get_mut(start..).unwrap_or_default())?;
            self.line()?;
        }
    }
}

fn open(addr: SocketAddr) -> Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(addr).with_context(|| format!("connecting to {addr}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    stream.set_write_timeout(Some(Duration::from_secs(120)))?;
    Ok(BufReader::with_capacity(256 * 1024, stream))
}
