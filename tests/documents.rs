//! The documents, held to what is so: examples run and print what stands there, configurations pass `phzd check`, links
//! lead somewhere, `make` has what it is said to have.
//!
//! Every fenced block says what it is. `console`: `$ ` runs as written, with `phzd` the binary under test, and must
//! print what follows; `# ` is for root and only has to be good shell. Of a document's `toml` the first is whole, each
//! further one a drop-in beside it. `rust` compiles as a doctest of the crate, `json` parses.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use phzd::config::{Config, Problems};

const PHZD: &str = env!("CARGO_BIN_EXE_phzd");

/// The last line of a demo that goes on serving.
const DEMO_SERVES: &str = "Serving until Ctrl-C.";

/// A fenced block.
struct Block {
    /// `README.md:12`, its first line.
    place: String,
    language: String,
    text: String,
}

#[test]
fn every_block_is_of_a_kind_that_is_checked() {
    for document in documents() {
        for block in blocks(&document) {
            // Doctests are made of the README only.
            let known = match block.language.as_str() {
                "toml" | "console" | "json" => true,
                "rust" | "rust,no_run" => document == "README.md",
                "text" => document != "README.md",
                // Drawings.
                "" => document == "ARCHITECTURE.md",
                _ => false,
            };
            assert!(known, "{}: nothing checks a block of {:?}", block.place, block.language);
        }
    }
    assert!(read("src/lib.rs").contains("#[doc = include_str!(\"../README.md\")]"), "the README has no doctests");
}

#[test]
fn configurations_pass_the_check() {
    let mut count = 0;
    for document in documents() {
        let folder = tempfile::tempdir().unwrap();
        let (main, drop_ins) = (folder.path().join("phzd.toml"), folder.path().join("phzd.d"));
        fs::create_dir(&drop_ins).unwrap();
        for block in blocks(&document).into_iter().filter(|block| block.language == "toml") {
            let drop_in = drop_ins.join("block.toml");
            fs::write(if main.exists() { &drop_in } else { &main }, &block.text).unwrap();
            match Config::load(&main) {
                Ok((_, warnings)) => assert!(warnings.is_empty(), "{}\n{}", block.place, Problems(warnings)),
                Err(problems) => panic!("{}\n{problems}", block.place),
            }
            count += 1;
        }
    }
    assert!(count >= 2, "only {count} configurations");
}

#[test]
fn the_bucket_policy_is_json_and_denies_what_comes_another_way() {
    let policies: Vec<_> = blocks("README.md").into_iter().filter(|block| block.language == "json").collect();
    assert_eq!(policies.len(), 1);
    let policy: serde_json::Value = serde_json::from_str(&policies[0].text).unwrap();
    let statement = &policy["Statement"][0];
    assert_eq!((&statement["Effect"], &statement["Action"]), (&"Deny".into(), &"s3:*".into()));
    assert!(statement["Condition"]["StringNotEquals"]["aws:SourceVpce"].as_str().unwrap().starts_with("vpce-"));
}

#[test]
fn commands_print_what_stands_below_them() {
    let dig = Command::new("dig").arg("-v").output().is_ok();
    let mut ran = 0;
    for document in documents() {
        let mut demo = None;
        for block in blocks(&document).into_iter().filter(|block| block.language == "console") {
            for (command, expected) in commands(&block) {
                let said = if command == "make demo" {
                    let started = Demo::start();
                    let report = started.report.clone();
                    demo = Some(started);
                    report
                } else if command.starts_with("make ") || (command.starts_with("dig ") && !dig) {
                    // Targets have a test of their own.
                    println!("{}: not run here: {command}", block.place);
                    continue;
                } else {
                    let port = demo.as_ref().map_or("5300", |demo: &Demo| &demo.port);
                    run(&command.replace("-p 5300", &format!("-p {port}")))
                };
                assert_eq!(comparable(&said), comparable(&expected), "{}: {command}", block.place);
                ran += 1;
            }
        }
    }
    assert!(ran >= if dig { 8 } else { 4 }, "only {ran} commands");
}

#[test]
fn what_root_is_told_to_type_is_good_shell() {
    let mut count = 0;
    for document in documents() {
        for block in blocks(&document).into_iter().filter(|block| block.language == "console") {
            for command in block.text.lines().filter_map(|line| line.strip_prefix("# ")) {
                let judged = Command::new("bash").args(["-n", "-c", command]).output().unwrap();
                assert!(judged.status.success(), "{}: {command}", block.place);
                count += 1;
            }
        }
    }
    assert!(count > 3, "only {count} commands");
}

#[test]
fn make_has_the_targets_that_the_documents_name() {
    let makefile = read("Makefile");
    let has: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.']))
        .filter_map(|line| line.split_once(':').filter(|(_, rest)| !rest.starts_with('=')))
        .map(|(target, _)| target.trim())
        .collect();
    let mut named = BTreeSet::new();
    for document in documents() {
        let text = read(&document);
        for before in ["`make ", "$ make ", "# make "] {
            for (at, _) in text.match_indices(before) {
                let target =
                    text[at + before.len()..].split(|c: char| !c.is_ascii_lowercase()).next().unwrap().to_owned();
                assert!(has.contains(target.as_str()), "{document}: the Makefile has no target {target:?}");
                named.insert(target);
            }
        }
    }
    for needed in ["demo", "test"] {
        assert!(named.contains(needed), "no document names `make {needed}`");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { &document } else { path };
            assert!(Path::new(path).exists(), "{document}: there is no {path}");
            let good = heading.is_empty() || read(path).lines().any(|line| anchor(line).as_deref() == Some(heading));
            assert!(good, "{document}: {path} has no heading for #{heading}");
            count += 1;
        }
    }
    assert!(count > 5, "only {count} links");
}

