//! Plain HTTP/1.1 over a socket: exactly the bytes that the test says, nothing normalised on the way.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The JSON of a call that succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The error code of a call that MLflow's dialect refused.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let error: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{} {}: {e}", self.status, self.text()));
        error["error_code"].as_str().unwrap().to_owned()
    }
}

/// A call without a body.
#[track_caller]
pub fn get(address: SocketAddr, target: &str) -> Answer {
    send(address, "GET", target, &[], b"")
}

/// A call of MLflow's API, by the path below `/api/2.0/mlflow/`.
#[track_caller]
pub fn post(address: SocketAddr, path: &str, body: &Value) -> Answer {
    json(address, "POST", &format!("/api/2.0/mlflow/{path}"), body)
}

/// A call with a body of JSON.
#[track_caller]
pub fn json(address: SocketAddr, method: &str, target: &str, body: &Value) -> Answer {
    let body = body.to_string();
    send(
        address,
        method,
        target,
        &[("content-type", "application/json")],
        body.as_bytes(),
    )
}

/// Any call.
#[track_caller]
pub fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_send(address, method, target, headers, body).unwrap()
}

/// Any call; errors where the connection breaks before the answer.
pub fn try_send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = open(address, method, target, headers, body.len())?;
    // A server may answer and close before it has read all; what it said counts.
    let written = stream.write_all(body);
    match finish(stream) {
        Err(error) => written.and(Err(error)),
        answer => answer,
    }
}

/// Sends the head of a request whose body, `len` bytes, is still to come.
pub fn open(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    len: usize,
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if len > 0 || method != "GET" {
        head.push_str(&format!("content-length: {len}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    Ok(stream)
}

/// Reads the answer.
pub fn finish(mut stream: TcpStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    let broken = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer is not complete");
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        read?;
        return Err(broken());
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let mut answer = Answer {
        status: status.ok_or_else(broken)?,
        headers: lines.filter_map(header).collect(),
        body: bytes.split_off(end + 4),
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunked(&answer.body).ok_or_else(broken)?;
    } else if let Some(len) = answer
        .header("content-length")
        .and_then(|v| v.parse::<usize>().ok())
        && answer.body.len() < len
    {
        return Err(broken());
    }
    Ok(answer)
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
