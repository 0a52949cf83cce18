//! `phzd explain`: the words and the places, against a file and against a daemon, without a packet.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::phzd;
use crate::daemon::{Daemon, bucket, config};
use crate::resolvers::{GOOD, Standin};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";

/// A VPC with all kinds of zones and rules; its resolver is at `resolver`.
fn whole(resolver: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("buckets.txt"), "# ours\nlisted-one\nlisted-two\n").unwrap();
    let text = format!(
        r#"[server]
clients = ["10.8.0.0/16"]
[vpc]
region = "ap-northeast-1"
cidrs = ["172.31.0.0/16"]
self = "172.31.1.10"
behind-self = ["192.168.5.0/24"]
resolvers = ["{resolver}"]
[[subnet]]
name = "private-a"
cidr = ["172.31.1.0/24", "2001:db8:1::/64"]
az-id = "apne1-az4"
[[subnet]]
name = "inner"
cidr = "172.31.1.128/25"
dns64 = true
[[endpoint]]
name = "s3"
addresses = [{{ ip = "172.31.1.152", az-id = "apne1-az4" }}, {{ ip = "172.31.2.77", az-id = "apne1-az1" }}]
affinity = "same-az"
[[endpoint]]
name = "named"
dns-name = "vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com"
[[endpoint]]
name = "away"
dns-name = "vpce-0123456789abcdef1-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com"
when-down = "forward"
[[bucket]]
names = ["xxxxx-bucket"]
names-file = "buckets.txt"
endpoint = "s3"
allow = ["private-a"]
[[bucket]]
names = ["hidden"]
endpoint = "s3"
allow = ["private-a"]
others = "nxdomain"
[[bucket]]
names = ["silent"]
endpoint = "s3"
allow = ["private-a"]
others = "drop"
[[bucket]]
names = ["open-below"]
endpoint = "s3"
allow = ["10.8.0.0/16"]
below = "forward"
[[bucket]]
names = ["learned"]
endpoint = "named"
allow = ["inner", "private-a"]
[[bucket]]
names = ["gone"]
endpoint = "away"
allow = ["inner", "private-a"]
[[bucket]]
names = ["*"]
region = "us-west-2"
endpoint = "s3"
allow = ["inner", "private-a"]
except = ["public"]
[[zone]]
name = "corp.example"
records = [{{ name = "www", type = "CNAME", values = ["www.example.com."] }}, {{ name = "@", alias = "s3" }}]
allow = ["private-a"]
[[zone]]
name = "both.example"
records = [{{ name = "@", type = "A", values = ["172.31.1.20"] }}]
allow = ["private-a"]
[[rule]]
domain = "both.example"
targets = ["10.0.0.53", "tls://10.0.1.53"]
fallback = true
"#
    );
    fs::write(folder.path().join("phzd.toml"), text).unwrap();
    folder
}

/// `phzd explain`, with the folder's configuration.
fn command(folder: &Path) -> Command {
    let mut command = phzd();
    command.args(["explain", "--config"]).arg(folder.join("phzd.toml"));
    command
}

/// What it says, the folder left out of places.
fn explained(folder: &Path, arguments: &str) -> String {
    let output = command(folder).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap().replace(&format!("{}/", folder.display()), "")
}

/// Each must be told about the question.
fn assert_told(folder: &Path, arguments: &str, words: &[&str]) {
    let told = explained(folder, arguments);
    for words in words {
        assert!(told.contains(words), "{arguments}: no {words:?} in\n{told}");
    }
}

#[test]
fn every_reason_is_told_with_its_place() {
    // Whatever arrives here was sent by mistake.
    let resolver = UdpSocket::bind("127.0.0.1:0").unwrap();
    resolver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let folder = whole(&resolver.local_addr().unwrap().to_string());
    let told = |arguments: &str, words: &[&str]| assert_told(folder.path(), arguments, words);

    told(
        &format!("{BUCKET} --client 172.31.1.5"),
        &[
            "may ask: 172.31.1.0/24, of the subnet private-a (phzd.toml:9)",
            "belongs to the subnet private-a by 172.31.1.0/24 (phzd.toml:9), in apne1-az4",
            "(phzd.toml:28, named at phzd.toml:29) decides: allow has the subnet private-a",
            "it has an alias to the endpoint s3",
            "endpoint s3\n  its addresses are stated (phzd.toml:17)",
            "172.31.2.77 in apne1-az1",
            "this client gets those in apne1-az4",
            &format!("reply\n  NOERROR\n  {BUCKET}. 60 IN A 172.31.1.152\n"),
        ],
    );
    told("listed-two.s3.ap-northeast-1.amazonaws.com --client 172.31.1.5", &["named at buckets.txt:3) decides"]);
    told(
        &format!("{BUCKET} --client 172.31.0.5"),
        &[
            "may ask: 172.31.0.0/16, of vpc.cidrs (phzd.toml:3)",
            "belongs to no subnet",
            "does not decide: allow has private-a and not this client: for this client it does not exist",
            "no zone and no rule decides: the VPC's resolvers know",
            &format!("forwarded\n  {BUCKET} is asked of {}", resolver.local_addr().unwrap()),
        ],
    );
    // The longest block is the client's subnet, and none around it.
    told(
        &format!("{BUCKET} --client 172.31.1.200"),
        &["the subnet inner by 172.31.1.128/25", "gets AAAA made of A", "is asked of"],
    );
    told(
        "www.corp.example --client 172.31.1.5",
        &[
            "decides: allow has the subnet private-a",
            "then www.example.com\n  no zone and no rule decides",
            "www.example.com is asked of",
        ],
    );
    told("corp.example AAAA --client 172.31.1.5", &["NOERROR, no data", "authority: corp.example. 60 IN SOA"]);
    told(
        "both.example --client 172.31.1.5",
        &[
            "the rule both.example (phzd.toml:70) decides: a rule goes before any zone of its name",
            "the resolvers of the rule both.example know",
            "is asked of 10.0.0.53:53, tls://10.0.1.53 at 10.0.1.53:853",
            "if none of these lives, of",
        ],
    );
    told(&format!("{BUCKET} --client 203.0.113.1"), &["may not ask", "REFUSED", "because: this client may not ask"]);
    told(BUCKET, &["a loopback address", "counts as this host, 172.31.1.10", "the subnet private-a", "172.31.1.152"]);
    told(
        &format!("{BUCKET} --client 192.168.5.9"),
        &["of vpc.behind-self", "counts as this host, 172.31.1.10", "172.31.1.152"],
    );
    told(&format!("{BUCKET} aaaa --client 172.31.1.5"), &["AAAA for 172.31.1.5", "no data"]);
    told(&format!("{BUCKET} TYPE65 --client 172.31.1.5"), &["HTTPS for 172.31.1.5"]);

    assert!(resolver.recv(&mut [0; 512]).is_err(), "a packet was sent");
}

