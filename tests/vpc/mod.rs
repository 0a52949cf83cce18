//! The case that phzd is for, on real hosts: a VPC of network namespaces with the addresses of the documentation, a
//! real resolver as the `.2`, a real TLS server behind a security group as the endpoint, the real phzd program, and the
//! questions asked with dig, nslookup and curl. Run with `--nocapture` it prints a transcript to read.
//!
//! It needs root and a few tools; where they are missing it says so and skips, unless `PHZD_LAB=required` is set.

mod dig;
mod doctor;
mod endpoints;
mod lab;

pub use lab::skip;

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use dig::Reply;
use lab::{Host, Lab};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
const OTHER_BUCKET: &str = "bbbbb-bucket.s3.ap-northeast-1.amazonaws.com";
const RESOLVER: &str = "172.31.0.2";
const PHZD: &str = "172.31.1.10";
const PHZD_V6: &str = "2001:db8:31:1::10";
const ENDPOINT: [&str; 1] = ["172.31.1.152"];
const PUBLIC: [&str; 4] = ["203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13"];

/// curl's exit code for a connection that got no answer in time; a refused one is 7.
const CURL_TIMED_OUT: i32 = 28;

#[test]
fn the_resolver_of_the_lab_behaves_like_the_one_of_a_vpc() {
    let Some(lab) = Lab::start() else { return };

    let public = lab.dig(Host::Private, &format!("@{RESOLVER} {BUCKET} A"));
    assert_eq!((public.status.as_str(), public.flags.as_str()), ("NOERROR", "qr rd ra"));
    assert_eq!(public.data("CNAME"), ["s3-r-w.ap-northeast-1.amazonaws.com."]);
    assert_eq!(public.data("A"), PUBLIC);
    assert!(public.authority.is_empty(), "{:?}", public.authority);

    let missing = lab.dig(Host::Private, &format!("@{RESOLVER} no.such.name.example.com A"));
    assert_eq!(missing.status, "NXDOMAIN");
    assert!(missing.authority[0].rest.starts_with("IN SOA"));

    let backwards = lab.dig(Host::Private, &format!("@{RESOLVER} -x 172.31.1.5"));
    assert_eq!(backwards.data("PTR"), ["ip-172-31-1-5.ap-northeast-1.compute.internal."]);

    let first = lab.dig(Host::Private, &format!("@{RESOLVER} www.example.com A"));
    thread::sleep(Duration::from_millis(1100));
    let second = lab.dig(Host::Private, &format!("@{RESOLVER} www.example.com A"));
    assert!(second.answer[0].ttl < first.answer[0].ttl, "TTLs count down");
}

#[test]
fn the_private_host_takes_the_endpoint() {
    let Some(lab) = lab_with_phzd() else { return };

    for transport in ["+notcp", "+tcp"] {
        let reply = lab.dig(Host::Private, &format!("{transport} {BUCKET} A"));
        assert_eq!((reply.status.as_str(), reply.flags.as_str()), ("NOERROR", "qr rd ra"), "no aa, as with the .2");
        assert_eq!(reply.data("A"), ENDPOINT);
        assert_eq!((reply.answer.len(), reply.answer[0].ttl), (1, 60));
        assert_eq!(reply.answer[0].owner, format!("{BUCKET}."));
        assert!(reply.authority.is_empty(), "{:?}", reply.authority);
    }
    let short = lab.run(Host::Private, &format!("dig +short {BUCKET}"));
    assert_eq!(short.text, "172.31.1.152\n");
    let looked_up = lab.run(Host::Private, &format!("nslookup {BUCKET}"));
    assert_eq!(looked_up.code, 0);
    let addresses: Vec<&str> = looked_up.text.lines().filter_map(|line| line.strip_prefix("Address: ")).collect();
    assert_eq!(addresses, ENDPOINT, "and no public address, of either family");

    // The whole way, by the C library's resolver: the name, the security group, the certificate.
    let fetched = lab.run(Host::Private, &format!("curl -sS --cacert certificate.pem https://{BUCKET}/path"));
    assert_eq!(fetched.text, "this is endpoint\n");
    let fetched = lab.run(Host::Private, &format!("curl -sS --cacert certificate.pem https://{OTHER_BUCKET}/path"));
    assert_eq!(fetched.text, "this is s3\n");
}

