//! Wrong and doubtful configurations, each beside what `check` must say of it.
//!
//! `tests/config/NAME.toml` (with `NAME.d/` or a names file where the case needs one) is checked for one fixed machine,
//! and the result must be `NAME.txt`, letter for letter. `BLESS=1 cargo test --test tests config` writes those anew;
//! read the difference before you commit it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use phzd::config::{
    Addresses, Audience, Below, Cache, Channel, Checked, Config, Data, File, HealthCheck, KEYS, Machine, Others,
    Problems, Target,
};

fn machine() -> Machine {
    let addresses = ["127.0.0.1", "::1", "172.31.1.5"].map(|ip| ip.parse().expect("an address"));
    Machine { cores: 4, addresses: addresses.to_vec() }
}

fn told(checked: &Checked) -> String {
    match checked {
        Ok((_, warnings)) if warnings.is_empty() => "nothing to complain of\n".into(),
        Ok((_, warnings)) => format!("{}\n", Problems(warnings.clone())),
        Err(problems) => format!("{problems}\n"),
    }
}

#[test]
fn every_file_gets_the_words_beside_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut different = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir("tests/config").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let told = told(&File::load(&path).check(&machine()));
        let beside = path.with_extension("txt");
        if bless {
            fs::write(&beside, told).unwrap();
        } else if fs::read_to_string(&beside).unwrap_or_default() != told {
            different.push(format!("{} expects other words than:\n{told}", beside.display()));
        }
    }
    assert!(count > 50, "only {count} files");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Problems are worth a test only as long as somebody can see which file they are for.
#[test]
fn no_expected_words_without_a_file() {
    for entry in fs::read_dir("tests/config").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            assert!(path.with_extension("toml").exists(), "{} has no file", path.display());
        }
    }
}

#[test]
fn a_missing_file_is_one_clear_message() {
    let told = told(&Config::load(Path::new("tests/config/none/phzd.toml")));
    assert_eq!(told.lines().next(), Some("tests/config/none/phzd.toml: error: cannot be read: there is no such file"));
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn a_folder_is_no_file() {
    let told = told(&Config::load(Path::new("tests/config")));
    assert!(told.starts_with("tests/config: error: cannot be read: it is a folder\n"), "{told}");
}

#[test]
fn a_file_that_anyone_may_write_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phzd.toml");
    fs::copy("tests/config/good.toml", &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let told = told(&File::load(&path).check(&machine())).replace(&folder.path().display().to_string(), "");
    assert_eq!(
        told,
        "/phzd.toml: warning: every user of this machine may write this file\n      hint: chmod o-w /phzd.toml\n"
    );
}

#[test]
fn a_file_that_is_not_text_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("phzd.toml");
    fs::write(&path, b"[vpc]\nregion = \"\xff\"\n").unwrap();
    let told = told(&Config::load(&path));
    assert!(told.contains("/phzd.toml:2:11: error: the file is not UTF-8 text\n"), "{told}");
}

#[test]
fn of_a_hundred_thousand_names_the_three_wrong_ones_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut names: Vec<String> = (0..100_000).map(|number| format!("bucket-{number}")).collect();
    names[11] = "Bucket-11".into();
    names[50_000] = "bucket_50000".into();
    names[99_999] = "bucket-7".into();
    fs::write(folder.path().join("names.txt"), names.join("\n")).unwrap();
    let text = fs::read_to_string("tests/config/good.toml").unwrap();
    let named = text.lines().map(|line| if line.starts_with("names =") { "names-file = \"names.txt\"" } else { line });
    fs::write(folder.path().join("phzd.toml"), named.collect::<Vec<_>>().join("\n")).unwrap();
    let problems = File::load(&folder.path().join("phzd.toml")).check(&machine()).unwrap_err();
    let told: Vec<String> = problems.0.iter().map(|problem| problem.place().unwrap().to_string()).collect();
    let at = |line: usize| format!("{}:{line}:1", folder.path().join("names.txt").display());
    assert_eq!(told, [at(12), at(50_001), at(100_000)]);
}

#[test]
fn a_zone_file_is_read_to_its_last_record() {
    let (config, _) = File::load(Path::new("tests/config/zone-good.toml")).check(&machine()).unwrap();
    let kinds: BTreeSet<u16> = config.zones[0]
        .records
        .iter()
        .filter_map(|set| match set.data {
            Data::Records { kind, .. } => Some(kind),
            Data::Alias(_) => None,
        })
        .collect();
    // The 17 types that Route 53 offers, and one that nobody knows.
    assert_eq!(kinds, BTreeSet::from([1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 43, 44, 52, 64, 65, 99, 257, 65_280]));
    assert_eq!(config.zones[0].records.len(), 23);
}

