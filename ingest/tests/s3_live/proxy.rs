//! Stands between a client and moto and does what moto never does: throttle, refuse, break off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It goes through.
    Forward,
    /// This answer is given instead: status and body.
    Answer(u16, String),
    /// It goes through, and half of the answer comes back.
    BreakOff,
    /// The connection is closed without a word, after the service has done what it was asked.
    LoseAnswer,
}

/// An error as S3 writes it.
pub(crate) fn s3_error(status: u16, code: &str, message: &str) -> Verdict {
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Verdict::Answer(status, body)
}

/// An error as the JSON services write it.
pub(crate) fn json_error(code: &str, message: &str) -> Verdict {
    Verdict::Answer(400, format!(r#"{{"__type":"{code}","message":"{message}"}}"#))
}

/// Starts a proxy before `upstream`; `decide` sees the head of each request. Returns its URL.
pub(crate) fn start(upstream: &str, decide: impl Fn(&str) -> Verdict + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (upstream, decide) = (upstream.trim_start_matches("http://").to_owned(), Arc::new(decide));
    // It lives as long as the process: tests are short.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (upstream, decide) = (upstream.clone(), Arc::clone(&decide));
            std::thread::spawn(move || serve(stream, &upstream, &*decide));
        }
    });
    url
}

fn serve(mut client: TcpStream, upstream: &str, decide: &dyn Fn(&str) -> Verdict) {
    let Some((head, body)) = request(&mut client) else { return };
    let answer = match decide(&head) {
        Verdict::Answer(status, body) => {
            format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
        }
        Verdict::Forward => forward(upstream, &head, &body),
        Verdict::BreakOff => {
            let mut answer = forward(upstream, &head, &body);
            let start = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            answer.truncate(start + (answer.len() - start) / 2);
            answer
        }
        Verdict::LoseAnswer => {
            forward(upstream, &head, &body);
            Vec::new()
        }
    };
    // The client may be gone.
    if client.write_all(&answer).is_ok() {
        let _closed = client.shutdown(Shutdown::Both);
    }
}

/// Reads one request: its head with lower-case names, and its body.
fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let read = client.read(&mut chunk).ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.parse().unwrap_or(0));
        if bytes.len() >= end + 4 + length {
            return Some((head, bytes[end + 4..].to_vec()));
        }
    }
}

fn forward(upstream: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut server = TcpStream::connect(upstream).expect("moto");
    server.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).expect("moto");
    server.write_all(body).expect("moto");
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).expect("moto");
    answer
}
