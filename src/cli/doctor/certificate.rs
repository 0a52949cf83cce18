//! Whom an endpoint's certificate is for: a TLS handshake with the bucket's name, as every client makes it.
//!
//! Who is trusted is what the system says, and `SSL_CERT_FILE`, as for resolvers over TLS.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TlsConfig;
use tokio_rustls::rustls::client::{ClientConnection, verify_server_name};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error};

use super::asking::{PATIENCE, list};
use super::finding::Finding;

pub const CHECK: &str = "certificate";

/// Whom the system trusts, or why that is not known.
pub struct Trust(Result<Arc<ClientConfig>, String>);

impl Trust {
    pub fn of_the_system() -> Self {
        Self(TlsConfig::new().map(|tls| Arc::new(tls.config)).map_err(|error| error.to_string()))
    }
}

/// What went wrong in a handshake.
enum Failure {
    Tls(Error),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Tls(error)
    }
}

/// Shakes hands on `stream` for the first of `names`, and looks whether the certificate covers them all.
pub fn check(stream: TcpStream, subject: &str, names: &[&str], trust: &Trust) -> Finding {
    let config = match &trust.0 {
        Ok(config) => Arc::clone(config),
        Err(why) => {
            let remedy = "install the package ca-certificates: without it no program here can use TLS";
            return Finding::failure(CHECK, subject, format!("this host trusts no authority: {why}"), remedy);
        }
    };
    let first = names.first().copied().unwrap_or_default();
    let uncovered = match shake_hands(stream, first, config) {
        Err(failure) => return failed(subject, first, &failure),
        Ok(connection) => {
            let own = connection.peer_certificates().and_then(<[_]>::first);
            let parsed = own.and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
            let covers = |name: &str| {
                let name = ServerName::try_from(name).ok();
                parsed.as_ref().zip(name).is_some_and(|(own, name)| verify_server_name(own, &name).is_ok())
            };
            names.iter().filter(|name| !covers(name)).collect::<Vec<_>>()
        }
    };
    if !uncovered.is_empty() {
        return of_another(subject, &list(&uncovered), &format!("it is for {first}"));
    }
    Finding::ok(CHECK, subject, format!("covers {}", list(names)))
}

/// A handshake within [`PATIENCE`]; nothing is sent or read after it.
fn shake_hands(mut stream: TcpStream, name: &str, config: Arc<ClientConfig>) -> Result<ClientConnection, Failure> {
    let deadline = Instant::now() + PATIENCE;
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(config, name)?;
    while tls.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        stream.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        if tls.wants_write() {
            tls.write_tls(&mut stream)?;
        } else if tls.read_tls(&mut stream)? == 0 {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        } else if let Err(error) = tls.process_new_packets() {
            // The server is told why, if it still listens.
            let _ = tls.write_tls(&mut stream);
            return Err(error.into());
        }
    }
    // The end of the handshake, so that the server has nothing to complain of.
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut stream)?;
    }
    Ok(tls)
}

fn failed(subject: &str, name: &str, failure: &Failure) -> Finding {
    let error = match failure {
        Failure::Tls(Error::InvalidCertificate(error)) => error,
        Failure::Tls(error) => {
            let remedy = "look whether the address is the endpoint's, and for a device in between that speaks for it";
            return Finding::failure(CHECK, subject, format!("TLS fails: {error}"), remedy);
        }
        Failure::Io(error) => {
            let why = match error.kind() {
                ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("no answer in {} s", PATIENCE.as_secs()),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => "it closes the connection".into(),
                _ => error.to_string(),
            };
            let remedy = "look whether the address is the endpoint's, and for a device in between that drops TLS";
            return Finding::failure(CHECK, subject, format!("TLS does not begin: {why}"), remedy);
        }
    };
    match error {
        CertificateError::NotValidForName => of_another(subject, name, "it is for somebody else"),
        CertificateError::NotValidForNameContext { presented, .. } => {
            // `DnsName("example.com")`.
            let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
            let presented: Vec<String> = presented.iter().map(bare).collect();
            of_another(subject, name, &format!("it is for {}", list(&presented)))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let remedy = "look at this host's clock first (chronyc tracking; AWS has a time server at 169.254.169.123)";
            Finding::failure(CHECK, subject, "the certificate has expired", remedy)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let remedy = "look at this host's clock (chronyc tracking; AWS has a time server at 169.254.169.123)";
            Finding::failure(CHECK, subject, "the certificate is not valid yet", remedy)
        }
        CertificateError::UnknownIssuer => {
            let remedy = "renew the package ca-certificates; if a device in between opens TLS, exempt the endpoint from it, \
                          or name its authority in SSL_CERT_FILE";
            let said = "the certificate is of an authority that this host does not know";
            Finding::failure(CHECK, subject, said, remedy)
        }
        other => {
            let remedy = "an endpoint of AWS has a good certificate: look who answers at this address";
            Finding::failure(CHECK, subject, format!("the certificate cannot be trusted: {other}"), remedy)
        }
    }
}

fn of_another(subject: &str, name: &str, whose: &str) -> Finding {
    let remedy = "look whether the address is that of an interface endpoint for S3, and of the bucket's region: each region has \
                  an endpoint of its own";
    Finding::failure(CHECK, subject, format!("the certificate does not cover {name}: {whose}"), remedy)
}