#[test]
fn files_that_the_documents_name_are_there() {
    for document in documents() {
        // What stands between backticks and begins as a folder of ours does.
        for word in read(&document).split('`').skip(1).step_by(2) {
            let ours = ["src/", "tests/", "benches/", "config/", "systemd/", ".ci/"]
                .iter()
                .any(|folder| word.starts_with(folder));
            let pattern = word.contains(['*', ' ']) || word.chars().any(|c| c.is_ascii_uppercase());
            assert!(!ours || pattern || Path::new(word).exists(), "{document}: there is no {word}");
        }
    }
}

/// Each row of the table of threats names what shows that its promise is kept.
#[test]
fn every_promise_has_its_tests() {
    let text = read("SECURITY.md");
    let rows = text.lines().filter(|line| line.starts_with("| **"));
    let mut sources = String::new();
    for folder in ["tests", "tests/vpc"] {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|it| it == "rs")).for_each(|path| {
            sources += &read(path.to_str().unwrap());
        });
    }
    let mut count = 0;
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let mut of_row = 0;
        for word in tests.split([' ', ',', ';', '`', '(', ')']).filter(|word| !word.is_empty()) {
            let scenario = word.contains('-') && word.chars().all(|it| it == '-' || it.is_ascii_alphanumeric());
            let there = if let Some((_, test)) = word.split_once("::") {
                sources.contains(&format!("fn {test}("))
            } else if scenario {
                ["scenarios", "config"].iter().any(|folder| Path::new(&format!("tests/{folder}/{word}.toml")).exists())
            } else if word.starts_with("fuzz/") {
                Path::new(word).exists()
            } else {
                continue;
            };
            assert!(there, "SECURITY.md: there is no {word}");
            of_row += 1;
        }
        assert!(of_row > 0, "no test in: {row}");
        count += 1;
    }
    assert!(count >= 10, "{count} threats");
}

#[test]
fn the_changelog_knows_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").lines().any(|line| line.starts_with(&heading)), "no {heading}");
}

#[test]
fn the_unit_starts_what_is_installed_and_no_more_than_it_says() {
    let unit = read("systemd/phzd.service");
    let starts: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    assert_eq!(starts, ["/usr/bin/phzd run --config /etc/phzd/phzd.toml"]);
    assert!(unit.lines().any(|line| line == "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"));

    // The verifier wants the programs to be where the unit has them.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("phzd.service");
    fs::write(&file, unit.replace("/usr/bin/phzd", PHZD)).unwrap();
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output() {
        Ok(said) => {
            assert!(said.status.success() && said.stderr.is_empty(), "{}", String::from_utf8_lossy(&said.stderr));
        }
        Err(_) => println!("the unit is not verified: systemd-analyze is not installed"),
    }
}

/// A demo that goes on serving; it does not outlive the value.
struct Demo {
    child: Child,
    /// Kept open: whoever runs the demo goes on reading it.
    _out: BufReader<ChildStdout>,
    report: String,
    port: String,
}

impl Demo {
    /// Starts what `make demo` starts.
    fn start() -> Self {
        let makefile = read("Makefile");
        let recipe = makefile.lines().find_map(|line| line.strip_prefix("\t@cargo run --quiet -- ")).unwrap();
        let mut child = Command::new(PHZD).args(recipe.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut report = String::new();
        while !report.trim_end().ends_with(DEMO_SERVES) {
            assert_ne!(out.read_line(&mut report).unwrap(), 0, "it ended:\n{report}");
        }
        let (_, rest) = report.split_once("phzd serves on 127.0.0.1:").unwrap();
        let port = rest.split_once(',').unwrap().0.to_owned();
        // Another program may have port 5300; that is said in one more line.
        let report = report.lines().filter(|line| !line.contains(" is taken by ")).collect::<Vec<_>>().join("\n");
        Self { child, _out: out, report, port }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a command line prints, as in a terminal: both streams.
fn run(command: &str) -> String {
    let folder = Path::new(PHZD).parent().unwrap().display();
    let line = format!("export PATH='{folder}':\"$PATH\"; {command}");
    let output = Command::new("bash").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
}

/// The commands of a console block and what stands below each. Those of root are left out.
fn commands(block: &Block) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), String::new()));
        } else if !line.starts_with("# ") {
            let (_, expected) =
                commands.last_mut().unwrap_or_else(|| panic!("{}: {line:?} follows no command", block.place));
            *expected += line;
            *expected += "\n";
        }
    }
    commands
}

/// A text with what may differ made equal: spaces and empty lines at ends, and the ports that a demo got.
fn comparable(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.trim().lines() {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        for at in 0..words.len() {
            if words[at].starts_with("127.0.0.1:") || (at > 0 && words[at - 1] == "-p") {
                words[at] = "PORT".into();
            }
        }
        lines.push(words.join(" "));
    }
    lines
}

/// The fenced blocks of a document.
fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(read(document).lines()) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                let place = format!("{document}:{}", number + 1);
                open = Some(Block { place, language: language.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{document}: a block without an end");
    blocks
}

/// The anchor of a heading, as code hosts make it.
fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// The documents at the root of the repository.
fn documents() -> Vec<String> {
    let entries = fs::read_dir(".").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut documents: Vec<String> = entries.filter(|name| name.ends_with(".md")).collect();
    documents.sort();
    assert!(documents.iter().any(|name| name == "README.md"), "{documents:?}");
    documents
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