#[test]
fn the_public_host_keeps_the_public_path() {
    let Some(lab) = lab_with_phzd() else { return };

    for transport in ["+notcp", "+tcp"] {
        lab.phzd_says_what_the_resolver_says(Host::Public, &format!("{transport} {BUCKET} A"));
    }
    let looked_up = lab.run(Host::Public, &format!("nslookup {BUCKET}"));
    assert_eq!(looked_up.code, 0);
    assert!(PUBLIC.iter().all(|address| looked_up.text.contains(address)), "the public addresses");
    assert!(!looked_up.text.contains(ENDPOINT[0]), "and not the private one");

    let fetched = lab.run(Host::Public, &format!("curl -sS --cacert certificate.pem https://{BUCKET}/path"));
    assert_eq!(fetched.text, "this is s3\n");

    // What phzd spares it: with the private address this host would hang, not fail.
    let given = format!("curl -sS --connect-timeout 1 --resolve {BUCKET}:443:{} https://{BUCKET}/path", ENDPOINT[0]);
    assert_eq!(lab.run(Host::Public, &given).code, CURL_TIMED_OUT);
}

#[test]
fn nothing_of_the_public_name_leaks_to_the_private_host() {
    let Some(lab) = lab_with_phzd() else { return };

    for rtype in ["AAAA", "HTTPS", "TXT", "MX", "CNAME"] {
        let reply = lab.dig(Host::Private, &format!("{BUCKET} {rtype}"));
        assert_eq!((reply.status.as_str(), reply.flags.as_str()), ("NOERROR", "qr rd ra"));
        assert_eq!(reply.answer, [], "NODATA");
        assert_is_the_zone_soa(&reply);
    }
    for below in ["www", "a.b", "_443._tcp"] {
        let reply = lab.dig(Host::Private, &format!("{below}.{BUCKET} A"));
        assert_eq!((reply.status.as_str(), reply.flags.as_str()), ("NXDOMAIN", "qr rd ra"));
        assert_eq!(reply.answer, []);
        assert_is_the_zone_soa(&reply);
    }
    let asked = lab.questions_to_resolver(BUCKET);
    assert!(asked.is_empty(), "the .2 was asked about the private name: {asked:?}");
}

/// What is sent to a neighbour that is not there waits in the kernel for three seconds, and takes room in the send buffer of
/// the socket that replies to everybody.
#[test]
fn replies_to_neighbours_that_are_not_there_keep_nobody_waiting() {
    let Some(lab) = lab_with_phzd() else { return };
    let unanswered = r"
        printf x >/dev/udp/172.31.1.10/53
        sleep 0.2
        mac=$(ip neighbor show 172.31.1.10 | grep -o '..:..:..:..:..:..')
        set -e
        ip neighbor replace 172.31.1.10 lladdr $mac dev eth0 nud permanent
        echo 8 >/proc/sys/net/ipv4/conf/eth0/arp_ignore
        for n in $(seq 60 69); do ip address add 172.31.1.$n/32 dev eth0; done
        end=$((SECONDS + 4))
        while [ $SECONDS -lt $end ]; do
            for n in $(seq 60 69); do
                ip route replace 172.31.1.10 dev eth0 src 172.31.1.$n
                for _ in $(seq 10); do
                    printf '\0\1\1\0\0\1\0\0\0\0\0\0\4none\7invalid\0\0\1\0\1' >/dev/udp/172.31.1.10/53
                done
            done
            sleep 0.4
        done";
    let mut asking = lab.command_on(Host::Private, "bash").args(["-c", unanswered]).spawn().expect("bash starts");
    thread::sleep(Duration::from_secs(1));
    let mut answered = 0;
    for _ in 0..20 {
        let start = Instant::now();
        let said = lab.run_unseen(Host::Public, &format!("dig +tries=1 +time=1 @{PHZD} {BUCKET}"));
        answered += u32::from(said.code == 0);
        thread::sleep(Duration::from_millis(100).saturating_sub(start.elapsed()));
    }
    assert!(asking.wait().expect("bash ends").success());
    assert_eq!(answered, 20, "of as many");
}

