//! `phzd doctor` on phzd's host of the lab: when all is well, and with each thing broken in turn.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::{Host, Lab, skip};
use super::{BUCKET, PHZD};

/// However much is dead, a person does not wait for longer.
const LIMIT: Duration = Duration::from_secs(10);
/// What the packet filter of a host drops, until the table is removed.
const FAULT: &str = "table inet fault { chain input { type filter hook input priority 0;";
const MEND: &str = "delete table inet fault";
/// The case, with room for more.
const CASE: &str = include_str!("phzd.toml");

//------------ All is well --------------------------------------------------------------------------------------------

#[test]
fn where_all_is_well_every_line_says_so() {
    let Some(lab) = healthy_lab() else { return };

    let report = lab.doctor(&[]);
    assert_eq!(report.code, 0, "{report}");
    for check in [
        "name servers",
        "port",
        "phzd",
        "resolver",
        "endpoint",
        "certificate",
        "bucket",
        "hosted zone",
        "repositories",
        "proxy",
        "packet allowance",
        "DNS64",
    ] {
        assert!(report.of(check).next().is_some(), "nothing is said of {check}:\n{report}");
    }
    for finding in &report.findings {
        assert_eq!((&*finding.verdict, &*finding.remedy), ("ok", ""), "{finding}");
    }
    assert!(report.one("bucket").said.contains("172.31.1.152"), "{report}");
    assert!(report.of("port").all(|finding| finding.said.starts_with("phzd (pid ")), "{report}");

    // The same for people: a line each.
    let said = lab.doctor_command(&[]).output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    println!("{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("ok       ")).count(), report.findings.len());
    assert!(text.ends_with("0 failures, 0 warnings, 0 skipped\n"), "{text}");

    // Who is not root is not told who has the port, and nothing worse.
    let unprivileged = crate::cli::unprivileged();
    let program = unprivileged.command();
    let program = Path::new(program.get_program());
    // No folder of the lab's need be open to nobody.
    fs::copy(lab.configuration(), program.with_file_name("phzd.toml")).unwrap();
    let mut command = lab.command_on(Host::Phzd, "setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command.args(["doctor", "--json", "--config"]).arg(program.with_file_name("phzd.toml")).current_dir("/");
    let report = Report::read(&mut command);
    assert_eq!(report.of("port").next().unwrap().verdict, "skipped", "{report}");
    assert_eq!(report.one("phzd").verdict, "ok", "{report}");
    assert_eq!(report.one("bucket").verdict, "ok", "{report}");
}

#[test]
fn a_host_that_is_not_allowed_expects_what_others_get() {
    let Some(mut lab) = Lab::start() else { return };
    let elsewhere = CASE.replace("172.31.1.0/24", "172.31.9.0/24").replace("31:1::/64", "31:9::/64");
    for (others, said) in [
        (
            "forward",
            "public as it should be, since this host, 172.31.1.10, of no subnet is not allowed: 203.0.113.10, ",
        ),
        ("nxdomain", "NXDOMAIN, since this host, 172.31.1.10, of no subnet is not allowed"),
        ("drop", "this host, 172.31.1.10, of no subnet is not allowed and gets no reply"),
    ] {
        lab.start_phzd_with("elsewhere.toml", &format!("{elsewhere}others = \"{others}\"\n"));
        let report = lab.doctor(&[]);
        let bucket = report.one("bucket");
        assert!(bucket.verdict == "ok" && bucket.said.starts_with(said), "{bucket}");
        // The security group drops what it sends, which is what it is for.
        assert_eq!(report.one("endpoint").verdict, "ok", "{report}");
        assert_eq!(report.code, 0, "{report}");
        lab.stop("phzd");
    }

    // Nobody whom the configuration knows: its own address is of no block that may ask.
    lab.start_phzd_with(
        "foreign.toml",
        &elsewhere
            .replace("[\"172.31.0.0/16\"", "[\"172.30.0.0/16\"")
            .replace("cidrs = ", "resolvers = [\"172.31.0.2\"]\ncidrs = "),
    );
    let report = lab.doctor(&[]);
    report.finds("failure", "bucket", "this host may not ask phzd at all", "vpc.cidrs");
}

#[test]
fn mistakes_of_the_configuration_come_first() {
    let Some(lab) = Lab::start() else { return };
    fs::write(lab.folder().join("wrong.toml"), CASE.replace("endpoint = \"s3\"", "endpoint = \"s4\"")).unwrap();
    let said = lab.run(Host::Phzd, &format!("{} doctor --json --config wrong.toml", env!("CARGO_BIN_EXE_phzd")));
    assert_eq!(said.code, 1);
    assert!(said.text.starts_with("wrong.toml:") && said.text.contains("did you mean \"s3\"?"), "{}", said.text);
}

//------------ Name servers -------------------------------------------------------------------------------------------

#[test]
fn another_name_server_is_found() {
    let Some(lab) = healthy_lab() else { return };
    for (text, said, remedy) in [
        ("nameserver 172.31.0.2\n", "points to 172.31.0.2 and not to phzd", "let `nameserver 127.0.0.1` be its only"),
        ("nameserver 172.31.1.10\nnameserver 172.31.0.2\n", "172.31.0.2 beside phzd", "take 172.31.0.2 out of it"),
        ("; generated by /sbin/dhclient-script\nnameserver 172.31.0.2\n", "points to 172.31.0.2", "PEERDNS=no"),
    ] {
        lab.write_etc(Host::Phzd, "resolv.conf", text);
        lab.doctor(&[]).finds("failure", "name servers", said, remedy);
    }
    for text in ["nameserver 127.0.0.1\n", "nameserver ::1\nnameserver 172.31.1.10\n", "# none\n"] {
        lab.write_etc(Host::Phzd, "resolv.conf", text);
        assert_eq!(lab.doctor(&[]).one("name servers").verdict, "ok", "{text}");
    }
}

#[test]
fn a_link_of_systemd_resolved_that_asks_somebody_else_is_found() {
    let Some(mut lab) = healthy_lab() else { return };
    let Some(resolved) = resolved() else { return };
    // It wants a user of its own and D-Bus. Its /run is its own, so that nothing of the machine's is touched.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    lab.write_etc(Host::Phzd, "passwd", &format!("{users}systemd-resolve:x:64990:64990::/:/usr/sbin/nologin\n"));
    let groups = fs::read_to_string("/etc/group").unwrap();
    lab.write_etc(Host::Phzd, "group", &format!("{groups}systemd-resolve:x:64990:\n"));
    lab.write_etc(Host::Phzd, "resolv.conf", "nameserver 127.0.0.53\n");
    fs::write(lab.folder().join("bus.conf"), BUS).unwrap();

    let pid = lab.start_resolved(&resolved, "DNS=127.0.0.1\nDomains=~.");
    let with_resolvectl = format!("{}:{}", resolved.join("usr/bin").display(), lab.path());
    let inside = |lab: &Lab| Report::read(&mut lab.doctor_inside(pid, &with_resolvectl));
    assert_eq!(inside(&lab).one("name servers").said, "asks phzd, and no link has a server that is asked beside it");
    // As DHCP gives it. What is for everything stays phzd's.
    lab.resolvectl(pid, &resolved, "dns eth0 172.31.0.2");
    lab.resolvectl(pid, &resolved, "domain eth0 ap-northeast-1.compute.internal");
    assert_eq!(inside(&lab).one("name servers").verdict, "ok");
    for (domain, whose) in [("~.", "for everything"), ("~amazonaws.com", BUCKET)] {
        lab.resolvectl(pid, &resolved, &format!("domain eth0 {domain}"));
        let said =
            format!("asks 172.31.0.2, which the link eth0 has of its own, for {}", whose.trim_start_matches("for "));
        inside(&lab).finds("failure", "name servers", &said, "UseDNS=no");
    }
    lab.stop("resolved");

    let pid = lab.start_resolved(&resolved, "DNS=127.0.0.1");
    lab.resolvectl(pid, &resolved, "dns eth0 172.31.0.2");
    let report = Report::read(&mut lab.doctor_inside(pid, &with_resolvectl));
    report.finds("failure", "name servers", "which the link eth0 has of its own", "Domains=~.");
    // Where it cannot be asked, what it writes has to do.
    let report = Report::read(&mut lab.doctor_inside(pid, &lab.folder().display().to_string()));
    report.finds("warning", "name servers", "has 172.31.0.2 beside phzd in /run/systemd/resolve", "Domains=~.");
    lab.stop("resolved");

    let pid = lab.start_resolved(&resolved, "DNS=127.0.0.1 172.31.0.2\nDomains=~.");
    let report = Report::read(&mut lab.doctor_inside(pid, &with_resolvectl));
    report.finds("failure", "name servers", "asks 172.31.0.2, which is not phzd", "no other file may say DNS=");
}

//------------ phzd and its port --------------------------------------------------------------------------------------

#[test]
fn a_phzd_that_does_not_run_is_found_and_who_has_its_port() {
    let Some(mut lab) = healthy_lab() else { return };
    lab.stop("phzd");
    let report = lab.doctor(&[]);
    report.finds("failure", "phzd", "does not run", "systemctl start phzd");
    assert!(report.of("port").all(|finding| (&*finding.verdict, &*finding.said) == ("ok", "free")), "{report}");
    for check in ["bucket", "repositories"] {
        let finding = report.one(check);
        assert_eq!((&*finding.verdict, &*finding.said), ("skipped", "phzd does not answer"), "{report}");
    }

    let text = "server:\n  interface: 127.0.0.1\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n";
    fs::write(
        lab.folder().join("taker.conf"),
        format!("{text}  use-syslog: no\n  local-data: \"localhost A 127.0.0.1\"\n"),
    )
    .unwrap();
    let ready = "dig @127.0.0.1 +tries=1 +time=1 +noall localhost";
    lab.start_program("taker", Host::Phzd, &["unbound", "-d", "-c", "taker.conf"], ready);
    let report = lab.doctor(&[]);
    let taken = report.of("port").find(|finding| finding.subject == "127.0.0.1:53").unwrap();
    assert_eq!(taken.verdict, "failure", "{report}");
    assert!(taken.said.starts_with("unbound (pid ") && taken.remedy.contains("stop that program"), "{taken}");
    report.finds("failure", "phzd", "does not run", "free its port first");
    assert_eq!(report.one("bucket").verdict, "skipped", "and nobody else is asked:\n{report}");
}

//------------ Resolvers ----------------------------------------------------------------------------------------------

#[test]
fn a_resolver_that_does_not_answer_in_every_way_is_found() {
    let Some(mut lab) = healthy_lab() else { return };
    let fault = |lab: &Lab, drops: &str| {
        lab.nft(Host::Resolver, &format!("{FAULT} {drops} drop\n}}\n}}"));
        let report = lab.doctor(&[]);
        lab.nft(Host::Resolver, MEND);
        report
    };
    fault(&lab, "tcp dport 53").finds(
        "failure",
        "resolver",
        "over UDP and not over TCP: no reply",
        "let TCP port 53 through",
    );
    fault(&lab, "udp dport 53").finds("failure", "resolver", "over TCP and not over UDP", "let UDP port 53 through");
    // Additional records in a query: its OPT.
    let report = fault(&lab, "udp dport 53 @th,144,16 1");
    report.finds("warning", "resolver", "does not answer what comes with EDNS", "drops EDNS (RFC 6891)");
    assert_eq!((report.code, &*report.one("repositories").verdict), (0, "ok"), "{report}");

    lab.stop("unbound");
    let report = lab.doctor(&[]);
    report.finds("failure", "resolver", "does not answer: nobody listens there", "enableDnsSupport");
    assert_eq!(report.one("bucket").verdict, "ok", "{report}");
    for check in ["hosted zone", "repositories", "DNS64"] {
        assert_eq!(report.one(check).said, "no resolver of the VPC answers", "{report}");
    }
}

#[test]
fn what_is_dead_is_not_waited_for() {
    let Some(mut lab) = healthy_lab() else { return };
    lab.stop("phzd");
    let rule = "\n[[rule]]\ndomain = \"corp.example\"\ntargets = [\"192.0.2.7\", \"192.0.2.99\"]\n";
    let learned = "\n[[endpoint]]\nname = \"s4\"\ndns-name = \"vpce-1-2.s3.ap-northeast-1.vpce.amazonaws.com\"\n";
    lab.start_phzd_with("dead.toml", &format!("{CASE}{rule}{learned}"));
    lab.nft(Host::Phzd, &format!("{FAULT} iif lo accept; drop\n}}\n}}"));
    let began = Instant::now();
    let report = lab.doctor(&[]);
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    assert_eq!(report.of("resolver").filter(|finding| finding.verdict == "failure").count(), 3, "{report}");
    assert!(report.of("endpoint").any(|finding| finding.said.starts_with("cannot be looked up")), "{report}");
    assert_eq!(report.one("phzd").verdict, "ok", "{report}");
}

//------------ The endpoint -------------------------------------------------------------------------------------------

#[test]
fn an_endpoint_that_cannot_be_reached_is_found_and_why() {
    let Some(mut lab) = lab_with_phzd() else { return };
    // The security group does not admit phzd's host yet.
    let report = lab.doctor(&[]);
    report.finds(
        "failure",
        "endpoint",
        "no answer to a connect",
        "security group: let it admit TCP port 443 from 172.31.1.10",
    );
    lab.admit_phzd();
    assert_eq!(lab.doctor(&[]).one("endpoint").verdict, "ok");

    lab.stop("endpoint");
    let refused = "nobody listens on port 443: the connect was refused";
    lab.doctor(&[]).finds("failure", "endpoint", refused, "whether the address is the endpoint's");

    // An address that no router knows.
    lab.stop("phzd");
    lab.start_phzd_with("nowhere.toml", &CASE.replace("172.31.1.152", "172.31.7.7"));
    lab.doctor(&[]).finds("failure", "endpoint", "there is no route to it", "the route of this host's subnet");
}

#[test]
fn an_endpoint_known_by_its_name_is_looked_up_at_the_resolver() {
    let Some(mut lab) = Lab::start() else { return };
    lab.admit_phzd();
    lab.start_phzd("phzd-dns-name.toml", PHZD.parse().unwrap());
    lab.run(Host::Phzd, "cp /etc/resolv.conf resolv.conf");
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vpc/phzd-dns-name.toml"), lab.configuration()).unwrap();
    let report = lab.doctor(&[]);
    assert_eq!(report.code, 0, "{report}");
    assert_eq!(report.one("endpoint").subject, "s3 at 172.31.1.152:443");

    let text = fs::read_to_string(lab.configuration()).unwrap().replace("abcdefgh", "unknown");
    fs::write(
        lab.configuration(),
        text.replace(".ap-northeast-1.vpce", ".us-west-2.vpce").replace("unknown", "abcdefgh"),
    )
    .unwrap();
    let report = lab.doctor(&[]);
    report.finds("failure", "endpoint", "cannot be looked up: vpce-0123456789abcdef0", "describe-vpc-endpoints");
}

#[test]
fn a_certificate_that_is_no_good_is_found_and_why() {
    let Some(mut lab) = healthy_lab() else { return };
    lab.certify("other", "s3.us-west-2.amazonaws.com");
    // Who trusts another authority does not know this one.
    let report = lab.doctor(&[("SSL_CERT_FILE", "other.pem")]);
    report.finds("failure", "certificate", "an authority that this host does not know", "ca-certificates");

    lab.stop("endpoint");
    lab.start_endpoint_as("other");
    let report = lab.doctor(&[("SSL_CERT_FILE", "other.pem")]);
    let said = format!("does not cover {BUCKET}: it is for s3.us-west-2.amazonaws.com, *.s3.us-west-2.amazonaws.com");
    report.finds("failure", "certificate", &said, "of the bucket's region");

    lab.stop("endpoint");
    lab.certify_expired("old");
    lab.start_endpoint_as("old");
    let report = lab.doctor(&[("SSL_CERT_FILE", "old.pem")]);
    report.finds("failure", "certificate", "has expired", "clock");

    // Every name is held against it, not only the first.
    lab.stop("endpoint");
    lab.start_endpoint_as("certificate");
    let elsewhere = "\n[[bucket]]\nnames = [\"wwwww-bucket\"]\nregion = \"us-west-2\"\nendpoint = \"s3\"\nallow = [\"private-a\"]\n";
    lab.stop("phzd");
    lab.start_phzd_with("two-regions.toml", &format!("{CASE}{elsewhere}"));
    let report = lab.doctor(&[]);
    report.finds("failure", "certificate", "does not cover wwwww-bucket.s3.us-west-2", "of the bucket's region");
}

//------------ Names --------------------------------------------------------------------------------------------------

#[test]
fn a_hosted_zone_beside_phzd_is_found() {
    let Some(mut lab) = healthy_lab() else { return };
    let zone = format!(
        "server:\n    local-zone: \"{BUCKET}.\" transparent\n    local-data: \"{BUCKET}. 60 IN A 172.31.1.152\"\n"
    );
    lab.restart_resolver(|usual| usual.replacen("server:\n", &zone, 1));
    let report = lab.doctor(&[]);
    report.finds("warning", "hosted zone", "172.31.0.2 says 172.31.1.152 by itself", "0.50 USD a month");
    assert_eq!((report.code, &*report.one("bucket").verdict), (0, "ok"), "{report}");
}

#[test]
fn an_answer_that_is_not_the_endpoints_is_found() {
    let Some(lab) = healthy_lab() else { return };
    // The file has changed, and phzd has not read it again.
    fs::write(lab.configuration(), CASE.replace("xxxxx-bucket", "bbbbb-bucket")).unwrap();
    let report = lab.doctor(&[]);
    report.finds("failure", "bucket", "the endpoint has 172.31.1.152", "systemctl reload phzd");

    let many: Vec<String> = (100..150).map(|number| format!("\"bucket-{number}\"")).collect();
    fs::write(lab.configuration(), CASE.replace("[\"xxxxx-bucket\"]", &format!("[{}]", many.join(", ")))).unwrap();
    let report = lab.doctor(&[]);
    assert_eq!(report.of("bucket").filter(|finding| finding.verdict == "failure").count(), 20, "{report}");
    assert!(report.of("bucket").any(|finding| finding.subject == "30 further names"), "{report}");
}

#[test]
fn a_zone_that_swallows_the_repositories_is_found() {
    let Some(mut lab) = healthy_lab() else { return };
    lab.stop("phzd");
    let zone = "\n[[zone]]\nname = \"s3.dualstack.ap-northeast-1.amazonaws.com\"\nallow = [\"private-a\"]\n";
    for (records, said) in [
        ("records = [{ name = \"*\", alias = \"s3\" }]\n", "phzd says 172.31.1.152"),
        ("records = [{ name = \"x\", alias = \"s3\" }]\n", "phzd says NXDOMAIN"),
    ] {
        lab.start_phzd_with("wide.toml", &format!("{CASE}{zone}{records}"));
        let report = lab.doctor(&[]);
        let al2023 = report.of("repositories").find(|finding| finding.subject.starts_with("al2023-repos-")).unwrap();
        assert_eq!(al2023.verdict, "failure", "{report}");
        assert!(al2023.said.starts_with(said), "{al2023}");
        assert!(al2023.remedy.contains("a zone of the configuration takes the name"), "{al2023}");
        lab.stop("phzd");
    }
}

#[test]
fn dns64_that_is_not_as_the_subnet_says_is_found() {
    let Some(mut lab) = healthy_lab() else { return };
    lab.restart_resolver(|usual| usual.replace("\"iterator\"", "\"dns64 iterator\"\n    dns64-prefix: 64:ff9b::/96"));
    let report = lab.doctor(&[]);
    report.finds("warning", "DNS64", "172.31.0.2 makes AAAA records for this host", "set dns64 = true in the subnet");
    assert_eq!(report.code, 0, "{report}");

    lab.stop("phzd");
    let with = CASE.replace("name = \"private-a\"", "name = \"private-a\"\ndns64 = true");
    lab.start_phzd_with("dns64.toml", &with);
    assert_eq!(lab.doctor(&[]).one("DNS64").verdict, "ok");
    lab.restart_resolver(str::to_owned);
    lab.doctor(&[]).finds("warning", "DNS64", "makes no AAAA records", "--enable-dns64");
}

//------------ The host -----------------------------------------------------------------------------------------------

#[test]
fn a_proxy_that_would_resolve_the_bucket_is_found() {
    let Some(lab) = healthy_lab() else { return };
    let proxy = ("https_proxy", "http://192.0.2.7:3128");
    let said = format!("https_proxy set while NO_PROXY lacks {BUCKET}");
    lab.doctor(&[proxy]).finds("failure", "proxy", &said, &format!("export NO_PROXY={BUCKET}"));
    // botocore does not know this form.
    let report = lab.doctor(&[proxy, ("NO_PROXY", "localhost,*.amazonaws.com")]);
    report.finds(
        "failure",
        "proxy",
        &said,
        &format!("NO_PROXY=localhost,*.amazonaws.com,{BUCKET},..s3.ap-northeast-1.amazonaws.com no_proxy="),
    );
    // Go would go by the one, all others by the other.
    lab.doctor(&[proxy, ("NO_PROXY", BUCKET), ("no_proxy", "localhost")]).finds("failure", "proxy", &said, "");
    let of_s3 = "look for s3.ap-northeast-1.amazonaws.com, which NO_PROXY lacks";
    lab.doctor(&[proxy, ("NO_PROXY", BUCKET)]).finds("warning", "proxy", of_s3, "phzd no-proxy prints a list");
    let printed = format!("{BUCKET},..s3.ap-northeast-1.amazonaws.com");
    for exempt in [&*printed, "s3.ap-northeast-1.amazonaws.com", "*"] {
        assert_eq!(lab.doctor(&[proxy, ("NO_PROXY", exempt)]).one("proxy").verdict, "ok", "{exempt}");
    }
}

#[test]
fn packets_that_the_network_card_dropped_are_found() {
    let Some(lab) = healthy_lab() else { return };
    lab.write_ethtool("     linklocal_allowance_exceeded: 1312");
    let report = lab.doctor(&[]);
    report.finds("warning", "packet allowance", "linklocal_allowance_exceeded is 1312", "upstream.packets-per-second");
    assert_eq!(report.code, 0, "{report}");
    lab.write_ethtool("     peer_ifindex: 7");
    assert_eq!(lab.doctor(&[]).one("packet allowance").verdict, "skipped", "as on every other card");
}

//------------ What the doctor said -----------------------------------------------------------------------------------

/// What it found, and its exit status.
struct Report {
    code: i32,
    findings: Vec<Finding>,
}

/// A finding, as JSON has it.
struct Finding {
    check: String,
    subject: String,
    verdict: String,
    said: String,
    /// Empty: none.
    remedy: String,
}

impl Report {
    /// Runs `command`, which prints JSON.
    fn read(command: &mut Command) -> Self {
        let output = command.output().expect("ip netns exec starts");
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let values: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON:\n{text}\n{error}"));
        let findings = values.iter().map(|value| {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            assert_eq!(value.as_object().unwrap().len(), 5, "{value}");
            let (check, subject) = (text("check"), text("subject"));
            Finding { check, subject, verdict: text("verdict"), said: text("said"), remedy: text("remedy") }
        });
        let report = Self { code: output.status.code().unwrap_or(-1), findings: findings.collect() };
        println!("{report}");
        let failed = report.findings.iter().any(|finding| finding.verdict == "failure");
        assert_eq!(report.code, i32::from(failed), "the exit status says whether something fails:\n{report}");
        report
    }

    fn of(&self, check: &str) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.check == check)
    }

    /// The only finding of a check.
    fn one(&self, check: &str) -> &Finding {
        let mut all = self.of(check);
        match (all.next(), all.next()) {
            (Some(finding), None) => finding,
            _ => panic!("not one finding of {check}:\n{self}"),
        }
    }

    /// Asserts that a check has a finding of this verdict, with these words in it and in its remedy.
    fn finds(&self, verdict: &str, check: &str, said: &str, remedy: &str) {
        let found = self.of(check).any(|finding| {
            finding.verdict == verdict && finding.said.contains(said) && finding.remedy.contains(remedy)
        });
        assert!(found, "no {verdict} of {check} with {said:?} and {remedy:?}:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "    {finding}"))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, subject, verdict, said, remedy } = self;
        write!(f, "{verdict} {check}: {subject}: {said} ({remedy})")
    }
}

//------------ The lab ------------------------------------------------------------------------------------------------

/// A bus to which whoever is on it may say anything.
const BUS: &str = "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN' \
                   'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>\n<busconfig><type>system</type>\
                   <listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth><policy context='default'>\
                   <allow user='*'/><allow own='*'/><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/></policy></busconfig>";

/// The lab with phzd, where the security group does not admit phzd's host.
fn lab_with_phzd() -> Option<Lab> {
    let mut lab = Lab::start()?;
    lab.start_phzd_with("case.toml", CASE);
    Some(lab)
}

/// The lab in which nothing is wrong.
fn healthy_lab() -> Option<Lab> {
    let lab = lab_with_phzd()?;
    lab.admit_phzd();
    Some(lab)
}

/// The folder of systemd-resolved and its resolvectl: the machine's own, or what `make tools` has unpacked, since the
/// package would make it the machine's resolver.
fn resolved() -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools").join("systemd-resolved");
    let found =
        [PathBuf::from("/"), unpacked].into_iter().find(|root| root.join("lib/systemd/systemd-resolved").exists());
    if found.is_none() || Command::new("dbus-daemon").arg("--version").output().is_err() {
        skip("part of systemd-resolved", "not here: systemd-resolved or dbus-daemon (make tools)");
        return None;
    }
    found
}

