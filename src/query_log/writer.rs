//! The query log's thread: notes in, lines of JSON out, to a file or to systemd's journal.
//!
//! It looks into the queue now and then rather than being woken: a wake-up would cost whoever answers queries a system call
//! for each note. It ends when the last policy that notes to it is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use serde::Serialize;

use super::{Note, PLACES, Slip};
use crate::config::LogTo;
use crate::metrics::{Counts, Registry};
use crate::wire::query::rcode;
use crate::wire::{Name, Transport, presentation};

/// How long it sleeps when there was nothing to write.
const REST: Duration = Duration::from_millis(20);
/// Octets of lines that are written at once.
const CHUNK: usize = 64 * 1024;
/// How often it looks whether its file is still the one of that name: logrotate moves it away.
const LOOK: Duration = Duration::from_secs(1);
/// Where the journal takes entries (systemd's Native Journal Protocol).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// A line of the log.
#[derive(Debug, Serialize)]
struct Line<'a> {
    time: String,
    client: String,
    port: u16,
    transport: &'static str,
    subnet: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    File {
        path: PathBuf,
        file: Option<File>,
        looked: Instant,
        /// What was written last may have no line end.
        torn: bool,
    },
    Journal(Option<UnixDatagram>),
}

/// Starts the thread that writes to `to`; notes go into what is returned. `None` if nothing is to be written.
///
/// # Errors
/// No thread could be had.
pub fn start(to: &LogTo, registry: &Registry) -> io::Result<Option<SyncSender<Slip>>> {
    let sink = match to {
        LogTo::Off => return Ok(None),
        LogTo::Journal => Sink::Journal(None),
        LogTo::File(path) => Sink::File { path: path.clone(), file: None, looked: Instant::now(), torn: false },
    };
    let (queue, notes) = sync_channel(PLACES);
    let (registry, counts) = (registry.clone(), registry.register());
    let mut writer = Writer { sink, registry, counts, complained: false };
    thread::Builder::new().name("query-log".into()).spawn(move || writer.run(&notes))?;
    Ok(Some(queue))
}

struct Writer {
    sink: Sink,
    /// Knows the subnets' names.
    registry: Registry,
    counts: Arc<Counts>,
    /// That lines cannot be written was said.
    complained: bool,
}

impl Writer {
    fn run(&mut self, notes: &Receiver<Slip>) {
        let mut lines = Vec::with_capacity(CHUNK);
        loop {
            let mut count = 0;
            let mut waiting = None;
            let end = loop {
                match notes.try_recv() {
                    Ok(Slip::Written(who)) => {
                        waiting = Some(who);
                        break None;
                    }
                    Ok(Slip::Note(note)) => {
                        count += u64::from(self.write_line(&note, &mut lines).is_some());
                        if lines.len() >= CHUNK {
                            break None;
                        }
                    }
                    Err(why) => break Some(why),
                }
            };
            if count > 0 {
                self.hand_on(&lines, count);
                lines.clear();
            }
            // Whoever waits for it hears that it is gone.
            drop(waiting);
            match end {
                Some(TryRecvError::Disconnected) => return,
                Some(TryRecvError::Empty) => thread::sleep(REST),
                None => {}
            }
        }
    }

    /// The note as a line, at the end of `lines`.
    fn write_line(&self, note: &Note, lines: &mut Vec<u8>) -> Option<()> {
        let name = |wire: &[u8]| Name::from_wire(wire).map(|name| name.to_string());
        let asked = note.asked.as_ref();
        let subnet = self.registry.subnet(note.subnet);
        let line = Line {
            time: time_of(note.at),
            client: note.client.ip().to_canonical().to_string(),
            port: note.client.port(),
            transport: if note.transport == Transport::Udp { "udp" } else { "tcp" },
            subnet: &subnet,
            outcome: note.fate.word(),
            name: asked.and_then(|asked| name(asked.name())),
            kind: asked.map(|asked| presentation::kind(asked.kind)),
            zone: asked.and_then(|asked| name(asked.zone()?)),
            rcode: note.code.map(rcode::mnemonic),
            seconds: note.took.map(|took| took.as_micros() as f64 / 1e6),
        };
        let before = lines.len();
        if serde_json::to_writer(&mut *lines, &line).is_err() {
            lines.truncate(before);
            return None;
        }
        lines.push(b'\n');
        Some(())
    }

    /// Has so many lines written. Those that cannot be are lost and counted; that is said when it begins.
    fn hand_on(&mut self, lines: &[u8], count: u64) {
        match self.sink.write(lines) {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.counts.log_dropped.add(count);
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!("the query log cannot be written to {}: {error}", self.sink.name());
                }
            }
        }
    }
}

/// A moment as RFC 3339 writes it.
fn time_of(at: Instant) -> String {
    let time = SystemTime::now().checked_sub(at.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH);
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.6}"))
}