#[test]
fn every_other_name_is_what_the_resolver_says() {
    let Some(lab) = lab_with_phzd() else { return };
    let questions = [
        // Another bucket, in each of its forms, and names that look nearly like the private one.
        "bbbbb-bucket.s3.ap-northeast-1.amazonaws.com A",
        "bbbbb-bucket.s3.ap-northeast-1.amazonaws.com AAAA",
        "bbbbb-bucket.s3.ap-northeast-1.amazonaws.com HTTPS",
        "bbbbb-bucket.s3.dualstack.ap-northeast-1.amazonaws.com AAAA",
        "xxxxx-bucket.s3.dualstack.ap-northeast-1.amazonaws.com A",
        "xxxxx-bucket2.s3.ap-northeast-1.amazonaws.com A",
        "s3.ap-northeast-1.amazonaws.com A",
        "XXXXX-bucket2.S3.ap-northeast-1.AmazonAWS.com A",
        // The Amazon Linux repositories.
        "al2023-repos-ap-northeast-1-de612dc2.s3.dualstack.ap-northeast-1.amazonaws.com A",
        "al2023-repos-ap-northeast-1-de612dc2.s3.dualstack.ap-northeast-1.amazonaws.com AAAA",
        "amazonlinux-2-repos-ap-northeast-1.s3.ap-northeast-1.amazonaws.com A",
        "amazonlinux-2-repos-ap-northeast-1.s3.dualstack.ap-northeast-1.amazonaws.com A",
        "cdn.amazonlinux.com A",
        "cdn.amazonlinux.com AAAA",
        // What only the .2 knows.
        "vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com A",
        "bucket.vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com A",
        "ip-172-31-1-5.ap-northeast-1.compute.internal A",
        "-x 172.31.1.5",
        "-x 172.31.1.77",
        "localhost A",
        // Other types, chains, and names without an answer.
        "example.com MX",
        "example.com TXT",
        "example.com CAA",
        "example.com SOA",
        "example.com NS",
        "www.example.com AAAA",
        "www.example.com HTTPS",
        "www.example.com TYPE65280",
        "_x._tcp.example.com SRV",
        "one.example.com A",
        "one.example.com CNAME",
        "nowhere.example.com A",
        "b.example.com A",
        "no.such.name A",
        ". NS",
        // How the question is put.
        "www.example.com A +dnssec",
        "www.example.com A +cdflag",
        "www.example.com A +noedns",
        "www.example.com A +adflag",
        "big.example.com TXT +tcp",
    ];
    for question in questions {
        lab.phzd_says_what_the_resolver_says(Host::Private, question);
        lab.phzd_says_what_the_resolver_says(Host::Public, &format!("{question} +tcp"));
    }
}

#[test]
fn a_forwarded_answer_is_kept_and_counts_down() {
    let Some(lab) = lab_with_phzd() else { return };

    let first = lab.dig(Host::Private, "one.example.com A");
    thread::sleep(Duration::from_secs(2));
    let second = lab.dig(Host::Public, "one.example.com A");
    for (before, after) in first.answer.iter().zip(&second.answer) {
        assert!((2..=3).contains(&(before.ttl - after.ttl)), "{before:?}, two seconds later {after:?}");
    }
    assert_eq!(second.differences(&first, 3), Vec::<String>::new());
    let asked = lab.questions_to_resolver("one.example.com");
    assert_eq!(asked.len(), 1, "the .2 was asked {asked:?}");
}

