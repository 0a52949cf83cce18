//! A connection to a resolver over TLS (RFC 7858) or HTTPS (RFC 8484): messages go in and replies come out as octets.
//!
//! Apart from who keeps it and when. hickory's own transports read every message into records and lose what they cannot
//! read, so nothing of hickory is here but whom TLS trusts; an answer must reach the client as the resolver wrote it.

use std::collections::HashMap;
use std::io::{self, Cursor, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};

use h2::client::SendRequest;
use hickory_resolver::TlsConfig;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{Channel, Target};

/// What DNS messages are in HTTP (RFC 8484 section 6).
const DNS_MESSAGE: &str = "application/dns-message";
/// What TLS calls HTTP/2, the least that RFC 8484 section 5.2 advises.
const HTTP_2: &[u8] = b"h2";
/// The port that an authority need not name.
const HTTPS_PORT: u16 = 443;
/// Questions that wait to be written.
const UNWRITTEN: usize = 64;

/// A connection; clones share it, and the last takes it down.
#[derive(Clone)]
pub enum Connection {
    /// To the task that has it.
    Tls(mpsc::Sender<Question>),
    /// HTTP/2 has a stream for each question.
    Https(SendRequest<Cursor<Vec<u8>>>, Uri),
}

/// A message, and who waits for its reply.
pub type Question = (Vec<u8>, oneshot::Sender<Vec<u8>>);

/// Why there is no reply.
#[derive(Debug)]
pub enum Failure {
    /// The connection is of no use any more.
    Broken(io::Error),
    /// The resolver says so, over HTTP.
    Said(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        Self::Broken(io::Error::other(error))
    }
}

impl Connection {
    /// Connects, and shakes hands.
    ///
    /// # Errors
    /// Nobody is there, or nobody whom the certificate is for.
    pub async fn to(target: &Target, trust: &TlsConfig) -> io::Result<Self> {
        match &target.channel {
            Channel::Plain => Err(ErrorKind::Unsupported.into()),
            Channel::Tls(host) => {
                let stream = shake_hands(target, host, trust, &[]).await?;
                let (questions, asked) = mpsc::channel(UNWRITTEN);
                tokio::spawn(carry(stream, asked));
                Ok(Self::Tls(questions))
            }
            Channel::Https { host, path } => {
                let uri = uri(host, target.address.port(), path).map_err(io::Error::other)?;
                let stream = shake_hands(target, host, trust, &[HTTP_2]).await?;
                if stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
                    return Err(io::Error::other("it does not offer HTTP/2"));
                }
                let (requests, connection) =
                    h2::client::Builder::new().enable_push(false).handshake(stream).await.map_err(io::Error::other)?;
                // What it ends with, those who wait are told.
                tokio::spawn(async { drop(connection.await) });
                Ok(Self::Https(requests, uri))
            }
        }
    }

    /// Sends a message; the reply has its id.
    ///
    /// # Errors
    /// There will be none.
    pub async fn ask(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut reply = match self {
            Self::Tls(questions) => {
                let (reply, awaited) = oneshot::channel();
                let gone = || io::Error::from(ErrorKind::ConnectionReset);
                questions.send((message.to_vec(), reply)).await.map_err(|_| gone())?;
                awaited.await.map_err(|_| gone())?
            }
            Self::Https(requests, uri) => {
                let mut message = message.to_vec();
                // So that equal questions are equal requests (RFC 8484 section 4.1).
                put_id(&mut message, 0);
                post(requests.clone(), uri.clone(), message).await?
            }
        };
        put_id(&mut reply, id(message));
        Ok(reply)
    }
}

/// Connects, and finds out whether the certificate is for `host`.
async fn shake_hands(
    target: &Target,
    host: &str,
    trust: &TlsConfig,
    alpn: &[&[u8]],
) -> io::Result<TlsStream<TcpStream>> {
    let mut config = trust.config.clone();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = host.to_owned().try_into().map_err(io::Error::other)?;
    let stream = TcpStream::connect(target.address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Where questions are posted.
fn uri(host: &str, port: u16, path: &str) -> Result<Uri, http::Error> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let authority = if port == HTTPS_PORT { host } else { format!("{host}:{port}") };
    let builder = Uri::builder().scheme(Scheme::HTTPS).authority(Authority::try_from(authority)?);
    builder.path_and_query(PathAndQuery::try_from(path)?).build()
}

/// Carries messages over TLS until the connection ends or nobody can ask any more. Replies come in any order (RFC 7766
/// section 6.2.1.1), so each question has an id of its own.
async fn carry(stream: TlsStream<TcpStream>, mut asked: mpsc::Receiver<Question>) {
    let (mut reading, mut writing) = split(stream);
    let waiting: Mutex<HashMap<u16, oneshot::Sender<Vec<u8>>>> = Mutex::default();
    let waiting = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let write = async {
        let mut next = 0_u16;
        while let Some((mut message, reply)) = asked.recv().await {
            {
                let mut waiting = waiting();
                waiting.retain(|_, reply| !reply.is_closed());
                // Far fewer wait than there are ids.
                while waiting.contains_key(&next) {
                    next = next.wrapping_add(1);
                }
                waiting.insert(next, reply);
            }
            put_id(&mut message, next);
            next = next.wrapping_add(1);
            let length = (message.len() as u16).to_be_bytes();
            writing.write_all(&[&length, &*message].concat()).await?;
            writing.flush().await?;
        }
        writing.shutdown().await
    };
    let read = async {
        loop {
            let mut message = vec![0; reading.read_u16().await?.into()];
            reading.read_exact(&mut message).await?;
            if let Some(reply) = waiting().remove(&id(&message)) {
                // Who waited may have gone.
                let _ = reply.send(message);
            }
        }
    };
    // Whoever still waits hears that the connection is gone.
    let _: io::Result<()> = tokio::select! { ended = write => ended, ended = read => ended };
}

/// Sends a message in a request of its own, and takes what the response has.
async fn post(requests: SendRequest<Cursor<Vec<u8>>>, uri: Uri, message: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let request = Request::post(uri).header(CONTENT_TYPE, DNS_MESSAGE).header(ACCEPT, DNS_MESSAGE);
    let request = request.body(()).map_err(io::Error::other)?;
    let (response, mut body) = requests.ready().await?.send_request(request, false)?;
    body.send_data(Cursor::new(message), true)?;
    let (head, mut body) = response.await?.into_parts();
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_message = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(DNS_MESSAGE));
    if !head.status.is_success() || !is_message {
        return Err(Failure::Said(format!("{} with content of type {kind:?}", head.status)));
    }
    let mut reply = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        reply.extend_from_slice(&part);
        if reply.len() > usize::from(u16::MAX) {
            return Err(Failure::Said("more than a DNS message has".into()));
        }
        body.flow_control().release_capacity(part.len())?;
    }
    Ok(reply)
}

fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

fn put_id(message: &mut [u8], id: u16) {
    if let Some(first) = message.first_chunk_mut() {
        *first = id.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_the_host_and_an_unusual_port() {
        let shown = |host, port| uri(host, port, "/dns-query").unwrap().to_string();
        assert_eq!(shown("dns.corp.example", 443), "https://dns.corp.example/dns-query");
        assert_eq!(shown("10.0.0.53", 8443), "https://10.0.0.53:8443/dns-query");
        assert_eq!(shown("fd00::53", 8443), "https://[fd00::53]:8443/dns-query");
    }
}
