//! What stands on the HTTP listener: metrics, health, readiness, and how the daemon is. Nothing here changes anything.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::ACCEPT;
use hyper::{Method, Request, StatusCode};

use super::desk::Desk;
use super::exposition::{self, Format};
use super::web::{Reply, Site};

/// The pages.
#[derive(Debug)]
pub struct Pages(pub Arc<Desk>);

impl Site for Pages {
    async fn answer(&self, request: &Request<Incoming>) -> Reply {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Reply::text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        }
        let Self(desk) = self;
        match request.uri().path() {
            "/" => Reply::text(StatusCode::OK, desk.status().to_string().trim_end()),
            "/metrics" => {
                let accepted = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                metrics(desk, Format::accepted(accepted.unwrap_or_default()))
            }
            // That this is answered is all it says: the process is there.
            "/healthz" => Reply::text(StatusCode::OK, "ok"),
            "/readyz" => match desk.not_ready(&desk.resolver.observe()) {
                None => Reply::text(StatusCode::OK, "ready"),
                Some(why) => Reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}")),
            },
            _ => Reply::not_found(),
        }
    }

    fn turned_away(&self) {
        self.0.turned_away.add(1);
    }
}

fn metrics(desk: &Arc<Desk>, format: Format) -> Reply {
    match exposition::write(desk, format) {
        Ok(body) => Reply { status: StatusCode::OK, kind: format.media_type(), body },
        Err(error) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
