//! `phzd demo`: the real server on loopback addresses, asked as a host of a private and as one of a public subnet.
//!
//! It needs neither root nor AWS: the VPC's resolver is the [stand-in](crate::stand_in), the subnets are blocks of
//! 127.0.0.0/8, and `config/demo.toml` is what a user would write for them.

mod questions;
mod report;

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::listening;
use crate::stand_in::StandIn;
use phzd::config::Config;
use phzd::resolver::Resolver;
use phzd::server::sockets::{self, Opened, Reason};
use phzd::server::{Listener, Server};

/// What is served.
const CONFIG: &str = include_str!("../../config/demo.toml");
/// Threads of the runtime: the server's TCP, the stand-in, the signals.
const RUNTIME_THREADS: usize = 2;

/// Serves, asks and shows the answers; then serves on until Ctrl-C, or with `once` ends with status 1 if one was wrong.
pub fn demo(once: bool) -> ExitCode {
    match show(once) {
        Ok(good) if good || !once => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("phzd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every answer was as it should be.
fn show(once: bool) -> Result<bool, Box<dyn Error>> {
    let (mut config, _) = Config::parse("config/demo.toml", CONFIG)?;
    let (listener, taken) = listen(&config)?;
    let address = listener.local_addr()?;
    let runtime = Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    runtime.block_on(async {
        let stand_in = StandIn::start().await?;
        config.server.listen = vec![address];
        config.vpc.resolvers = vec![stand_in.address()];
        let resolver = Resolver::start(&config)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server::start(resolver, vec![listener], listening::limits(&config.server, &config.limits))?;
        let mut serving = tokio::spawn(server.run(async { drop(stopped.await) }));
        let rows = spawn_blocking(move || questions::ask_all(address)).await?;

        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        print(&report::whole(address, stand_in.address(), taken.as_deref(), &rows, once))?;
        if !once {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                ended = &mut serving => {
                    ended?;
                    return Err("the server has ended by itself".into());
                }
            }
        }
        drop(stop);
        serving.await?;
        Ok(rows.iter().all(questions::Row::is_right))
    })
}

/// Sockets on the configured address, or where that is taken, on a free port of it; who has it then.
fn listen(config: &Config) -> Result<(Listener, Option<String>), Box<dyn Error>> {
    let settings = &config.server;
    let address = *settings.listen.first().ok_or("config/demo.toml has no listen address")?;
    let open = |address: SocketAddr| sockets::open(address, settings.udp_threads, settings.receive_buffer);
    let (Opened { listener, .. }, taken) = match open(address) {
        Ok(opened) => (opened, None),
        Err(error) => match error.reason {
            Reason::InUse { holder } => {
                let taken = format!("{address} is taken by {}", holder.as_deref().unwrap_or("another program"));
                (open(SocketAddr::new(address.ip(), 0))?, Some(taken))
            }
            _ => return Err(error.into()),
        },
    };
    Ok((listener, taken))
}

/// Writes to standard output. That nobody reads it is no mistake.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