#[test]
fn zones_that_leave_a_name_to_others_say_why() {
    let folder = whole("172.31.0.2");
    let told = |arguments: &str, words: &[&str]| assert_told(folder.path(), arguments, words);
    told(
        "learned.s3.ap-northeast-1.amazonaws.com --client 172.31.1.200",
        &[
            "looked up: vpce-0123456789abcdef0",
            "only the daemon knows",
            "SERVFAIL",
            "because: the addresses of the interface",
        ],
    );
    told(
        "gone.s3.ap-northeast-1.amazonaws.com --client 172.31.1.5",
        &[
            "works or is known, and when-down = \"forward\"",
            "is asked of",
            "as long as the addresses of the endpoint away are not known",
        ],
    );
    told(
        "hidden.s3.ap-northeast-1.amazonaws.com --client 172.31.0.5",
        &[
            "decides: allow has private-a and not this client, and others = \"nxdomain\"",
            "NXDOMAIN",
            "authority: hidden",
        ],
    );
    told(
        "silent.s3.ap-northeast-1.amazonaws.com --client 172.31.0.5",
        &["others = \"drop\"", "none: the query is dropped"],
    );
    told(
        "a.open-below.s3.ap-northeast-1.amazonaws.com --client 10.8.1.1",
        &["of server.clients", "it does not have the name, and below = \"forward\"", "is asked of"],
    );
    told("open-below.s3.ap-northeast-1.amazonaws.com --client 10.8.1.1", &["decides: allow has 10.8.0.0/16"]);
    told(
        "public.s3.us-west-2.amazonaws.com --client 172.31.1.5",
        &["does not decide: the name is excepted", "is asked of"],
    );
    told(
        "any.s3.us-west-2.amazonaws.com --client 2001:db8:1::5",
        &["by 2001:db8:1::/64", "the zone s3.us-west-2.amazonaws.com", "172.31.1.152"],
    );
}

#[test]
fn json_says_the_same() {
    let folder = whole("172.31.0.2");
    let output = command(folder.path()).args([BUCKET, "--client", "172.31.1.5", "--json"]).output().unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["who"]["subnet"], "private-a");
    assert_eq!(value["steps"][0]["candidates"][0]["decides"], true);
    assert_eq!(value["outcome"]["reply"]["rcode"], "NOERROR");
    assert_eq!(value["endpoints"][0]["addresses"][0]["ip"], "172.31.1.152");
}

#[test]
fn the_daemon_knows_its_cache_its_resolvers_and_its_endpoints() {
    let standin = Standin::udp(|asked, socket| {
        if !asked.is_probe() {
            socket.send_to(&asked.answer(GOOD), asked.from).unwrap();
        }
    });
    let text =
        config(standin.address, &bucket("xxxxx-bucket")).replace("control = \"\"", "control = \"./control.sock\"");
    let daemon = Daemon::start(&text);
    let folder = daemon.folder.path();
    assert_told(folder, &format!("{BUCKET} --running"), &["counts as this host, 172.31.1.5", "172.31.1.152"]);
    assert_eq!(daemon.ask("www.example").addresses, [GOOD]);
    let asked = standin.asked().len();
    assert_told(
        folder,
        "www.example --running",
        &["reply, from the cache\n  NOERROR\n", &format!("IN A {GOOD}"), "cache\n  A: NOERROR, 0 s old, "],
    );
    assert_told(folder, "other.example --running", &["(well, usually ", "cache\n  nothing is cached"]);
    assert_eq!(standin.asked().len(), asked, "nobody was asked");
}

#[test]
fn what_cannot_be_explained_is_one_line() {
    let folder = whole("172.31.0.2");
    let failed = |arguments: &[&str]| {
        let output = phzd().arg("explain").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), output.stdout.len())
    };
    let path = folder.path().join("phzd.toml").display().to_string();
    let (code, error, out) = failed(&["a.example", "--config", &path, "--running", "--socket", "/no/such.sock"]);
    assert_eq!(
        (code, error.as_str(), out),
        (Some(1), "phzd: phzd does not run here: there is no control socket at /no/such.sock\n", 0)
    );
    let (code, error, _) = failed(&["a.example", "--config", "/no/such.toml"]);
    assert_eq!(code, Some(1));
    assert!(error.starts_with("/no/such.toml: error: cannot be read: there is no such file"), "{error}");
    for arguments in [&["a..example"][..], &["a.example", "NONSENSE"], &["a.example", "--client", "nobody"], &[]] {
        let (code, error, out) = failed(arguments);
        assert_eq!((code, out), (Some(2), 0), "{error}");
        assert!(error.starts_with("error: "), "{error}");
    }
}