impl Lab {
    /// Starts phzd with `text`, which is what the doctor reads as well.
    fn start_phzd_with(&mut self, name: &str, text: &str) {
        fs::write(self.folder().join(name), text).unwrap();
        fs::write(self.configuration(), text).unwrap();
        let path = self.folder().join(name);
        self.write_ethtool("     linklocal_allowance_exceeded: 0");
        self.start_phzd(path.to_str().unwrap(), PHZD.parse::<IpAddr>().unwrap());
    }

    /// What the doctor reads.
    fn configuration(&self) -> PathBuf {
        self.folder().join("phzd.toml")
    }

    /// There is no ENA card here, so what it counts is printed by a program that stands for `ethtool -S eth0`.
    fn write_ethtool(&self, counter: &str) {
        let folder = self.folder().join("bin");
        fs::create_dir_all(&folder).unwrap();
        let text = format!("#!/bin/sh\n[ \"$*\" = '-S eth0' ] && echo 'NIC statistics:' && echo '{counter}'\n");
        fs::write(folder.join("ethtool"), text).unwrap();
        fs::set_permissions(folder.join("ethtool"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A PATH that begins with the lab's own programs.
    fn path(&self) -> String {
        format!("{}:{}", self.folder().join("bin").display(), std::env::var("PATH").unwrap())
    }

    /// `phzd doctor` on phzd's host.
    fn doctor_command(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = self.command_on(Host::Phzd, env!("CARGO_BIN_EXE_phzd"));
        command.args(["doctor", "--config", "phzd.toml"]).current_dir(self.folder());
        command.env("PATH", self.path()).env("SSL_CERT_FILE", "certificate.pem");
        command.env_remove("NO_PROXY").env_remove("no_proxy").envs(environment.iter().copied());
        command
    }

    fn doctor(&self, environment: &[(&str, &str)]) -> Report {
        println!("phzd host$ {environment:?} phzd doctor --json");
        Report::read(self.doctor_command(environment).arg("--json"))
    }

    /// The same where the process `pid` is, whose files in /run are its own, and with this PATH.
    fn doctor_inside(&self, pid: u32, path: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-n", "-t", &pid.to_string()]).arg(format!("--wd={}", self.folder().display()));
        command.args(["env", "SSL_CERT_FILE=certificate.pem"]).arg(format!("PATH={path}"));
        command.args([env!("CARGO_BIN_EXE_phzd"), "doctor", "--json", "--config", "phzd.toml"]);
        command
    }

    /// Starts systemd-resolved on phzd's host, with D-Bus; returns its process id.
    fn start_resolved(&mut self, root: &Path, settings: &str) -> u32 {
        let script = format!(
            "set -e; mount -t tmpfs none /run; mkdir -p /run/systemd/resolved.conf.d /run/dbus\n\
             printf '[Resolve]\\n{}\\n' >/run/systemd/resolved.conf.d/phzd.conf\n\
             dbus-daemon --config-file=bus.conf --nofork --nopidfile &\n\
             while [ ! -S /run/dbus/system_bus_socket ]; do sleep 0.02; done\n\
             exec {}",
            settings.replace('\n', "\\n"),
            root.join("lib/systemd/systemd-resolved").display()
        );
        let ready = format!("dig @127.0.0.53 +tries=1 +time=1 +noall {BUCKET}");
        let pid = self.start_program("resolved", Host::Phzd, &["sh", "-c", &script], &ready);
        // It is on the bus a moment later.
        let began = Instant::now();
        while !self.resolvectl_command(pid, root, "dns").output().unwrap().status.success() {
            assert!(began.elapsed() < LIMIT, "resolvectl never finds systemd-resolved");
            std::thread::sleep(Duration::from_millis(20));
        }
        pid
    }

    fn resolvectl(&self, pid: u32, root: &Path, arguments: &str) {
        println!("phzd host$ resolvectl {arguments}");
        let said = self.resolvectl_command(pid, root, arguments).output().unwrap();
        assert!(said.status.success(), "resolvectl {arguments}: {}", String::from_utf8_lossy(&said.stderr));
    }

    fn resolvectl_command(&self, pid: u32, root: &Path, arguments: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-n", "-t", &pid.to_string()]).arg(root.join("usr/bin/resolvectl"));
        command.args(arguments.split(' '));
        command
    }

    /// A certificate that was good for a while, and is its own authority.
    fn certify_expired(&self, name: &str) {
        self.certify(name, "s3.ap-northeast-1.amazonaws.com");
        let file = |end: &str| self.folder().join(format!("{name}{end}"));
        let (request, extensions) = (file(".csr"), file(".ext"));
        fs::write(&extensions, format!("basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:{BUCKET}\n")).unwrap();
        let openssl = |arguments: &str| {
            let said = Command::new("openssl").args(arguments.split(' ')).current_dir(self.folder()).output().unwrap();
            assert!(said.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&said.stderr));
        };
        openssl(&format!("req -new -key {name}-key.pem -subj /CN=old -out {}", request.display()));
        openssl(&format!(
            "x509 -req -in {} -signkey {name}-key.pem -days -1 -extfile {} -out {name}.pem",
            request.display(),
            extensions.display()
        ));
    }
}
