//! The split horizon in a hickory server: `cargo run --example hickory_server [ADDRESS:PORT] [CONFIGURATION]`.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hickory_server::Server;
use phzd::config::Config;
use phzd::hickory::Handler;
use phzd::resolver::Resolver;
use tokio::net::{TcpListener, UdpSocket};

/// How long a connection may be idle.
const IDLE: Duration = Duration::from_secs(5);
/// Replies that may wait on a connection.
const QUEUE: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:5300".into()).parse()?;
    let path = arguments.next().unwrap_or_else(|| "config/phzd.toml".into());
    let (config, _warnings) = Config::load(Path::new(&path))?;

    // The one line: whatever else this server does, it now has the split horizon.
    let mut server = Server::new(Handler::new(Resolver::start(&config)?));

    let tcp = TcpListener::bind(address).await?;
    let address = tcp.local_addr()?;
    server.register_socket(UdpSocket::bind(address).await?);
    server.register_listener(tcp, IDLE, QUEUE);
    println!("serving on {address}");
    server.block_until_done().await?;
    Ok(())
}
