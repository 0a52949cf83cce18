//! Asks a running daemon over its control socket.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use form_urlencoded::Serializer;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// How long a reply may take: a reload may have a million names to read.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Debug)]
pub enum CannotAsk {
    /// Nobody is there, or may not be asked.
    Connect(PathBuf, io::Error),
    /// It said no, in words.
    Refused(String),
    /// What came back makes no sense here.
    Reply(String),
}

impl fmt::Display for CannotAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(path, error) => {
                let path = path.display();
                match error.kind() {
                    ErrorKind::NotFound => write!(f, "phzd does not run here: there is no control socket at {path}"),
                    ErrorKind::ConnectionRefused => {
                        write!(f, "phzd does not run here: nobody listens on the control socket {path}")
                    }
                    ErrorKind::PermissionDenied => {
                        write!(f, "this user may not use the control socket {path}: be root, or phzd's own user")
                    }
                    ErrorKind::TimedOut => {
                        write!(f, "phzd has not answered yet; `phzd ctl status` says what has come of it")
                    }
                    _ => write!(f, "cannot ask phzd over the control socket {path}: {error}"),
                }
            }
            Self::Refused(said) => f.write_str(said),
            Self::Reply(error) => write!(
                f,
                "phzd's reply cannot be read, it may be of another version, or too many may be asking: {error}"
            ),
        }
    }
}

impl std::error::Error for CannotAsk {}

/// Asks the daemon at `socket` for what stands at `path` with these parameters; has it done, if `method` is POST.
///
/// # Errors
/// Nobody there, or no as an answer.
pub fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<T, CannotAsk> {
    let query = Serializer::new(String::new()).extend_pairs(parameters).finish();
    let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let connect = |error| CannotAsk::Connect(socket.to_owned(), error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(connect)?;
    let reply = runtime.block_on(async {
        timeout(PATIENCE, exchange(socket, method, target)).await.map_err(|_| connect(ErrorKind::TimedOut.into()))?
    });
    let (status, body) = reply?;
    if status != StatusCode::OK {
        return Err(CannotAsk::Refused(String::from_utf8_lossy(&body).trim_end().to_owned()));
    }
    serde_json::from_slice(&body).map_err(|error| CannotAsk::Reply(error.to_string()))
}

async fn exchange(socket: &Path, method: Method, target: String) -> Result<(StatusCode, Bytes), CannotAsk> {
    let connect = |error| CannotAsk::Connect(socket.to_owned(), error);
    let wrong = |error: hyper::Error| CannotAsk::Reply(error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(connect)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(target).header(HOST, "phzd").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| CannotAsk::Reply(error.to_string()))?;
    let reply = sender.send_request(request).await.map_err(wrong)?;
    let status = reply.status();
    Ok((status, reply.into_body().collect().await.map_err(wrong)?.to_bytes()))
}
