//! Manual pages and completions: those in the repository are what the program prints, and the programs that read them
//! find nothing wrong.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use phzd::config::KEYS;
use phzd::config::limit::LIMITS;

use crate::cli::phzd;

/// Every file, and the arguments that print it.
const FILES: &[(&str, [&str; 2])] = &[
    ("man/phzd.8", ["man", "phzd"]),
    ("man/phzd.toml.5", ["man", "phzd.toml"]),
    ("completions/phzd.bash", ["completions", "bash"]),
    ("completions/_phzd", ["completions", "zsh"]),
    ("completions/phzd.fish", ["completions", "fish"]),
];

/// What the program prints.
fn printed(arguments: &[&str]) -> String {
    let output = phzd().args(arguments).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a program says on its standard output, which must end well and complain of nothing; `None` if it is not here.
fn said(command: &mut Command) -> Option<String> {
    let Ok(output) = command.stdin(Stdio::null()).output() else {
        eprintln!("skipped: {} is not installed", command.get_program().display());
        return None;
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A page as it is read, with its lines joined; `None` where nothing can show it.
fn read(page: &str) -> Option<String> {
    let text = said(Command::new("mandoc").args(["-Tutf8", "-Owidth=100"]).arg(page))?;
    // Bold and underlined letters are written twice, with a backspace between.
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '\u{8}' => drop(plain.pop()),
            _ => plain.push(letter),
        }
    }
    Some(plain.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The commands that `--help` lists below `command`.
fn commands(command: &[&str]) -> Vec<String> {
    let help = printed(&[command, &["--help"]].concat());
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list.split("\n\n").next().unwrap());
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_files_are_what_the_program_prints() {
    for (file, arguments) in FILES {
        let kept = fs::read_to_string(file).unwrap_or_default();
        assert!(kept == printed(arguments), "{file} is not what `phzd {}` prints; run `make man`", arguments.join(" "));
    }
}

#[test]
fn the_pages_are_well_formed() {
    for page in ["man/phzd.8", "man/phzd.toml.5"] {
        let Ok(output) = Command::new("mandoc").args(["-Tlint", "-Wwarning", page]).output() else {
            eprintln!("skipped: mandoc is not installed");
            return;
        };
        let told = String::from_utf8(output.stdout).unwrap();
        // A version that is not released has no date.
        let wrong: Vec<&str> = told.lines().filter(|line| !line.contains("missing date, using \"\": TH")).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn phzd_8_has_every_command_with_its_options() {
    let page = fs::read_to_string("man/phzd.8").unwrap().replace("\\-", "-");
    let section = |command: &[&str]| {
        let heading = format!("\n.SS phzd {}\n", command.join(" "));
        let (_, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no section{heading}"));
        rest.split("\n.S").next().unwrap()
    };
    let mut count = 0;
    let mut look = |command: &[&str]| {
        let help = printed(&[command, &["--help"]].concat());
        let options = help.lines().filter_map(|line| line.trim_start().trim_start_matches("-h, ").strip_prefix("--"));
        for option in options.map(|line| format!("--{}", line.split(' ').next().unwrap())) {
            // What holds for all commands below one stands with that one.
            let mut homes = [command, &command[..1]].into_iter();
            let told = homes.any(|home| section(home).contains(&format!("\n\\fB{option}\\fR")));
            assert!(told || option == "--help", "phzd {}: {option}", command.join(" "));
            count += 1;
        }
    };
    for command in commands(&[]) {
        look(&[&command]);
        for below in commands(&[&command]) {
            look(&[&command, &below]);
        }
    }
    assert!(count > 30, "only {count} options");
    for heading in ["EXIT STATUS", "SIGNALS", "FILES", "ENVIRONMENT", "SEE ALSO"] {
        assert!(page.contains(heading), "no {heading}");
    }
}

#[test]
fn phzd_toml_5_has_every_key_and_every_limit_with_its_reason() {
    let Some(page) = read("man/phzd.toml.5") else { return };
    for (table, keys) in KEYS {
        let (_, section) = page.split_once(&format!(" {table} ")).unwrap();
        for key in *keys {
            assert!(section.contains(&format!(" {key} ")), "{table} {key}");
        }
    }
    for limit in LIMITS {
        let row = format!("{} {} {} {} {}", limit.key, limit.default, limit.least, limit.most, limit.reason);
        assert!(page.contains(&row), "no {row:?} in {page}");
    }
}

/// What bash has after TAB is pressed behind `words`, the last of which may be empty.
fn completed(words: &[&str]) -> Vec<String> {
    // As bash does it: the function that `complete` registered, with the command, this word, and the one before.
    let script = r#"source completions/phzd.bash
        registered=$(complete -p phzd); function=${registered#*-F }; function=${function%% *}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        $function phzd "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = Command::new("bash").args(["--norc", "-c", script, "bash"]).args(words).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(completed(&["phzd", "doc"]), ["doctor"]);
    assert_eq!(completed(&["phzd", "ctl", "fl"]), ["flush"]);
    assert_eq!(completed(&["phzd", "run", "--st"]), ["--state-dir"]);
    assert_eq!(completed(&["phzd", "man", "phzd.t"]), ["phzd.toml"]);
    assert_eq!(completed(&["phzd", "doctor", "--config", "config/phzd.to"]), ["config/phzd.toml"]);
    let all = completed(&["phzd", ""]);
    for command in commands(&[]) {
        assert!(all.contains(&command), "{command} in {all:?}");
    }
}

#[test]
fn zsh_and_fish_read_their_completions() {
    said(Command::new("zsh").args(["-f", "-n", "completions/_phzd"]));
    said(Command::new("fish").args(["-N", "-n", "completions/phzd.fish"]));
    let ask = "source completions/phzd.fish; complete -C 'phzd doc'";
    if let Some(found) = said(Command::new("fish").args(["-N", "-c", ask])) {
        assert!(found.starts_with("doctor\t"), "{found}");
    }
}

#[test]
fn an_unknown_shell_or_page_is_wrong_usage_and_names_the_known() {
    for (arguments, known) in [(["completions", "csh"], "fish"), (["man", "phzd.conf"], "phzd.toml")] {
        let output = phzd().args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
        assert!(error.contains(known), "{error}");
    }
}

#[test]
fn an_output_that_is_closed_early_is_no_reason_to_panic() {
    for (_, arguments) in FILES {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = phzd().args(arguments).stdout(full).output().unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{arguments:?}");
    }
}

#[test]
fn make_install_puts_them_where_their_readers_look() {
    let folder = tempfile::tempdir().unwrap();
    let to = |variable: &str, value: &Path| format!("{variable}={}", value.display());
    let mut make = Command::new("make");
    make.args(["install", "PREFIX=/usr", &to("DESTDIR", folder.path())]);
    make.arg(to("PROGRAM", Path::new(env!("CARGO_BIN_EXE_phzd"))));
    if said(&mut make).is_none() {
        return;
    }
    let places = [
        ("man/phzd.8", "man/man8/phzd.8"),
        ("man/phzd.toml.5", "man/man5/phzd.toml.5"),
        ("completions/phzd.bash", "bash-completion/completions/phzd"),
        ("completions/_phzd", "zsh/site-functions/_phzd"),
        ("completions/phzd.fish", "fish/vendor_completions.d/phzd.fish"),
    ];
    for (file, place) in places {
        let installed = folder.path().join("usr/share").join(place);
        assert_eq!(fs::read(file).unwrap(), fs::read(&installed).unwrap_or_default(), "{place}");
    }
    // The pages can be found by name, as a person asks for them.
    for (section, page) in [("8", "phzd"), ("5", "phzd.toml")] {
        let mut man = Command::new("man");
        man.env("MANPATH", folder.path().join("usr/share/man")).args(["--warnings", "-P", "cat", section, page]);
        if let Some(text) = said(&mut man) {
            assert!(text.contains("SEE ALSO"), "{text}");
        }
    }
}