impl Sink {
    fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Journal(_) => "the journal".into(),
        }
    }

    /// Writes whole lines. After an error it is opened anew.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::File { path, file, looked, torn } => {
                if looked.elapsed() >= LOOK {
                    *looked = Instant::now();
                    file.take_if(|file| !is_still(file, path));
                }
                let opened = match file {
                    Some(file) => file,
                    None => file.insert(open(path)?),
                };
                let end = if *torn { &b"\n"[..] } else { b"" };
                let written = opened.write_all(end).and_then(|()| opened.write_all(lines));
                *torn = written.is_err();
                written.inspect_err(|_| *file = None)
            }
            Self::Journal(socket) => {
                let sent = match socket {
                    Some(socket) => send(socket, lines),
                    None => connect().and_then(|connected| send(socket.insert(connected), lines)),
                };
                sent.inspect_err(|_| *socket = None)
            }
        }
    }
}

/// Who may read what clients ask for is the user's group at most.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Whether the file at `path` is this one.
fn is_still(file: &File, path: &Path) -> bool {
    let same =
        |there: std::fs::Metadata, here: std::fs::Metadata| (there.dev(), there.ino()) == (here.dev(), here.ino());
    path.metadata().and_then(|there| Ok(same(there, file.metadata()?))).unwrap_or(false)
}

fn connect() -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(JOURNAL)?;
    Ok(socket)
}

/// An entry of the journal for each line.
fn send(socket: &UnixDatagram, lines: &[u8]) -> io::Result<()> {
    for line in lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
        // A line of JSON holds no line end, so it need not be sent as a binary field.
        let head = b"PRIORITY=6\nSYSLOG_IDENTIFIER=phzd-queries\nMESSAGE=";
        socket.send(&[head.as_slice(), line, b"\n"].concat())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::metrics::{Fate, SubnetId};
    use crate::query_log::Asked;

    #[test]
    fn a_line_says_who_asked_what_and_what_became_of_it() {
        let registry = Registry::default();
        let ids = registry.subnets(["private-a"].into_iter());
        let sink = Sink::Journal(None);
        let writer = Writer { sink, counts: registry.register(), registry: registry.clone(), complained: false };
        let name: Name = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com".parse().unwrap();
        let mut note = Note {
            at: Instant::now(),
            took: Some(Duration::from_micros(1234)),
            client: "172.31.1.5:4242".parse::<SocketAddr>().unwrap(),
            transport: Transport::Tcp,
            subnet: ids[0],
            fate: Fate::Private,
            code: Some(rcode::NOERROR),
            asked: Some(Asked::new(name.as_wire(), 28, Some(0))),
        };
        let mut lines = Vec::new();
        writer.write_line(&note, &mut lines).unwrap();
        (note.asked, note.took, note.code, note.subnet) = (None, None, None, SubnetId::NONE);
        writer.write_line(&note, &mut lines).unwrap();
        let text = String::from_utf8(lines).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let whole = serde_json::json!({
            "time": lines[0]["time"], "client": "172.31.1.5", "port": 4242, "transport": "tcp", "subnet": "private-a",
            "outcome": "private", "name": name.to_string(), "type": "AAAA", "zone": name.to_string(), "rcode": "NOERROR",
            "seconds": 0.001234,
        });
        assert_eq!(lines[0], whole);
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'), "{text}");
        assert_eq!(lines[1].as_object().unwrap().len(), 6, "what is not known is left out: {text}");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queries.jsonl");
        let mut sink = Sink::File { path: path.clone(), file: None, looked: Instant::now(), torn: false };
        sink.write(b"1\n").unwrap();
        std::fs::rename(&path, folder.path().join("queries.1")).unwrap();
        if let Sink::File { looked, .. } = &mut sink {
            *looked = Instant::now().checked_sub(LOOK).unwrap();
        }
        sink.write(b"2\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"2\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn the_journal_has_an_entry_for_each_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = UnixDatagram::bind(&path).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.connect(&path).unwrap();
        let mut sink = Sink::Journal(Some(socket));
        sink.write(b"{\"a\":1}\n{\"b\":2}\n").unwrap();
        for line in ["{\"a\":1}", "{\"b\":2}"] {
            let mut entry = [0; 200];
            let length = journal.recv(&mut entry).unwrap();
            let entry = std::str::from_utf8(&entry[..length]).unwrap();
            assert_eq!(entry, format!("PRIORITY=6\nSYSLOG_IDENTIFIER=phzd-queries\nMESSAGE={line}\n"));
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let registry = Registry::default();
        let queue = start(&LogTo::File("/no/such/folder/queries.jsonl".into()), &registry).unwrap().unwrap();
        let note = Note {
            at: Instant::now(),
            took: None,
            client: "127.0.0.1:4242".parse().unwrap(),
            transport: Transport::Udp,
            subnet: SubnetId::NONE,
            fate: Fate::Cached,
            code: None,
            asked: None,
        };
        (0..3).for_each(|_| queue.try_send(Slip::Note(note.clone())).unwrap());
        let begin = Instant::now();
        while registry.totals().log_dropped < 3 && begin.elapsed() < Duration::from_secs(10) {
            thread::sleep(REST);
        }
        assert_eq!(registry.totals().log_dropped, 3);
    }
}
