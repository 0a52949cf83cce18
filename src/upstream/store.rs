//! The cache on disk, so that a restart during an outage of the resolvers still answers.
//!
//! One file, `cache`, in the state directory. It is never changed in place: a new one is written beside it and takes its
//! name, so a crash leaves the one or the other. What cannot be read is no reason not to start: the resolvers are asked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use super::snapshot::{HEAD, Unreadable};
use super::{Moment, Route, Tally, Upstream};

const FILE: &str = "cache";
/// Whoever may read it learns what was asked for.
const MODE: u32 = 0o600;

/// The file.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    path: PathBuf,
    /// Held by whoever writes.
    writing: Mutex<()>,
}

impl Store {
    /// Answers are kept in `folder`, which must exist when they are.
    pub fn new(folder: PathBuf) -> Self {
        Self { path: folder.join(FILE), folder, writing: Mutex::default() }
    }

    /// Puts what is in the file back into the cache, as far as it is of use and was said by resolvers of `routes`. No
    /// more is read than `most` octets, the least used being last. The log has what came of it.
    pub fn restore<'a>(&self, upstream: &Upstream, routes: impl IntoIterator<Item = &'a Arc<Route>>, most: usize) {
        let file = self.path.display();
        let snapshot = match self.read(most) {
            Ok(snapshot) => snapshot,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return warn!("{file}: {error}: it is ignored, and the cache begins empty"),
        };
        match upstream.restore(&snapshot, routes, moment()) {
            Ok(tally) => self.tell(tally),
            Err(Unreadable::OtherFormat) => {
                warn!("{file}: another version of phzd wrote it: it is ignored, and the cache begins empty");
            }
            Err(Unreadable::Foreign) => {
                warn!("{file}: not a file of phzd, or damaged: it is ignored, and the cache begins empty");
            }
        }
    }

    fn tell(&self, tally: Tally) {
        let Tally { restored, damaged, foreign, future, over } = tally;
        let file = self.path.display();
        info!(answers = restored, %file, "the cache is back: {restored} answers");
        if damaged > 0 {
            warn!(places = damaged, %file, "damaged: what stood there is left out");
        }
        if foreign > 0 {
            info!(answers = foreign, %file, "left out: the configuration no longer has the resolvers that said so");
        }
        if future > 0 {
            warn!(answers = future, %file, "left out: they are of a time to come, so the clock has been set back");
        }
        if over > 0 {
            info!(answers = over, %file, "left out: too old to be served");
        }
    }

    /// Writes what is in the cache to the file. The log says if that fails; the file is then what it was.
    pub fn save(&self, upstream: &Upstream) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.path.display();
        match self.replace(upstream) {
            Ok(answers) => info!(answers, %file, "the cache is written"),
            Err(error) => warn!("{file}: {error}: the cache is not kept over a restart"),
        }
    }

    fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        // Before it is opened: a pipe would wait for its writer.
        let metadata = fs::metadata(&self.path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        let length = metadata.len().min(most as u64);
        let mut snapshot = Vec::with_capacity(length as usize);
        File::open(&self.path)?.take(length).read_to_end(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Writes no more octets than the cache takes in memory; returns how many answers they are.
    fn replace(&self, upstream: &Upstream) -> io::Result<usize> {
        let new = self.path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&new)?;
        let mut file = BufWriter::new(file);
        file.write_all(HEAD)?;
        let (mut answers, mut room) = (0, upstream.cache().bytes().saturating_sub(HEAD.len()));
        for entry in upstream.snapshot(moment()) {
            let Some(left) = room.checked_sub(entry.len()) else { break };
            file.write_all(&entry)?;
            (answers, room) = (answers + 1, left);
        }
        // Before the rename: a crash after it must not find an empty file.
        file.into_inner()?.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(&self.folder)?.sync_all()?;
        Ok(answers)
    }
}

fn moment() -> Moment {
    Moment { now: Instant::now(), time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::restart::tests::{MB, keep, route, upstream};
    use super::*;

    /// A cache with so many answers.
    fn filled(answers: usize) -> Upstream {
        let (upstream, now) = (upstream(4 * MB), Instant::now());
        (0..answers).for_each(|number| keep(&upstream, &route(2), &format!("n{number}.example"), 0, now));
        assert_eq!(upstream.cache().entries(), answers);
        upstream
    }

    /// How many answers `store` has, if no more than `most` octets of it are read.
    fn restored(store: &Store, most: usize) -> usize {
        let upstream = upstream(4 * MB);
        store.restore(&upstream, [&route(2)], most);
        upstream.cache().entries()
    }

    #[test]
    fn what_was_saved_is_restored() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        assert_eq!(restored(&store, MB), 0, "nothing was saved yet");
        for answers in [3, 1000, 0, 7] {
            store.save(&filled(answers));
            assert_eq!(restored(&store, MB), answers, "these and no others");
        }
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), [FILE], "nothing is left beside it");
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn no_more_is_read_than_the_cache_may_take() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        store.save(&filled(1000));
        let length = fs::metadata(&store.path).unwrap().len() as usize;
        let half = restored(&store, length / 2);
        assert!((450..550).contains(&half), "{half} of 1000");
        assert_eq!((restored(&store, 0), restored(&store, length)), (0, 1000));
    }

    #[test]
    fn what_is_no_cache_is_ignored_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        for octets in [&b""[..], b"\0\0\0\0", b"format = 1\n", b"phzd cache, format 9\n", HEAD] {
            fs::write(&store.path, octets).unwrap();
            assert_eq!(restored(&store, MB), 0, "{octets:?}");
            store.save(&filled(5));
            assert_eq!(restored(&store, MB), 5, "{octets:?}");
        }
    }

    #[test]
    fn a_disk_that_refuses_is_no_reason_to_end() {
        let nowhere = Store::new("/nonexistent/phzd".into());
        nowhere.save(&filled(1));
        assert_eq!(restored(&nowhere, MB), 0);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        fs::create_dir(&store.path).unwrap();
        assert_eq!(store.read(MB).unwrap_err().to_string(), "not a file");
        store.save(&filled(1));
        assert_eq!(restored(&store, MB), 0);
        assert!(store.path.is_dir());
    }
}
