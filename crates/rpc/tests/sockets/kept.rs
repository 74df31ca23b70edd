//! HTTP/1.1 connections whose requests are answered before their bodies are read.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::common::House;

const BODY: &[u8] = b"{\"inputs\":[1]}";

fn head(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{more}\r\n"
    )
}

/// One answer with its body, or as much of it as came before the connection ended.
async fn answer(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let whole = async {
        while !is_whole(&String::from_utf8_lossy(&got)) {
            if stream.read_buf(&mut got).await.unwrap_or_default() == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), whole)
        .await
        .unwrap();
    String::from_utf8_lossy(&got).to_ascii_lowercase()
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_none_or(|length| body.len() >= length.parse::<usize>().unwrap())
}

fn says_last(answer: &str) -> bool {
    answer.contains("\r\nconnection: close\r\n")
}

#[tokio::test]
async fn a_connection_is_kept_or_its_client_is_told() {
    let house = House::start().await;
    let mut kept = 0;
    for path in ["/nothing", "/health"].repeat(10) {
        let mut stream = TcpStream::connect(house.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for call in 0..3 {
            stream
                .write_all(head(path, BODY.len(), "").as_bytes())
                .await
                .unwrap();
            // The server has the headers and may answer.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let sent = stream.write_all(BODY).await;
            let got = answer(&mut stream).await;
            assert!(
                got.starts_with("http/1.1 40"),
                "call {call} of {path}: {got:?} {sent:?}"
            );
            if says_last(&got) {
                break;
            }
            kept += usize::from(call == 2);
        }
    }
    // A busy machine may be late with a body, but not always.
    assert!(kept > 0);
}

#[tokio::test]
async fn a_long_rest_ends_the_connection() {
    let house = House::start().await;
    for (length, more) in [(1 << 20, ""), (BODY.len(), "expect: 100-continue\r\n")] {
        let mut stream = TcpStream::connect(house.addr).await.unwrap();
        let head = head("/nothing", length, more);
        stream.write_all(head.as_bytes()).await.unwrap();
        let got = answer(&mut stream).await;
        assert!(got.starts_with("http/1.1 404"), "{got}");
        assert!(says_last(&got), "{got}");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn a_rest_that_does_not_come_is_not_waited_for() {
    let house = House::start().await;
    let mut stream = TcpStream::connect(house.addr).await.unwrap();
    stream
        .write_all(head("/nothing", BODY.len(), "").as_bytes())
        .await
        .unwrap();
    let got = answer(&mut stream).await;
    assert!(got.starts_with("http/1.1 404") && says_last(&got), "{got}");
}
