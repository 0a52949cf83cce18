//! What is in the packages: files where each distribution wants them, scripts, and how old a C library they do with.

use std::process::Command;

use crate::machine::{deb, package};

/// Amazon Linux 2023's, the oldest of those that the README names.
const GLIBC: (u32, u32) = (2, 34);

/// Files of both packages.
const FILES: &[&str] = &[
    "/etc/phzd/phzd.toml",
    "/usr/bin/phzd",
    "/usr/lib/systemd/system/phzd.service",
    "/usr/share/bash-completion/completions/phzd",
    "/usr/share/doc/phzd/README.md",
    "/usr/share/doc/phzd/monitoring/phzd.rules.yml",
    "/usr/share/fish/vendor_completions.d/phzd.fish",
];

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8").output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_deb_has_every_file_where_debian_wants_it() {
    let deb = deb();
    let deb = deb.to_str().unwrap();
    let listed = said("dpkg-deb", &["--contents", deb]);
    let has = |file: &str| {
        let line = listed.lines().find(|line| line.ends_with(&format!(" .{file}")));
        line.unwrap_or_else(|| panic!("no {file} in\n{listed}"))
    };
    for file in FILES {
        assert!(has(file).contains(" 0/0 "), "{file} is root's");
    }
    for file in [
        "/usr/share/man/man8/phzd.8.gz",
        "/usr/share/man/man5/phzd.toml.5.gz",
        "/usr/share/zsh/vendor-completions/_phzd",
        "/usr/share/doc/phzd/copyright",
    ] {
        has(file);
    }
    assert!(has("/usr/bin/phzd").starts_with("-rwxr-xr-x"));
    assert!(has("/etc/phzd/phzd.toml").starts_with("-rw-r--r--"), "the service's user, who is not root, reads it");
    assert_eq!(said("dpkg-deb", &["--info", deb, "conffiles"]).trim(), "/etc/phzd/phzd.toml");
    let depends = said("dpkg-deb", &["--field", deb, "Depends"]);
    assert_eq!(depends.trim(), format!("libc6 (>= {}.{})", GLIBC.0, GLIBC.1));
}

#[test]
fn the_rpm_has_every_file_where_amazon_linux_wants_it() {
    let rpm = package(".rpm");
    let rpm = rpm.to_str().unwrap();
    let query = |format: &str| said("rpm", &["--query", "--package", "--queryformat", format, rpm]);
    let listed = query("[%{FILENAMES} %{FILEFLAGS:fflags} %{FILEMODES:perms} %{FILEUSERNAME}\n]");
    let has = |file: &str| {
        let line = listed.lines().find(|line| line.starts_with(&format!("{file} ")));
        line.unwrap_or_else(|| panic!("no {file} in\n{listed}"))
    };
    for file in FILES {
        assert!(has(file).ends_with(" root"), "{file} is root's");
    }
    for file in [
        "/usr/share/man/man8/phzd.8",
        "/usr/share/man/man5/phzd.toml.5",
        "/usr/share/zsh/site-functions/_phzd",
        "/usr/share/licenses/phzd/LICENSE-APACHE",
        "/usr/share/licenses/phzd/LICENSE-MIT",
    ] {
        has(file);
    }
    // c: a configuration file, n: an edited one is not replaced.
    assert_eq!(has("/etc/phzd/phzd.toml"), "/etc/phzd/phzd.toml cn -rw-r--r-- root");
    assert_eq!(has("/usr/bin/phzd"), "/usr/bin/phzd  -rwxr-xr-x root");
    assert_eq!(query("%{LICENSE}"), "MIT OR Apache-2.0");
    assert!(query("[%{REQUIRENAME}\n]").contains(&format!("libc.so.6(GLIBC_{}.{})", GLIBC.0, GLIBC.1)));
}

#[test]
fn neither_package_enables_or_starts_anything() {
    let (deb, rpm) = (deb(), package(".rpm"));
    let (deb, rpm) = (deb.to_str().unwrap(), rpm.to_str().unwrap());
    let mut scripts = vec![said("rpm", &["--query", "--package", "--scripts", rpm])];
    for script in ["postinst", "prerm", "postrm"] {
        scripts.push(said("dpkg-deb", &["--info", deb, script]));
    }
    for script in scripts {
        for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for forbidden in ["enable", "start", "restart", "preset"] {
                assert!(!words.contains(&forbidden), "{line}");
            }
        }
        if script.starts_with("#!") {
            let judged = Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
            assert!(judged.status.success(), "{script}");
        }
    }
}

#[test]
fn the_program_does_with_the_c_library_of_amazon_linux_2023() {
    let folder = tempfile::tempdir().unwrap();
    said("dpkg-deb", &["--extract", deb().to_str().unwrap(), folder.path().to_str().unwrap()]);
    let program = folder.path().join("usr/bin/phzd");
    let symbols = said("objdump", &["-T", program.to_str().unwrap()]);
    let mut newest = ((0, 0), "");
    for symbol in symbols.lines() {
        let Some((_, rest)) = symbol.split_once("(GLIBC_") else { continue };
        let version = rest.split(')').next().unwrap();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap());
        newest = newest.max(((numbers.next().unwrap(), numbers.next().unwrap()), symbol));
    }
    let ((major, minor), symbol) = newest;
    println!("  = newest of the C library: {major}.{minor}, {}", symbol.split_whitespace().last().unwrap_or_default());
    assert!(newest.0 > (0, 0), "objdump named no symbol of the C library");
    assert!(newest.0 <= GLIBC, "Amazon Linux 2023 has no such symbol: {}", newest.1);
}
