//! HTTP for the operator: connections, and how much of them is borne.
//!
//! hyper reads and writes; here stand the bounds. No request has a body that anybody reads, so a huge one ends its connection;
//! a slow one has a few seconds. Both listeners share this, each with its own [`Site`].

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections of one listener at a time; with one more, it is closed at once.
pub const CONNECTIONS: usize = 64;
/// How long a request's head may take to arrive, and a connection be idle.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection is kept, however busy, or slow to take what it asked for; a scraper makes another.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long a reply may take to be taken once the connection's time is over.
const LAST_REPLY: Duration = Duration::from_secs(10);
/// Octets of a request's head.
const HEAD: usize = 16 * 1024;
/// How long accepting rests when the system is out of descriptors or memory.
const REST: Duration = Duration::from_millis(200);

/// Text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// JSON.
pub const JSON: &str = "application/json";

/// What is replied.
#[derive(Debug)]
pub struct Reply {
    /// How it went.
    pub status: StatusCode,
    /// The body's media type.
    pub kind: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    /// A text, with a line end.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, kind: TEXT, body: text.into() + "\n" }
    }

    /// A value as JSON.
    pub fn json(value: &impl serde::Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self { status: StatusCode::OK, kind: JSON, body },
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    /// There is nothing of this name.
    pub fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "there is nothing here")
    }
}

/// What answers requests.
pub trait Site: Send + Sync + 'static {
    /// Answers one, whose body is not read.
    fn answer(&self, request: &Request<Incoming>) -> impl Future<Output = Reply> + Send;

    /// A connection was closed because there were too many.
    fn turned_away(&self);
}

/// Where connections come in.
pub trait Door: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// What answers on it.
    type Site: Site;

    /// The next connection, and what serves it.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Arc<Self::Site>)>> + Send;
}

/// Serves whoever comes to `door`, for ever.
pub async fn serve(door: impl Door) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match door.accept().await {
            Ok((stream, site)) => {
                // Without a seat it is dropped, which closes it.
                let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
                    site.turned_away();
                    continue;
                };
                tokio::spawn(async move {
                    let _seat = seat;
                    converse(stream, site).await;
                });
            }
            Err(_) => sleep(REST).await,
        }
    }
}

/// One connection.
async fn converse<S: Site>(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, site: Arc<S>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(response(site.answer(&request).await)) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(HEAD);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // How it ends is between the client and the network.
    tokio::select! {
        _ = &mut connection => {}
        () = sleep(LIFETIME) => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST_REPLY, connection).await;
        }
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let built = Response::builder()
        .status(reply.status)
        .header(CONTENT_TYPE, reply.kind)
        .header(CACHE_CONTROL, "no-store")
        .body(Full::new(Bytes::from(reply.body)));
    built.unwrap_or_else(|_| Response::new(Full::default()))
}