#[test]
fn what_a_file_leaves_out_has_its_default() {
    let (config, _) = File::load(Path::new("tests/config/good.toml")).check(&machine()).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:53".parse().unwrap()]);
    assert_eq!(config.server.clients, []);
    assert_eq!(config.server.udp_threads, 4);
    assert_eq!(config.server.receive_buffer, 4096 * 1024);
    assert_eq!((config.server.tcp_connections, config.server.tcp_connections_per_client), (1024, 64));
    assert_eq!(config.server.tcp_idle, Duration::from_secs(10));
    assert_eq!((config.vpc.self_address, config.vpc.behind_self.len()), (None, 0));
    assert_eq!(config.vpc.resolvers, ["172.31.0.2:53".parse().unwrap()]);
    assert_eq!(config.upstream.timeout, Duration::from_millis(4000));
    assert_eq!(config.cache, Cache { bytes: 32 << 20, min_ttl: 0, max_ttl: 86_400, max_negative_ttl: 60 });
    assert_eq!(config.endpoints[0].ttl, 60);
    assert_eq!((config.buckets[0].others, config.buckets[0].below), (Others::Forward, Below::NxDomain));
    let only_v6 = "[vpc]\ncidrs = [\"2001:db8::/56\"]\n";
    let (config, _) = File::parse("x", only_v6).check(&machine()).unwrap();
    assert_eq!(config.vpc.resolvers, ["[fd00:ec2::253]:53".parse().unwrap()]);
    let second = "[vpc]\ncidrs = [\"2001:db8::/56\", \"10.0.0.0/16\", \"172.31.0.0/16\"]\n";
    let (config, _) = File::parse("x", second).check(&machine()).unwrap();
    assert_eq!(config.vpc.resolvers, ["10.0.0.2:53".parse().unwrap()]);
}

#[test]
fn what_a_file_states_is_meant() {
    let (config, _) = File::load(Path::new("tests/config/good-whole.toml")).check(&machine()).unwrap();
    assert_eq!((config.server.udp_threads, config.server.listen.len()), (2, 2));
    assert_eq!(config.cache.bytes, 16 << 20);
    assert_eq!(config.upstream.timeout, Duration::from_secs(2));
    assert_eq!(config.vpc.self_address, Some("172.31.1.5".parse().unwrap()));
    let Addresses::Stated(addresses) = &config.endpoints[0].addresses else { panic!("stated") };
    assert_eq!(addresses[1].az_id.as_deref(), Some("apne1-az1"));
    let names: Vec<String> = config.buckets[0].names.iter().map(ToString::to_string).collect();
    let expected = ["xxxxx", "yyyyy", "zzzzz", "wwwww"].map(|it| format!("{it}-bucket.s3.us-west-2.amazonaws.com"));
    assert_eq!(names, expected);
    let allow = Audience::Only { subnets: vec![0], blocks: vec!["10.1.0.0/16".parse().unwrap()] };
    assert_eq!(config.buckets[0].allow, allow);
    assert_eq!((config.buckets[0].others, config.buckets[0].below), (Others::NxDomain, Below::Forward));
    assert_eq!(config.rules[0].targets[1].address, "10.0.1.53:5353".parse().unwrap());
}

#[test]
fn targets_are_met_in_the_clear_over_tls_and_over_https() {
    let (config, _) = File::load(Path::new("tests/config/rule-good.toml")).check(&machine()).unwrap();
    let tls = |host: &str| Channel::Tls(host.to_owned());
    let https = |path: &str| Channel::Https { host: "dns.corp.example".to_owned(), path: path.to_owned() };
    let expected = [
        ("10.0.0.53:53", Channel::Plain),
        ("10.0.1.53:5353", Channel::Plain),
        ("10.0.0.53:853", tls("10.0.0.53")),
        ("[fd00::53]:8853", tls("fd00::53")),
        ("[fd00::53]:8443", Channel::Https { host: "fd00::53".to_owned(), path: "/dns-query".to_owned() }),
        ("10.0.2.53:53", Channel::Plain),
        ("10.0.0.53:853", tls("dns.corp.example")),
        ("10.0.0.53:443", https("/dns-query")),
        ("[fd00::53]:443", https("/dns-query")),
        ("10.0.0.53:8443", https("/other")),
    ];
    let meant = expected.map(|(address, channel)| Target { address: address.parse().unwrap(), channel });
    assert_eq!(config.rules[0].targets, meant);
    assert_eq!((config.rules[0].fallback, config.rules[1].fallback), (true, false));
    assert_eq!(config.rules[1].targets, []);
}

/// A text that was cut off anywhere is told of, and breaks nothing.
#[test]
fn every_beginning_of_a_file_can_be_judged() {
    for path in ["tests/config/good-whole.toml", "tests/config/unknown-keys.toml", "tests/config/tabs-and-letters.toml"]
    {
        let text = fs::read_to_string(path).unwrap();
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let told = told(&File::parse(path, &text[..end]).check(&machine()));
            assert!(told == "nothing to complain of\n" || told.starts_with(path), "{end}: {told}");
        }
    }
}

