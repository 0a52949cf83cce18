//! The smallest server: `cargo run --example server [ADDRESS:PORT] [CONFIGURATION]`, until Ctrl-C.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use phzd::config::Config;
use phzd::limits::Prefixes;
use phzd::resolver::Resolver;
use phzd::server::{Limits, Server, sockets};

/// Threads that receive.
const THREADS: usize = 2;
/// Octets.
const RECEIVE_BUFFER: usize = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:5300".into()).parse()?;
    let path = arguments.next().unwrap_or_else(|| "config/phzd.toml".into());

    let (config, warnings) = Config::load(Path::new(&path))?;
    warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let opened = sockets::open(address, THREADS, RECEIVE_BUFFER)?;
    println!("serving on {}", opened.listener.local_addr()?);

    let limits = Limits {
        udp_threads: THREADS,
        pin_threads: false,
        busy_poll: Duration::ZERO,
        tcp_connections: 256,
        tcp_connections_per_client: 16,
        prefixes: Prefixes::new(32, 56),
        tcp_idle: Duration::from_secs(10),
    };
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Server::start(Resolver::start(&config)?, vec![opened.listener], limits)?.run(stop).await;
    Ok(())
}
