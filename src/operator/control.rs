//! What can be asked for, and done, over the control socket: JSON for `phzd ctl`.

use std::net::IpAddr;
use std::sync::Arc;

use form_urlencoded::parse;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::web::{Reply, Site};
use phzd::wire::Name;

/// The control socket, for one connection.
#[derive(Debug)]
pub struct Control {
    /// What it is about.
    pub desk: Arc<Desk>,
    /// Whether whoever connected may use it.
    pub allowed: bool,
}

/// What came of a reload.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// The new configuration serves.
    pub reloaded: bool,
    /// Every mistake, or every warning, as `phzd check` says them; empty if there is none.
    pub told: String,
}

/// What came of a flush.
#[derive(Debug, Serialize, Deserialize)]
pub struct Flushed {
    /// Answers that were forgotten.
    pub flushed: usize,
}

impl Site for Control {
    async fn answer(&self, request: &Request<Incoming>) -> Reply {
        let Self { desk, allowed } = self;
        if !allowed {
            return Reply::text(StatusCode::FORBIDDEN, "the control socket is for root and for phzd's own user");
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/status") => Reply::json(&desk.status()),
            (&Method::GET, "/stats") => Reply::json(&desk.resolver.observe()),
            (&Method::GET, "/endpoints") => Reply::json(&desk.resolver.endpoints()),
            (&Method::GET, "/explain") => match question(request) {
                Ok((name, kind, client)) => Reply::json(&desk.resolver.explain(&name, kind, client)),
                Err(wrong) => wrong,
            },
            (&Method::GET, "/cache") => match name(request) {
                Ok(name) => Reply::json(&desk.resolver.cached(&name)),
                Err(wrong) => wrong,
            },
            (&Method::POST, "/flush") => match name(request) {
                Ok(name) => {
                    let (below, desk) = (parameter(request, "below").is_some(), Arc::clone(desk));
                    // All names are gone through for those below, and there may be millions.
                    let flushed = tokio::task::spawn_blocking(move || desk.resolver.flush(&name, below)).await;
                    flushed.map_or_else(|_| Reply::not_found(), |flushed| Reply::json(&Flushed { flushed }))
                }
                Err(wrong) => wrong,
            },
            (&Method::POST, "/reload") => reload(desk).await,
            _ => Reply::not_found(),
        }
    }

    fn turned_away(&self) {
        self.desk.turned_away.add(1);
    }
}

/// Reads the configuration again, on a thread that may wait for the disk.
async fn reload(desk: &Arc<Desk>) -> Reply {
    let desk = Arc::clone(desk);
    let told = tokio::task::spawn_blocking(move || match desk.reload() {
        Ok(warnings) => Reloaded { reloaded: true, told: warnings.to_string() },
        Err(problems) => Reloaded { reloaded: false, told: problems.to_string() },
    });
    match told.await {
        Ok(told) => Reply::json(&told),
        Err(_) => Reply::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the reload failed unexpectedly; the old policy goes on serving: please report it",
        ),
    }
}

/// The domain name that is asked about.
fn name(request: &Request<Incoming>) -> Result<Name, Reply> {
    let text = parameter(request, "name").unwrap_or_default();
    text.parse().map_err(|error| Reply::text(StatusCode::BAD_REQUEST, format!("{text:?} is no domain name: {error}")))
}

/// A name, a type, a client.
fn question(request: &Request<Incoming>) -> Result<(Name, u16, IpAddr), Reply> {
    let wrong = |what: &str, text: &str| Reply::text(StatusCode::BAD_REQUEST, format!("{text:?} is no {what}"));
    let (kind, client) = ["type", "client"].map(|key| parameter(request, key).unwrap_or_default()).into();
    let kind = kind.parse().map_err(|_| wrong("number of a record type", &kind))?;
    let client = client.parse().map_err(|_| wrong("address", &client))?;
    Ok((name(request)?, kind, client))
}

/// A parameter of the query string.
pub fn parameter(request: &Request<Incoming>, key: &str) -> Option<String> {
    let query = request.uri().query()?;
    parse(query.as_bytes()).find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
}