proptest::proptest! {
    /// Words of a configuration in any order: nothing breaks, and every problem can be shown.
    #[test]
    fn any_text_can_be_judged(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..60)) {
        let text = words.concat();
        let told = told(&File::parse("x", &text).check(&machine()));
        proptest::prop_assert!(told.starts_with("x:") || told.starts_with("nothing"), "{}", told);
    }
}

const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    "\"",
    "'",
    "\n",
    "\n",
    "\n",
    " ",
    ".",
    "#",
    "\t",
    "é",
    "\u{0}",
    "-",
    "5",
    "::",
    "\n[vpc]\n",
    "\n[[subnet]]\n",
    "\n[[endpoint]]\n",
    "\n[[bucket]]\n",
    "\n[[rule]]\n",
    "[server]",
    "cidrs",
    "cidr",
    "names = ",
    "names-file = ",
    "name = ",
    "allow = ",
    "endpoint = ",
    "addresses = ",
    "domain = ",
    "targets = ",
    "region = ",
    "\"172.31.0.0/16\"",
    "[\"172.31.1.0/24\"]",
    "\"s3\"",
    "[\"xxxxx-bucket\"]",
    "\"a\"",
    "[\"::1\"]",
    "listen = ",
    "true",
];

/// The file that a package installs.
const INSTALLED: &str = "config/phzd.toml";

#[test]
fn the_installed_file_is_right() {
    let (config, warnings) = File::load(Path::new(INSTALLED)).check(&machine()).unwrap_or_else(|it| panic!("{it}"));
    assert!(warnings.is_empty(), "{}", Problems(warnings));
    assert_eq!(config.buckets.len(), 1);
}

/// The installed file with the `#` taken from each commented key (`#key = …`; a comment for people is `# Words`).
fn uncommented() -> String {
    let text = fs::read_to_string(INSTALLED).expect("the installed file is in the repository");
    let plain = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_installed_file_and_the_parser_know_the_same_keys() {
    let mut table = String::new();
    let mut shown = BTreeSet::new();
    for line in uncommented().lines() {
        if line.starts_with('[') {
            line.split('#').next().unwrap().trim().clone_into(&mut table);
        } else if let Some((key, _)) = line.split_once('=')
            && !line.starts_with('#')
        {
            shown.insert(format!("{table} {}", key.trim()));
        }
    }
    let known = KEYS.iter().flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table} {key}")));
    assert_eq!(shown, known.collect());
}

#[test]
fn the_defaults_in_the_installed_file_are_the_real_ones() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("phzd.toml"), uncommented()).unwrap();
    fs::write(folder.path().join("buckets.txt"), "yyyyy-bucket\n").unwrap();
    fs::write(folder.path().join("internal.example.zone"), "web A 172.31.1.21\n").unwrap();
    let (shown, _) = File::load(&folder.path().join("phzd.toml")).check(&machine()).unwrap_or_else(|it| panic!("{it}"));
    let (real, _) = File::load(Path::new(INSTALLED)).check(&machine()).unwrap();
    assert_eq!(shown.server, real.server);
    assert_eq!(shown.upstream, real.upstream);
    assert_eq!(shown.cache, real.cache);
    assert_eq!(shown.vpc.resolvers, real.vpc.resolvers);
    assert_eq!(shown.endpoints[0], real.endpoints[0]);
    let health = HealthCheck { port: 443, interval: Duration::from_secs(10), failures: 3, successes: 2 };
    assert_eq!(shown.endpoints[1].health_check, Some(health));
    let defaults = "[[endpoint]]\nname = \"x\"\naddresses = [\"172.31.1.9\"]\nhealth-check = \"tcp:443\"\n";
    let defaults = format!("[vpc]\ncidrs = [\"172.31.0.0/16\"]\n{defaults}");
    let (defaults, _) = File::parse("x", &defaults).check(&machine()).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(defaults.endpoints[0].health_check, Some(health));
    let by_default =
        |key: &str| uncommented().lines().filter(|line| !line.starts_with(key)).collect::<Vec<_>>().join("\n");
    for key in ["except-aws", "path-style", "dns64"] {
        fs::write(folder.path().join("phzd.toml"), by_default(key)).unwrap();
        let without = File::load(&folder.path().join("phzd.toml")).check(&machine()).unwrap().0;
        assert_eq!((&without.zones, &without.subnets), (&shown.zones, &shown.subnets), "{key}");
    }
    assert_eq!((shown.buckets[0].others, shown.buckets[0].below), (real.buckets[0].others, real.buckets[0].below));
}
