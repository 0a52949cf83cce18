//! Beside systemd-resolved and glibc: the README's recipes, as they stand there, on a host whose DHCP names the `.2`.
//!
//! Whoever asks for a bucket must get its private address, a thousand times, and the `.2`, which would give the public
//! one, must never be asked.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::machine::{BUCKET, Machine, PRIVATE, PUBLIC};
use crate::questions::{Expected, NAMES, Questions};

/// All buckets' names, for a shell.
const ALL: &str = "$(sed 's/$/.s3.ap-northeast-1.amazonaws.com/' /etc/phzd/buckets.txt)";

/// A fenced block of the README with these words in it.
fn block(language: &str, words: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = readme.split(&fence).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.find(|block| block.contains(words)).unwrap_or_else(|| panic!("the README has no {words}")).to_owned()
}

/// Does what root is told to do in that block.
fn follow(machine: &Machine, words: &str) {
    for command in block("console", words).lines().filter_map(|line| line.strip_prefix("# ")) {
        machine.run_well(command);
    }
}

/// Questions for a bucket that the `.2` was asked so far.
fn asked_of_the_resolver(machine: &Machine) -> usize {
    let journal =
        machine.run_unseen("journalctl --sync; journalctl --no-pager --output cat --unit vpc-resolver.service").text;
    journal.lines().filter(|line| line.contains(" info: ") && line.contains("amazonaws.com.")).count()
}

/// What a thousand buckets are to glibc's programs: how many addresses were private, and how many anything else.
fn by_getent(machine: &Machine) -> (usize, usize) {
    let said = machine.run_unseen(&format!("getent ahostsv4 {ALL} | grep STREAM")).text;
    let private = said.lines().filter(|line| line.starts_with(PRIVATE)).count();
    println!("  = getent ahostsv4, {NAMES} buckets: {private} private, {} others", said.lines().count() - private);
    (private, said.lines().count() - private)
}

/// What must be so once the README's recipe is followed, whichever way programs ask.
fn phzd_is_all_that_is_asked(machine: &Machine) {
    machine.wait_until("resolvectl dns | cut -d: -f2- | tr -d '\\n '", "127.0.0.1");
    machine.run_well("resolvectl --no-pager status");
    let before = asked_of_the_resolver(machine);
    assert!(machine.run_well(&format!("getent hosts {BUCKET}")).starts_with(PRIVATE));
    assert!(machine.run_well(&format!("getent --service hosts:dns hosts {BUCKET}")).starts_with(PRIVATE));
    assert!(machine.run_well(&format!("resolvectl query {BUCKET}")).contains(&format!(": {PRIVATE}")));
    assert!(machine.run_well("getent hosts www.example.com").starts_with("192.0.2.1 "), "the rest is forwarded");

    assert_eq!(by_getent(machine), (NAMES, 0));
    machine.run_well("resolvectl flush-caches");
    let queried = machine.run_unseen(&format!("resolvectl query --legend=no {ALL}")).text;
    assert_eq!(queried.lines().filter(|line| line.contains(&format!(": {PRIVATE}"))).count(), NAMES, "{queried}");
    assert_eq!(asked_of_the_resolver(machine), before, "the .2 was asked for a bucket");
}

#[test]
fn as_amazon_linux_ships_it_resolv_conf_has_phzd_alone() {
    let mut machine = Machine::with_phzd();
    machine.write("usr/lib/systemd/resolved.conf.d/amazon.conf", "[Resolve]\nDNSStubListener=no\nCache=no\n");
    machine.prepare("ln -sf ../run/systemd/resolve/resolv.conf /etc/resolv.conf");
    machine.boot();
    machine.wait_until_private("127.0.0.1");
    // Before: DHCP's server, the `.2`, is asked, and says what everybody may know.
    let servers = "grep ^nameserver /etc/resolv.conf | tr '\\n' ' '";
    machine.wait_until(servers, "nameserver 172.31.0.2");
    machine.run_well("cat /etc/resolv.conf | grep -v ^#");
    assert!(machine.run_well(&format!("getent hosts {BUCKET}")).starts_with(PUBLIC));
    assert!(asked_of_the_resolver(&machine) > 0, "a question that comes to the .2 is seen");

    follow(&machine, "resolved.conf.d");
    machine.wait_until(servers, "nameserver 127.0.0.1");
    machine.run_well("cat /etc/resolv.conf | grep -v ^#");
    phzd_is_all_that_is_asked(&machine);
    // From a boot, too.
    machine.reboot();
    machine.wait_until(servers, "nameserver 127.0.0.1");
    machine.wait_until_private("127.0.0.1");
    phzd_is_all_that_is_asked(&machine);
}

