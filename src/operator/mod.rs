//! The operator's side of the daemon: metrics and health over HTTP, and the control socket.
//!
//! A thread with a runtime of its own, so that whatever is asked of it takes nothing from those who answer queries but the
//! processor's time. A listener that cannot be had is said and done without: names must resolve all the same.

pub mod client;
pub mod control;
pub mod desk;
mod exposition;
mod pages;
pub mod status;
pub mod web;

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tracing::{error, info};

use control::Control;
use desk::Desk;
use pages::Pages;
use web::{Door, serve};

/// The control socket's permissions: its owner's alone.
const OWNER_ONLY: u32 = 0o600;

/// The listeners, until this is dropped.
#[derive(Debug)]
pub struct Operator {
    _stop: oneshot::Sender<()>,
    /// The control socket, to be removed, and its inode: by then another may stand there.
    socket: Option<(PathBuf, u64)>,
}

impl Operator {
    /// Starts the thread for what `desk` has settings for.
    ///
    /// # Errors
    /// No thread or no runtime could be had.
    pub fn start(desk: Arc<Desk>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        let inside = runtime.enter();
        let settings = desk.listening.settings();
        let http = settings.http.and_then(http_listener);
        let control = settings.control.as_deref().and_then(|path| {
            let opened = control_listener(path);
            opened.inspect_err(|error| error!("no control socket at {}: {error}", path.display())).ok()
        });
        let socket = control.as_ref().and(settings.control);
        let socket = socket.and_then(|path| inode(&path).map(|inode| (path, inode)));
        drop(inside);
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("operator".into()).spawn(move || {
            runtime.block_on(async {
                tokio::spawn(desk.resolver.pulses().begin("operator").of_runtime());
                http.map(|listener| tokio::spawn(serve(Web(listener, Arc::new(Pages(Arc::clone(&desk)))))));
                control.map(|listener| tokio::spawn(serve(Socket(listener, Arc::clone(&desk)))));
                let _ = stopped.await;
            });
            // A reload may be reading from a disk that does not answer.
            runtime.shutdown_background();
        })?;
        Ok(Self { _stop: stop, socket })
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some((path, own)) = &self.socket
            && inode(path) == Some(*own)
        {
            let _ = fs::remove_file(path);
        }
    }
}

/// The HTTP listener.
struct Web(TcpListener, Arc<Pages>);

impl Door for Web {
    type Stream = TcpStream;
    type Site = Pages;

    async fn accept(&self) -> io::Result<(TcpStream, Arc<Pages>)> {
        Ok((self.0.accept().await?.0, Arc::clone(&self.1)))
    }
}

/// The control socket.
struct Socket(UnixListener, Arc<Desk>);

impl Door for Socket {
    type Stream = UnixStream;
    type Site = Control;

    async fn accept(&self) -> io::Result<(UnixStream, Arc<Control>)> {
        let (stream, _) = self.0.accept().await?;
        let control = Control { desk: Arc::clone(&self.1), allowed: may_control(&stream) };
        Ok((stream, Arc::new(control)))
    }
}

/// Whether the process at the other end is root's, or of the user that phzd runs as.
fn may_control(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

fn http_listener(address: SocketAddr) -> Option<TcpListener> {
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    match listen() {
        Ok(listener) => {
            let address = listener.local_addr().unwrap_or(address);
            info!("metrics at http://{address}/metrics");
            Some(listener)
        }
        Err(error) => {
            error!("no metrics, cannot listen on {address} (HTTP): {error}; see server.http");
            None
        }
    }
}

/// What stands at `path`, by its number in the file system.
fn inode(path: &Path) -> Option<u64> {
    path.symlink_metadata().ok().map(|there| there.ino())
}

/// The control socket at `path`, in a folder that is made if it is missing.
fn control_listener(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        fs::create_dir(folder)?;
    }
    if path.symlink_metadata().is_ok_and(|there| !there.file_type().is_socket()) {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "there is a file, which is no socket; see server.control",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(io::Error::new(ErrorKind::AddrInUse, "another phzd has it; see server.control")),
        // Left behind by one that was killed.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Who connects before is asked who it is all the same.
    fs::set_permissions(path, fs::Permissions::from_mode(OWNER_ONLY))?;
    Ok(listener)
}