#[test]
fn a_large_answer_comes_truncated_and_then_whole() {
    let Some(lab) = lab_with_phzd() else { return };

    for size in ["+bufsize=1232", "+bufsize=512", "+noedns"] {
        let cut = lab.dig(Host::Private, &format!("+notcp +ignore {size} big.example.com TXT"));
        assert_eq!((cut.status.as_str(), cut.flags.as_str()), ("NOERROR", "qr tc rd ra"));
        assert_eq!(cut.question, [";big.example.com. IN TXT"]);
        assert_eq!(cut.edns.is_empty(), size == "+noedns", "an OPT only to those who sent one");
    }
    // As a client does it: dig sees TC and asks again over TCP.
    let whole = lab.run(Host::Private, "dig big.example.com TXT");
    assert!(whole.text.contains("Truncated, retrying in TCP mode"), "UDP came first");
    let whole = Reply::read(&whole.text);
    let direct = lab.dig(Host::Private, &format!("@{RESOLVER} big.example.com TXT"));
    assert_eq!(whole.answer.len(), 10);
    assert_eq!(whole.differences(&direct, 2), Vec::<String>::new());
}

#[test]
fn the_programs_of_the_phzd_host_count_as_that_host() {
    let Some(lab) = lab_with_phzd() else { return };

    for server in ["127.0.0.1", "::1", PHZD, PHZD_V6] {
        let reply = lab.dig(Host::Phzd, &format!("@{server} {BUCKET} A"));
        assert_eq!(reply.data("A"), ENDPOINT, "its own address is in the private subnet");
        let other = lab.dig(Host::Phzd, &format!("@{server} {OTHER_BUCKET} A"));
        assert_eq!(other.data("A"), PUBLIC);
    }
}

#[test]
fn over_ipv6_the_subnet_decides_as_well() {
    let Some(lab) = lab_with_phzd() else { return };

    for transport in ["+notcp", "+tcp"] {
        let private = lab.dig(Host::Private, &format!("-6 @{PHZD_V6} {transport} {BUCKET} A"));
        assert_eq!((private.data("A"), private.answer[0].ttl), (ENDPOINT.to_vec(), 60));
        let public = lab.dig(Host::Public, &format!("-6 @{PHZD_V6} {transport} {BUCKET} A"));
        assert_eq!(public.data("A"), PUBLIC);
    }
    let private = lab.dig(Host::Private, &format!("-6 @{PHZD_V6} {BUCKET} AAAA"));
    assert_eq!((private.status.as_str(), private.answer.len()), ("NOERROR", 0));
    assert_is_the_zone_soa(&private);
}

#[test]
fn an_outsider_is_refused_and_nothing_is_forwarded() {
    let Some(lab) = lab_with_phzd() else { return };

    for server in [PHZD, PHZD_V6] {
        for transport in ["+notcp", "+tcp"] {
            for name in [BUCKET, "outsider.example.com"] {
                let reply = lab.dig(Host::Outsider, &format!("@{server} {transport} {name} A"));
                assert_eq!(reply.status, "REFUSED");
                assert_eq!((reply.answer.len(), reply.authority.len()), (0, 0));
                assert!(reply.edns.iter().any(|line| line.starts_with("EDE: 18 (Prohibited)")), "{:?}", reply.edns);
            }
        }
    }
    for name in [BUCKET, "outsider.example.com"] {
        let asked = lab.questions_to_resolver(name);
        assert!(asked.is_empty(), "the .2 was asked: {asked:?}");
    }
}

#[test]
fn a_public_alias_of_the_bucket_leads_each_host_its_own_way() {
    let Some(lab) = lab_with_phzd() else { return };

    // Twice: the second reply comes from what the first left in the cache.
    for _ in 0..2 {
        let private = lab.dig(Host::Private, "backup.example.com A");
        assert_eq!((private.status.as_str(), private.flags.as_str()), ("NOERROR", "qr rd ra"));
        assert_eq!(private.data("CNAME"), [format!("{BUCKET}.")], "the chain up to the zone");
        assert_eq!(private.data("A"), ENDPOINT);
        let private = lab.dig(Host::Private, "backup.example.com AAAA");
        assert_eq!((private.status.as_str(), private.data("AAAA").len()), ("NOERROR", 0));
        assert_is_the_zone_soa(&private);
        lab.phzd_says_what_the_resolver_says(Host::Public, "backup.example.com A");
    }
}

