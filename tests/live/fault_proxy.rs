//! A small HTTP proxy on loopback that stands between an SDK and a server and does what networks and services do: it answers in
//! the server's place, breaks off before or after the request was carried out, or never answers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came in.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Header lines, without the request line.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns a header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An answer in the server's place.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: String,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is carried out and answered.
    Pass,
    /// It is not carried out; this is the answer.
    Instead(Answer),
    /// It is carried out, and this is the answer.
    After(Answer),
    /// It is not carried out; the connection breaks.
    Lost,
    /// It is carried out; the connection breaks before the answer.
    AnswerLost,
    /// It is carried out; no answer ever comes.
    Stalled,
}

type Decide = dyn Fn(&Request) -> Fault + Send + Sync;

/// A running proxy; it ends when dropped.
pub(crate) struct FaultProxy {
    pub(crate) url: String,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
    faults: Arc<AtomicU64>,
}

impl FaultProxy {
    /// Starts a proxy before the server at `upstream` (`http://127.0.0.1:PORT`).
    pub(crate) fn start(upstream: &str, decide: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        let upstream: SocketAddr = upstream.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (stopped, faults) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, count, decide): (_, _, Arc<Decide>) = (Arc::clone(&stopped), Arc::clone(&faults), Arc::new(decide));
        let accepting = std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let (stop, count, decide) = (Arc::clone(&stop), Arc::clone(&count), Arc::clone(&decide));
                std::thread::spawn(move || {
                    // A connection that breaks is what this is for.
                    drop(serve(&client, upstream, &*decide, &stop, &count));
                    drop(client.shutdown(Shutdown::Both));
                });
            }
        });
        Self { url: format!("http://{address}"), address, stopped, listener: Some(accepting), faults }
    }

    /// Returns how many faults there were.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

fn serve(client: &TcpStream, upstream: SocketAddr, decide: &Decide, stop: &AtomicBool, count: &AtomicU64) -> io::Result<()> {
    let Some(request) = read_request(client)? else { return Ok(()) };
    let fault = decide(&request);
    if !matches!(fault, Fault::Pass) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    match fault {
        Fault::Pass => (&*client).write_all(&forward(upstream, &request)?),
        Fault::Instead(answer) => write_answer(client, &answer),
        Fault::After(answer) => forward(upstream, &request).and_then(|_| write_answer(client, &answer)),
        Fault::Lost => Ok(()),
        Fault::AnswerLost => forward(upstream, &request).map(drop),
        Fault::Stalled => {
            forward(upstream, &request)?;
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
    }
}

fn write_answer(mut client: &TcpStream, answer: &Answer) -> io::Result<()> {
    let Answer { status, content_type, body } = answer;
    let head =
        format!("HTTP/1.1 {status} Fault\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

/// Reads a request with a `Content-Length`; `None` if the client hung up before.
fn read_request(mut client: &TcpStream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut piece)? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut body = bytes.split_off(head_end + 4);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut request = Request { method, path, headers, body: Vec::new() };
    if request.header("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length: usize = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while body.len() < length {
        match client.read(&mut piece)? {
            0 => return Ok(None),
            read => body.extend_from_slice(&piece[..read]),
        }
    }
    request.body = body;
    Ok(Some(request))
}

/// Sends a request on and returns the whole answer, as it came.
fn forward(upstream: SocketAddr, request: &Request) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case("expect") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("connection: close\r\n\r\n");
    server.write_all(head.as_bytes())?;
    server.write_all(&request.body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}
