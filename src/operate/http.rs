//! `/live`, `/ready` and `/metrics` on a thread of its own.
//!
//! What a client can cost is bounded: so many connections, one request each, so many bytes of head, so much time for all of it.
//! Whatever it sends, the coordinator is never asked: answers come from the board.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::board::Board;
use super::prometheus;

/// Connections served at once; one more is closed at once.
const CONNECTIONS_MAX: usize = 32;
/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for a whole exchange, a slow reader included.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Fields of a head.
const HEADERS_MAX: usize = 64;
/// Bytes of a head.
const HEAD_BYTES_MAX: usize = 16 << 10;
const JSON: &str = "application/json";

/// The listener; closed on drop.
#[derive(Debug)]
pub(crate) struct HttpServer {
    /// Where it listens: the port is the system's choice where 0 was asked for.
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens.
    pub(crate) fn start(address: SocketAddr, board: Arc<Board>) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen at {address} (operate.listen); is another process there?"))?;
        listener.set_nonblocking(true).context("listener")?;
        let address = listener.local_addr().context("listener")?;
        if !address.ip().is_loopback() {
            tracing::warn!(event = "http_exposed", %address, "health and metrics can be read by whoever reaches this address");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime of the listener")?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(accept(listener, &board, stopped)) {
                tracing::error!(event = "http_failed", %error, "health and metrics are not served any more");
            }
        })?;
        tracing::info!(event = "http_listening", %address, "health and metrics are served");
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!(event = "http_panicked", "the thread of health and metrics panicked");
        }
    }
}

async fn accept(listener: std::net::TcpListener, board: &Arc<Board>, mut stopped: oneshot::Receiver<()>) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut open: JoinSet<()> = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if open.len() < CONNECTIONS_MAX => {
                    open.spawn(serve(stream, Arc::clone(board)));
                }
                Ok((stream, _)) => drop(stream),
                Err(error) => {
                    // Out of file descriptors, or a client that is gone already: neither ends the listener.
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn serve(stream: TcpStream, board: Arc<Board>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(request.method(), request.uri().path(), &board);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(EXCHANGE_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}

fn answer(method: &Method, path: &str, board: &Board) -> Response<String> {
    let known = matches!(path, "/live" | "/ready" | "/metrics");
    if known && method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, JSON, json!({ "error": "only GET and HEAD" }).to_string());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let sight = board.sight();
    let status = |good: bool| if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match path {
        "/live" => {
            let live = sight.live();
            text(status(live), JSON, json!({ "live": live, "stage": sight.stage.as_str() }).to_string())
        }
        "/ready" => {
            let reasons = sight.reasons();
            let ready = reasons.is_empty();
            text(status(ready), JSON, json!({ "ready": ready, "stage": sight.stage.as_str(), "reasons": reasons }).to_string())
        }
        "/metrics" => match prometheus::encode(sight) {
            Ok(page) => text(StatusCode::OK, prometheus::CONTENT_TYPE, page),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, JSON, json!({ "error": error.to_string() }).to_string()),
        },
        _ => text(StatusCode::NOT_FOUND, JSON, json!({ "error": "there are /live, /ready and /metrics" }).to_string()),
    }
}

fn text(status: StatusCode, media: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