#[test]
fn replies_leave_from_the_address_that_was_asked() {
    let Some(mut lab) = Lab::start() else { return };
    lab.start_phzd("phzd-any-address.toml", PHZD.parse().expect("an address"));

    // dig takes a reply only from the address it asked.
    for server in [PHZD, "172.31.1.11", PHZD_V6, "2001:db8:31:1::11"] {
        for transport in ["+notcp", "+tcp"] {
            let private = lab.dig(Host::Private, &format!("@{server} {transport} {BUCKET} A"));
            assert_eq!(private.data("A"), ENDPOINT);
            let public = lab.dig(Host::Public, &format!("@{server} {transport} {BUCKET} A"));
            assert_eq!(public.data("A"), PUBLIC);
        }
    }
    for server in ["127.0.0.1", "127.0.0.53", "::1", "172.31.1.11"] {
        let own = lab.dig(Host::Phzd, &format!("@{server} {BUCKET} A"));
        assert_eq!(own.data("A"), ENDPOINT);
    }
}

#[test]
fn a_lab_leaves_nothing_behind_even_after_a_panic() {
    let Some(mut lab) = Lab::start() else { return };

    lab.start_phzd("phzd.toml", PHZD.parse().expect("an address"));
    let traces = lab.traces();
    let panicked = thread::spawn(move || {
        assert!(lab.traces().is_empty(), "this panics, with the lab in its hands");
    });
    assert!(panicked.join().is_err());
    let left: Vec<_> = traces.iter().filter(|trace| trace.exists()).collect();
    assert!(left.is_empty(), "still there: {left:?}");
}

fn lab_with_phzd() -> Option<Lab> {
    let mut lab = Lab::start()?;
    lab.start_phzd("phzd.toml", PHZD.parse::<IpAddr>().expect("an address"));
    Some(lab)
}

impl Lab {
    /// Asks with dig, one try: a lost or misaddressed reply fails the test. Without `@` the host asks its resolv.conf.
    fn dig(&self, host: Host, arguments: &str) -> Reply {
        let said = self.run(host, &format!("dig +tries=1 {arguments}"));
        assert_eq!(said.code, 0, "dig got no reply");
        Reply::read(&said.text)
    }

    /// Puts one question to the `.2` and to phzd: code, flags, sections, order and data must be the same, and TTLs may
    /// differ by the time between the two questions. Shows the heart of the reply.
    fn phzd_says_what_the_resolver_says(&self, host: Host, question: &str) {
        let mut differences = Vec::new();
        // Between the two a record may expire in one cache and not yet in the other; hardly twice running.
        for _ in 0..2 {
            let start = Instant::now();
            let direct = self.run_unseen(host, &format!("dig +tries=1 @{RESOLVER} {question}"));
            let phzd = self.run_unseen(host, &format!("dig +tries=1 @{PHZD} {question}"));
            let passed = u32::try_from(start.elapsed().as_secs()).expect("a short time") + 1;
            let reply = Reply::read(&phzd.text);
            differences = reply.differences(&Reply::read(&direct.text), passed);
            if differences.is_empty() {
                println!("{host} host$ dig @{PHZD} {question}     # and the same @{RESOLVER}\n{reply}");
                return;
            }
            println!("{host} host$ dig @{PHZD} {question}\n{}", phzd.text);
            println!("{host} host$ dig @{RESOLVER} {question}\n{}", direct.text);
        }
        panic!("{question}: {}", differences.join("; "));
    }
}

fn assert_is_the_zone_soa(reply: &Reply) {
    assert_eq!(reply.authority.len(), 1, "{:?}", reply.authority);
    let soa = &reply.authority[0];
    assert_eq!((soa.owner.as_str(), soa.ttl), (format!("{BUCKET}.").as_str(), 60));
    assert!(soa.rest.starts_with("IN SOA ns-1536.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 "), "{}", soa.rest);
}
