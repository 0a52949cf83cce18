//! From disk to [`File`]: the main file, its drop-in folder, and the files they name.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{File, NamedFile};
use super::problem::{Place, Problem, Source};
use super::read;

/// The most octets of a file that are read: a million names have some 64 MB, and a path may lead to a device without end.
const LARGEST: u64 = 256 << 20;

/// One text alone; relative paths begin where `name` says it is, and the files there are had by `open`.
pub(super) fn parse(name: &str, text: &str, open: read::Open<'_>) -> File {
    let mut file = File::default();
    read::read(&Source::new(name, text), (folder_of(Path::new(name)), open), &mut file);
    file
}

/// The main file and its drop-ins.
pub(super) fn load(path: &Path) -> File {
    let mut file = File::default();
    let hint = "name a file that is there and that this user may read";
    add(path, hint, &mut file);
    let folder = path.with_extension("d");
    warn_if_anyone_may_write(
        &folder,
        &Place::whole(&Source::new(folder.display().to_string(), "")),
        "folder",
        &mut file,
    );
    match drop_ins(&folder) {
        Ok(paths) => paths.iter().for_each(|path| add(path, "a drop-in must be a file this user may read", &mut file)),
        Err(problem) => {
            file.incomplete = true;
            file.problems.push(*problem);
        }
    }
    file
}

impl NamedFile {
    /// Reads the file at `path`. If it cannot be read, [`File::check`] says so.
    pub fn read(path: &Path) -> Self {
        let hint = "its path begins in the folder of the file that names it, and phzd's user must be able to read it";
        let source = source(path).map_err(|problem| advise(problem, hint));
        Self { text: source, anyone_may_write: anyone_may_write(path) }
    }

    /// The same of octets that are there already, and that messages call `name`.
    #[doc(hidden)] // for fuzz/
    pub fn of(name: &str, octets: Vec<u8>) -> Self {
        Self { text: text(name, octets), anyone_may_write: false }
    }
}

/// The folder in which a file's relative paths begin.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Reads one TOML file into what was read before it.
fn add(path: &Path, hint: &str, file: &mut File) {
    match source(path) {
        Ok(source) => {
            warn_if_anyone_may_write(path, &Place::whole(&source), "file", file);
            read::read(&source, (folder_of(path), &NamedFile::read), file);
        }
        Err(problem) => {
            file.incomplete = true;
            file.problems.push(advise(problem, hint));
        }
    }
}

/// Adds what to do about a file that cannot be read. One that is not text says so itself, with the place.
fn advise(problem: Problem, hint: &str) -> Problem {
    let located = problem.place().is_some_and(|place| place.line_and_column().is_some());
    if located { problem } else { problem.hint(hint) }
}

/// The drop-ins in `folder`, in name order; none if there is no such folder.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, Box<Problem>> {
    let unreadable = |error: io::Error| {
        let place = Place::whole(&Source::new(folder.display().to_string(), ""));
        let problem = Problem::mistake(Some(&place), format!("the drop-in folder cannot be read: {}", reason(&error)));
        Box::new(problem.hint("make it a folder this user may read, or remove it"))
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        // As a shell's `*.toml` would: what an editor hides while it saves is not a drop-in.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The text of the file at `path`.
fn source(path: &Path) -> Result<Arc<Source>, Problem> {
    let name = path.display().to_string();
    let unread =
        |why: &str| Problem::mistake(Some(&Place::whole(&Source::new(&name, ""))), format!("cannot be read: {why}"));
    let mut octets = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut octets));
    read.map_err(|error| unread(&reason(&error)))?;
    if octets.len() as u64 > LARGEST {
        return Err(unread(&format!("it has more than {} MiB", LARGEST >> 20)));
    }
    text(&name, octets)
}

/// The text that a file's octets are.
fn text(name: &str, octets: Vec<u8>) -> Result<Arc<Source>, Problem> {
    String::from_utf8(octets).map(|text| Source::new(name, text)).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let source = Source::new(name, String::from_utf8_lossy(error.as_bytes()));
        let place = Place::new(&source, good..good + '\u{fffd}'.len_utf8());
        Problem::mistake(Some(&place), "the file is not UTF-8 text").hint("save it as UTF-8")
    })
}

fn anyone_may_write(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

/// Whoever may write the configuration may send every client anywhere.
fn warn_if_anyone_may_write(path: &Path, place: &Place, what: &str, file: &mut File) {
    if anyone_may_write(path) {
        let problem = Problem::warning(Some(place), format!("every user of this machine may write this {what}"));
        file.problems.push(problem.hint(format!("chmod o-w {}", path.display())));
    }
}

/// What an operating system's error means, in words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        io::ErrorKind::NotADirectory => "it is not a folder".into(),
        _ => error.to_string(),
    }
}