#[test]
fn with_its_stub_systemd_resolved_asks_phzd_alone() {
    let machine = Machine::serving();
    machine.wait_until("resolvectl dns ens5 | cut -d: -f2", "172.31.0.2");
    assert!(machine.run_well(&format!("getent hosts {BUCKET}")).starts_with(PUBLIC));
    follow(&machine, "resolved.conf.d");
    phzd_is_all_that_is_asked(&machine);

    // And while phzd is killed and comes back: late or not at all, but nothing public.
    machine.run_well("resolvectl flush-caches");
    let before = asked_of_the_resolver(&machine);
    let (private, public) = thread::scope(|scope| {
        let asking = scope.spawn(|| machine.inside(|| thousand("127.0.0.53:53")));
        thread::sleep(Duration::from_secs(1));
        machine.run_well("systemctl kill --kill-who=main --signal=KILL phzd.service");
        asking.join().unwrap()
    });
    println!("  = {NAMES} questions to 127.0.0.53, phzd killed meanwhile: {private} private, {public} public");
    assert_eq!(public, 0);
    assert!(private > NAMES / 4, "{private}");
    assert_eq!(asked_of_the_resolver(&machine), before, "the .2 was asked for a bucket");
}

/// Asks for a thousand buckets, one every 3 ms, and then waits: how many replies were private, and how many public.
fn thousand(server: &str) -> (usize, usize) {
    let server: SocketAddr = server.parse().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut questions = Questions::buckets();
    let mut queries = Vec::new();
    let (mut private, mut public) = (0, 0);
    let mut take = |queries: &[crate::questions::Query], patience| {
        client.set_read_timeout(Some(patience)).unwrap();
        let mut reply = [0; 1232];
        let Ok((length, _)) = client.recv_from(&mut reply) else { return false };
        let asked = &queries[usize::from(u16::from_be_bytes([reply[0], reply[1]]))];
        private += usize::from(Expected::PRIVATE.met_by(asked, &reply[..length]));
        public += usize::from(Expected::Address(PUBLIC.parse().unwrap()).met_by(asked, &reply[..length]));
        true
    };
    for id in 0..NAMES {
        let mut query = questions.next();
        query.set_id(id as u16);
        client.send_to(query.octets(), server).unwrap();
        queries.push(query);
        take(&queries, Duration::from_millis(3));
    }
    while take(&queries, Duration::from_secs(6)) {}
    (private, public)
}

#[test]
fn a_plain_resolv_conf_leads_to_phzd() {
    let machine = Machine::serving();
    follow(&machine, "disable --now systemd-resolved");
    let before = asked_of_the_resolver(&machine);
    assert!(machine.run_well(&format!("getent hosts {BUCKET}")).starts_with(PRIVATE));
    assert!(machine.run_well("getent hosts www.example.com").starts_with("192.0.2.1 "));
    assert_eq!(by_getent(&machine), (NAMES, 0));
    assert_eq!(asked_of_the_resolver(&machine), before, "the .2 was asked for a bucket");
}

#[test]
fn a_container_behind_a_bridge_counts_as_the_host() {
    let machine = Machine::serving();
    machine.write("etc/phzd/phzd.d/containers.toml", &block("toml", "behind-self"));
    machine.run_well("phzd check");
    machine.run_well("systemctl restart phzd.service");
    // The bridge comes later, as with Docker; a network of its own behind it plays the container.
    for command in [
        "ip link add docker0 type bridge",
        "ip address add 172.17.0.1/16 dev docker0",
        "ip link set docker0 up",
        "ip netns add container",
        "ip link add docked type veth peer name eth0 netns container",
        "ip link set docked master docker0 up",
        "ip -n container address add 172.17.0.2/16 dev eth0",
        "ip -n container link set eth0 up",
    ] {
        machine.run_well(command);
    }
    // What Docker writes there; the machine's own systemd-resolved is out of a container's reach, so it is left aside.
    machine.write("etc/netns/container/resolv.conf", "nameserver 172.17.0.1\n");
    let ask = format!("ip netns exec container getent --service hosts:dns ahostsv4 {BUCKET}");
    machine.wait_until(&format!("{ask} | head -n1 | cut -d' ' -f1"), PRIVATE);
    machine.run_well(&ask);
}
