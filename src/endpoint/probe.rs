//! One health check: a TCP connection to an address, closed as soon as it is made. Nothing is sent, so no service takes
//! it for a request.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

/// Connects to `target`.
///
/// # Errors
/// Why there is no connection after `patience`, in words for the log.
pub async fn probe(target: SocketAddr, patience: Duration) -> Result<(), String> {
    match timeout(patience, TcpStream::connect(target)).await {
        Ok(Ok(_closed)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {patience:?}")),
    }
}
