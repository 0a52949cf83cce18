//! Last good sets on disk, so that a restart during an outage of the resolvers still answers.
//!
//! One file, `endpoints.toml`, in the state directory. It is never changed in place: a new one is written beside it and
//! takes its name, so a crash leaves the one or the other. What cannot be read is no reason not to start: the names are
//! looked up all the same.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::watch::{Family, Kept};

const FILE: &str = "endpoints.toml";
/// More than any file of ours needs: 10,000 names have less.
const MOST_OCTETS: u64 = 16 << 20;
const HEAD: &str = "# The addresses that phzd has learned, for the time after a restart until they are looked up.\n\
                    # This file may be removed.\n\n";

/// The state directory.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    /// Changes when older versions could not read it.
    format: u32,
    #[serde(default)]
    learned: Vec<Set>,
}

/// A last good set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Set {
    dns_name: String,
    r#type: String,
    addresses: Vec<IpAddr>,
    /// When it was found last, in seconds of Unix time.
    time: u64,
}

const FORMAT: u32 = 1;

impl Store {
    /// Sets are kept in `folder`, which must exist when they are.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What was kept; nothing if nothing has been yet.
    ///
    /// # Errors
    /// In words for the log, if there is a file and it cannot be read, or is not ours.
    pub fn read(&self) -> Result<Vec<Kept>, String> {
        let path = self.folder.join(FILE);
        let told = |what: &dyn std::fmt::Display| {
            format!(
                "{}: {what}: it is ignored, and endpoints answer as soon as their names are looked up",
                path.display()
            )
        };
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Ok(metadata) if !metadata.is_file() => return Err(told(&"not a file")),
            Ok(metadata) if metadata.len() > MOST_OCTETS => return Err(told(&"too large to be a file of phzd")),
            _ => {}
        }
        let text = fs::read_to_string(&path).map_err(|error| told(&error))?;
        let written: Written = toml::from_str(&text).map_err(|error| told(&error.to_string().trim_end()))?;
        if written.format != FORMAT {
            return Err(told(&format!("its format is {}, and this phzd reads {FORMAT}", written.format)));
        }
        written.learned.into_iter().map(|set| kept(set).map_err(|wrong| told(&wrong))).collect()
    }

    /// Keeps these sets and no others.
    ///
    /// # Errors
    /// In words for the log; what was kept before is still there.
    pub fn write(&self, kept: &[Kept]) -> Result<(), String> {
        let path = self.folder.join(FILE);
        let learned = kept.iter().map(|kept| Set {
            dns_name: kept.name.to_string(),
            r#type: kept.family.to_string(),
            addresses: kept.addresses.clone(),
            time: kept.time,
        });
        let written = Written { format: FORMAT, learned: learned.collect() };
        let text = toml::to_string(&written).map_err(|error| error.to_string())?;
        self.replace(format!("{HEAD}{text}").as_bytes()).map_err(|error| {
            format!("{}: {error}: after a restart endpoints answer only once their names are looked up", path.display())
        })
    }

    fn replace(&self, octets: &[u8]) -> io::Result<()> {
        let new = self.folder.join(format!("{FILE}.new"));
        let mut file = File::create(&new)?;
        file.write_all(octets)?;
        // Before the rename: a crash after it must not find an empty file.
        file.sync_all()?;
        fs::rename(&new, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// A set as the watch has it, or what is wrong with it.
fn kept(set: Set) -> Result<Kept, String> {
    let Set { dns_name, r#type: kind, mut addresses, time } = set;
    let name = dns_name.parse().map_err(|error| format!("{dns_name:?}: {error}"))?;
    let family = Family::ALL.into_iter().find(|family| family.to_string() == kind);
    let family = family.ok_or_else(|| format!("{kind:?} is not a type of address"))?;
    if addresses.iter().any(|ip| ip.is_ipv4() != (family == Family::A)) {
        return Err(format!("an address of {dns_name:?} is not of type {kind}"));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Kept { name, family, addresses, time })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        (folder, store)
    }

    fn sets() -> Vec<Kept> {
        let name: crate::wire::Name = "vpce-0a.s3.ap-northeast-1.vpce.amazonaws.com".parse().unwrap();
        let addresses = ["172.31.1.152", "172.31.2.77"].map(|ip| ip.parse().unwrap()).into();
        vec![
            Kept { name: name.clone(), family: Family::A, addresses, time: 1_800_000_000 },
            Kept { name: name.clone(), family: Family::Aaaa, addresses: vec![], time: 1_800_000_000 },
            Kept {
                family: Family::Aaaa,
                addresses: vec!["fd00::1".parse().unwrap()],
                time: 0,
                name: "x.y".parse().unwrap(),
            },
        ]
    }

    #[test]
    fn what_was_written_is_read() {
        let (folder, store) = store();
        assert_eq!(store.read(), Ok(vec![]), "nothing was kept yet");
        store.write(&sets()).unwrap();
        assert_eq!(store.read(), Ok(sets()));
        store.write(&sets()[2..]).unwrap();
        assert_eq!(store.read().unwrap(), sets()[2..], "and no others");
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, [FILE], "nothing is left beside it");
        store.write(&[]).unwrap();
        assert_eq!(store.read(), Ok(vec![]));
    }

    #[test]
    fn what_is_damaged_or_foreign_is_told_and_not_believed() {
        let (folder, store) = store();
        store.write(&sets()).unwrap();
        let path = folder.path().join(FILE);
        let good = fs::read_to_string(&path).unwrap();
        let mut damaged: Vec<(Vec<u8>, &str)> = [
            ("", "missing field `format`"),
            ("format = 2\n", "its format is 2"),
            ("server = 1\n", "unknown field"),
            ("\0\0\0\0", "TOML parse error"),
        ]
        .map(|(text, said)| (text.as_bytes().to_vec(), said))
        .into();
        for (from, to, said) in [
            ("\"172.31.1.152\"", "\"172.31.1\"", "TOML parse error"),
            ("\"A\"", "\"AAAA\"", "is not of type AAAA"),
            ("\"A\"", "\"MX\"", "\"MX\" is not a type of address"),
            ("dns-name = \"x.y\"", "dns-name = \"x..y\"", "\"x..y\""),
            ("time = 1800000000", "time = -1", "TOML parse error"),
        ] {
            assert!(good.contains(from), "{from} in {good}");
            damaged.push((good.replacen(from, to, 1).into(), said));
        }
        damaged.push((good.as_bytes()[..good.len() - 20].into(), "TOML parse error"));
        damaged.push((vec![0xff, 0xfe], "valid UTF-8"));
        for (octets, said) in damaged {
            fs::write(&path, &octets).unwrap();
            let told = store.read().unwrap_err();
            assert!(told.contains(said) && told.contains("it is ignored"), "{said}: {told}");
            assert!(told.contains(&path.display().to_string()), "{told}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(store.read().unwrap_err().contains("not a file"));
        assert!(store.write(&sets()).is_err());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let store = Store::new("/nonexistent/phzd".into());
        assert_eq!(store.read(), Ok(vec![]));
        assert!(store.write(&sets()).unwrap_err().contains("/nonexistent/phzd/endpoints.toml: No such file"));
    }
}
