//! Days of names and hosts that come and go, in a moment.

use super::*;
use crate::config::tests::minimal;
use crate::config::{Affinity, HealthCheck};

const NAME: &str = "vpce-0a.s3.ap-northeast-1.vpce.amazonaws.com";
const TIME: u64 = 1_800_000_000;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A watch, and a world in which names and hosts are as the test says.
struct World {
    watch: Watch,
    config: Config,
    endpoints: Arc<Endpoints>,
    began: Instant,
    now: Instant,
    /// What is found; NODATA of what is not here.
    found: HashMap<(Name, Family), Found>,
    /// Hosts that let nobody connect.
    closed: Vec<IpAddr>,
    /// Checks that have not ended, while this is.
    held: Option<Vec<(u64, SocketAddr)>>,
    /// What was looked up, and when, in milliseconds from the beginning.
    lookups: Vec<(u128, Lookup)>,
    probes: Vec<(u128, SocketAddr)>,
    said: Vec<String>,
    stored: Vec<Vec<Kept>>,
    counts: Arc<Counts>,
}

impl World {
    fn new(config: &Config, restored: Vec<Kept>) -> Self {
        let now = Instant::now();
        let counts = Arc::new(Counts::default());
        let mut world = Self {
            watch: Watch::new([3; 32], restored, (now, TIME), Arc::clone(&counts)),
            config: config.clone(),
            endpoints: Arc::default(),
            began: now,
            now,
            found: HashMap::new(),
            closed: Vec::new(),
            held: None,
            lookups: Vec::new(),
            probes: Vec::new(),
            said: Vec::new(),
            stored: Vec::new(),
            counts,
        };
        world.configure(config);
        world
    }

    fn configure(&mut self, config: &Config) {
        self.config = config.clone();
        self.endpoints = Arc::new(Endpoints::new(config));
        self.watch.configure(config, &self.endpoints, self.now);
    }

    /// What is found of `name` from now on: addresses of one family and none of the other, or the same of both.
    fn find(&mut self, name: &str, found: &Found) {
        for family in Family::ALL {
            let has = |ip: &IpAddr| ip.is_ipv4() == (family == Family::A);
            let found = match found {
                Found::Addresses { addresses, .. } if !addresses.iter().any(has) => Found::NoData,
                found => found.clone(),
            };
            self.found.insert((name.parse().unwrap(), family), found);
        }
    }

    /// Lets time pass, with all that becomes due.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.watch.tick(self.now);
            while !self.watch.actions().is_empty() {
                for action in std::mem::take(self.watch.actions()) {
                    self.carry_out(action);
                }
                self.watch.tick(self.now);
            }
            match self.watch.next_tick().filter(|due| *due <= until) {
                Some(due) => self.now = due.max(self.now),
                None => break,
            }
        }
        self.now = until;
    }

    fn carry_out(&mut self, action: Action) {
        let at = (self.now - self.began).as_millis();
        match action {
            Action::LookUp(lookup) => {
                let found = self.found.get(&(lookup.name.clone(), lookup.family)).cloned().unwrap_or(Found::NoData);
                self.watch.looked_up(&lookup, found, self.now);
                self.lookups.push((at, lookup));
            }
            Action::Probe { probe, target, patience } => {
                assert!(patience <= 2 * SECOND);
                self.probes.push((at, target));
                match &mut self.held {
                    Some(held) => held.push((probe, target)),
                    None => self.end(probe, target),
                }
            }
            Action::Store(kept) => self.stored.push(kept),
            Action::Warn(line) => self.said.push(format!("W {line}")),
            Action::Inform(line) => self.said.push(format!("I {line}")),
        }
    }

    fn end(&mut self, probe: u64, target: SocketAddr) {
        let closed = self.closed.contains(&target.ip());
        self.watch.probed(probe, if closed { Err("refused".into()) } else { Ok(()) }, self.now);
    }

    /// What endpoint `index` answers.
    fn serves(&self, index: usize) -> String {
        let published = self.watch.watched[index].published.as_ref().unwrap();
        assert_eq!(
            self.endpoints.present().is_away(index),
            *published == Published::Away,
            "what is published is in the tables"
        );
        let Published::Serving { addresses, v4_unknown, v6_unknown } = published else {
            return format!("{published:?}");
        };
        let mut texts: Vec<_> = addresses
            .iter()
            .map(|address| match &address.az_id {
                Some(az_id) => format!("{} {az_id}", address.ip),
                None => address.ip.to_string(),
            })
            .collect();
        texts.extend(v4_unknown.then(|| "A?".into()));
        texts.extend(v6_unknown.then(|| "AAAA?".into()));
        texts.join(", ")
    }

    /// The seconds at which addresses of `name` were looked up since the last time this was asked, each with both
    /// families.
    fn rounds(&mut self, name: &str) -> Vec<u128> {
        let name: Name = name.parse().unwrap();
        let mut rounds = Vec::new();
        for pair in self.lookups.iter().filter(|(_, lookup)| lookup.name == name).collect::<Vec<_>>().chunks(2) {
            let [(at, a), (also_at, aaaa)] = pair else { panic!("one family without the other") };
            assert_eq!((at, a.family, aaaa.family), (also_at, Family::A, Family::Aaaa));
            assert_eq!(at % 1000, 0, "lookups are not jittered");
            rounds.push(at / 1000);
        }
        self.lookups.clear();
        rounds
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}

fn found(addresses: &[&str], ttl: u32) -> Found {
    Found::Addresses { addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(), ttl }
}

fn servfail() -> Found {
    Found::Failed("SERVFAIL from 172.31.0.2".into())
}

fn dns_name() -> DnsName {
    DnsName {
        name: NAME.parse().unwrap(),
        az_id: None,
        zonal: vec![],
        resolvers: vec!["172.31.0.2:53".parse().unwrap()],
    }
}

fn learned(when_down: WhenDown, dns_name: DnsName) -> Config {
    let mut config = minimal();
    config.endpoints[0].addresses = Addresses::Learned(dns_name);
    config.endpoints[0].when_down = when_down;
    config
}

/// An endpoint of these addresses that are checked each ten seconds.
fn checked(addresses: &[&str], failures: u32, successes: u32) -> Config {
    let mut config = minimal();
    let address = |ip: &&str| EndpointAddress { ip: ip.parse().unwrap(), az_id: None };
    config.endpoints[0].addresses = Addresses::Stated(addresses.iter().map(address).collect());
    config.endpoints[0].health_check = Some(HealthCheck { port: 443, interval: 10 * SECOND, failures, successes });
    config
}

//------------ Names --------------------------------------------------------------------------------------------------

#[test]
fn a_name_is_tried_until_it_is_known_and_refreshed_before_its_ttl_is_over() {
    for (when_down, meanwhile) in [(WhenDown::Answer, "NotReady"), (WhenDown::Forward, "Away")] {
        let mut world = World::new(&learned(when_down, dns_name()), vec![]);
        world.find(NAME, &servfail());
        world.run(MINUTE * 3);
        assert_eq!(world.rounds(NAME), [0, 1, 3, 7, 15, 31, 63, 123]);
        assert_eq!(world.serves(0), meanwhile);
        world.find(NAME, &found(&["172.31.1.152"], 60));
        world.run(MINUTE * 2);
        assert_eq!(world.rounds(NAME), [183, 231, 279]);
        assert_eq!(world.serves(0), "172.31.1.152");
        assert_eq!(
            world.said(),
            [
                format!(
                    "W {NAME} cannot be looked up (SERVFAIL from 172.31.0.2): no address is known yet, and it is tried again"
                ),
                format!("I {NAME}: 172.31.1.152"),
                format!("I {NAME} is looked up again without failure"),
            ]
        );
        assert_eq!((world.counts.refreshes.value(), world.counts.refresh_failures.value()), (3, 8));
    }
}

#[test]
fn the_last_good_set_serves_while_refreshing_fails() {
    for nothing in [servfail(), Found::NxDomain, Found::NoData] {
        let mut world = World::new(&learned(WhenDown::Forward, dns_name()), vec![]);
        world.find(NAME, &found(&["172.31.2.77", "172.31.1.152"], 60));
        world.run(40 * SECOND);
        world.find(NAME, &nothing);
        world.run(24 * 60 * MINUTE);
        assert_eq!(world.serves(0), "172.31.1.152, 172.31.2.77", "{nothing}");
        assert_eq!(world.rounds(NAME)[..7], [0, 48, 53, 63, 83, 123, 183]);
        world.find(NAME, &found(&["172.31.2.77"], 60));
        world.run(MINUTE);
        assert_eq!(world.serves(0), "172.31.2.77");
        let said = world.said();
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(
            said[1],
            format!(
                "W {NAME} cannot be looked up ({nothing}): what was known is still answered, and it is tried again"
            )
        );
        assert_eq!(
            said[2..],
            [format!("I {NAME}: 172.31.2.77"), format!("I {NAME} is looked up again without failure")]
        );
    }
}

#[test]
fn families_are_known_each_by_itself() {
    let mut world = World::new(&learned(WhenDown::Answer, dns_name()), vec![]);
    world.find(NAME, &found(&["172.31.1.152"], 60));
    world.found.insert((NAME.parse().unwrap(), Family::Aaaa), servfail());
    world.run(SECOND);
    assert_eq!(world.serves(0), "172.31.1.152, AAAA?");
    world.found.insert((NAME.parse().unwrap(), Family::Aaaa), found(&["fd00::1"], 60));
    world.run(MINUTE);
    assert_eq!(world.serves(0), "172.31.1.152, fd00::1");
    world.found.insert((NAME.parse().unwrap(), Family::A), Found::NxDomain);
    world.run(MINUTE);
    assert_eq!(world.serves(0), "172.31.1.152, fd00::1");
    world.found.insert((NAME.parse().unwrap(), Family::A), Found::NoData);
    world.run(MINUTE);
    assert_eq!(world.serves(0), "fd00::1");
}

#[test]
fn zones_are_learned_by_zonal_names_and_kept() {
    let zonal = |zone: &str| format!("vpce-0a-{zone}.s3.ap-northeast-1.vpce.amazonaws.com");
    let az = |zone: &str, id: &str| (zonal(zone).parse().unwrap(), id.to_owned());
    let mut with_zones = dns_name();
    with_zones.zonal = vec![
        az("ap-northeast-1a", "apne1-az4"),
        az("ap-northeast-1c", "apne1-az1"),
        az("ap-northeast-1d", "apne1-az2"),
    ];
    let mut config = learned(WhenDown::Answer, with_zones);
    config.endpoints[0].affinity = Affinity::SameAz;
    let mut world = World::new(&config, vec![]);
    world.find(NAME, &found(&["172.31.1.152", "172.31.2.77"], 60));
    world.find(&zonal("ap-northeast-1a"), &found(&["172.31.1.152"], 60));
    world.find(&zonal("ap-northeast-1c"), &found(&["172.31.2.77"], 60));
    world.find(&zonal("ap-northeast-1d"), &Found::NxDomain);
    world.run(SECOND);
    assert_eq!(world.serves(0), "172.31.1.152 apne1-az4, 172.31.2.77 apne1-az1");
    assert_eq!(world.said().len(), 3, "an endpoint need not be in every zone");
    world.find(&zonal("ap-northeast-1a"), &Found::NxDomain);
    world.find(&zonal("ap-northeast-1c"), &servfail());
    world.run(10 * MINUTE);
    assert_eq!(world.serves(0), "172.31.1.152 apne1-az4, 172.31.2.77 apne1-az1");
    assert_eq!(world.said().iter().filter(|line| line.contains("cannot be looked up")).count(), 2);

    // Or the configuration says which zone's name it is.
    let mut world =
        World::new(&learned(WhenDown::Answer, DnsName { az_id: Some("apne1-az4".into()), ..dns_name() }), vec![]);
    world.find(NAME, &found(&["172.31.1.152"], 60));
    world.run(SECOND);
    assert_eq!(world.serves(0), "172.31.1.152 apne1-az4");
}

#[test]
fn public_addresses_are_warned_of_once_a_set() {
    let mut world = World::new(&learned(WhenDown::Answer, dns_name()), vec![]);
    let warned = |world: &mut World| world.said().iter().filter(|line| line.contains("neither private")).count();
    world.find(NAME, &found(&["52.219.1.1", "172.31.1.152"], 60));
    world.run(10 * MINUTE);
    assert_eq!((warned(&mut world), world.serves(0)), (1, "52.219.1.1, 172.31.1.152".into()));
    world.find(NAME, &found(&["52.219.1.2"], 60));
    world.run(10 * MINUTE);
    assert_eq!(warned(&mut world), 1);
    world.find(NAME, &found(&["172.31.1.152"], 60));
    world.run(10 * MINUTE);
    assert_eq!(warned(&mut world), 0);
}

#[test]
fn what_was_kept_from_before_serves_until_the_first_success() {
    let kept = |name: &str, addresses: &[&str]| Kept {
        name: name.parse().unwrap(),
        family: Family::A,
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        time: 5,
    };
    let restored = vec![kept(NAME, &["172.31.1.152"]), kept("other.example", &["172.31.9.9"])];
    let mut world = World::new(&learned(WhenDown::Answer, dns_name()), restored);
    assert_eq!(world.serves(0), "172.31.1.152, AAAA?", "before anything is looked up");
    world.find(NAME, &servfail());
    world.run(60 * MINUTE);
    assert_eq!(world.serves(0), "172.31.1.152, AAAA?");
    assert!(world.stored.is_empty(), "there is nothing new to keep");
    world.find(NAME, &found(&["172.31.1.153"], 60));
    world.run(MINUTE);
    assert_eq!(world.serves(0), "172.31.1.153");
    let last = world.stored.last().unwrap();
    assert!(last.iter().all(|kept| kept.name.to_string() == NAME && kept.time >= TIME), "{last:?}");
    assert_eq!(last.iter().map(|kept| kept.addresses.len()).collect::<Vec<_>>(), [1, 0]);
    // That it is still so is kept now and then, so that the file says when it was.
    let writes = world.stored.len();
    world.run(5 * 60 * MINUTE);
    assert_eq!(world.stored.len() - writes, 5);
    // And another configuration's names are left out.
    world.configure(&minimal());
    world.run(SECOND);
    assert_eq!(world.stored.last(), Some(&vec![]));
}

#[test]
fn endpoints_of_one_name_share_its_lookups() {
    let mut config = learned(WhenDown::Answer, dns_name());
    config.endpoints.push(config::Endpoint { name: "other".into(), ..config.endpoints[0].clone() });
    let mut world = World::new(&config, vec![]);
    world.find(NAME, &found(&["172.31.1.152"], 60));
    world.run(SECOND);
    assert_eq!(world.rounds(NAME), [0]);
    assert_eq!([world.serves(0), world.serves(1)], ["172.31.1.152", "172.31.1.152"]);
}

#[test]
fn a_reload_keeps_what_is_known_of_a_name() {
    let config = learned(WhenDown::Answer, dns_name());
    let mut world = World::new(&config, vec![]);
    world.find(NAME, &found(&["172.31.1.152"], 60));
    world.run(10 * SECOND);
    world.find(NAME, &servfail());
    // Another endpoint comes first, so that indexes differ.
    let mut more = config.clone();
    more.endpoints.insert(0, config::Endpoint { name: "other".into(), ..minimal().endpoints[0].clone() });
    world.configure(&more);
    assert_eq!([world.serves(0), world.serves(1)], ["172.31.1.152", "172.31.1.152"], "at once");
    world.run(MINUTE);
    assert_eq!(world.rounds(NAME), [0, 48, 53, 63], "in its own time");
    // Others are asked from now on: at once, and what was asked before is nobody's.
    let elsewhere = DnsName { resolvers: vec!["10.0.0.53:53".parse().unwrap()], ..dns_name() };
    let asked_before =
        Lookup { name: NAME.parse().unwrap(), family: Family::A, resolvers: Arc::from(dns_name().resolvers) };
    world.configure(&learned(WhenDown::Answer, elsewhere));
    world.watch.tick(world.now);
    world.watch.looked_up(&asked_before, found(&["172.31.9.9"], 60), world.now);
    assert_eq!(world.serves(0), "172.31.1.152");
    world.find(NAME, &found(&["172.31.1.153"], 60));
    world.run(SECOND);
    assert_eq!(world.serves(0), "172.31.1.153");
    assert_eq!(world.rounds(NAME), [70]);
}

#[test]
fn an_endpoint_without_a_name_or_a_check_costs_nothing() {
    let mut world = World::new(&minimal(), vec![]);
    world.run(MINUTE);
    assert_eq!((world.watch.next_tick(), world.serves(0)), (None, "172.31.1.152".into()));
    assert!(world.said.is_empty() && world.stored.is_empty());
}

#[test]
fn a_name_that_comes_and_goes_is_said_now_and_then() {
    let mut world = World::new(&learned(WhenDown::Answer, dns_name()), vec![]);
    for _ in 0..720 {
        world.find(NAME, &found(&["172.31.1.152"], 0));
        world.run(5 * SECOND);
        world.find(NAME, &servfail());
        world.run(5 * SECOND);
    }
    assert!(world.said.len() <= 13 * 10, "{} lines in two hours", world.said.len());
}

//------------ Health -------------------------------------------------------------------------------------------------

const ONE: &str = "172.31.1.152";
const OTHER: &str = "172.31.2.77";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_address_leaves_the_answers_and_returns() {
    let mut world = World::new(&checked(&[ONE, OTHER], 3, 2), vec![]);
    world.run(MINUTE);
    world.closed = vec![ip(ONE)];
    world.run(20 * SECOND);
    assert_eq!(world.serves(0), format!("{ONE}, {OTHER}"), "three times in a row at most");
    world.run(20 * SECOND);
    assert_eq!(world.serves(0), OTHER);
    world.run(60 * MINUTE);
    world.closed.clear();
    world.run(MINUTE);
    assert_eq!(world.serves(0), format!("{ONE}, {OTHER}"));
    assert_eq!(
        world.said(),
        [
            format!("W endpoint \"s3\": {ONE} port 443 is unhealthy: refused"),
            format!("I endpoint \"s3\": {ONE} port 443 is healthy again")
        ]
    );
    assert_eq!(world.counts.health_changes.value(), 2);
    assert!((350..400).contains(&world.counts.probes_failed.value()), "{:?}", world.counts.probes_failed);
}

#[test]
fn all_down_follows_when_down() {
    for (when_down, meanwhile) in [(WhenDown::Answer, format!("{ONE}, {OTHER}")), (WhenDown::Forward, "Away".into())] {
        let mut config = checked(&[ONE, OTHER], 1, 1);
        config.endpoints[0].when_down = when_down;
        let mut world = World::new(&config, vec![]);
        world.run(MINUTE);
        world.closed = vec![ip(ONE), ip(OTHER)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), meanwhile);
        let said = world.said();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[2].starts_with("W endpoint \"s3\": no address is healthy any more"), "{said:?}");
        world.closed = vec![ip(ONE)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), OTHER);
        world.closed.clear();
        world.run(MINUTE);
        assert_eq!((world.serves(0), world.said().len()), (format!("{ONE}, {OTHER}"), 2));
    }
}

#[test]
fn a_family_that_is_down_is_answered_all_the_same_while_the_other_is_up() {
    const V6: &str = "2001:db8:1::152";
    let all = format!("{ONE}, {OTHER}, {V6}");
    for when_down in [WhenDown::Answer, WhenDown::Forward] {
        let mut config = checked(&[ONE, OTHER, V6], 1, 1);
        config.endpoints[0].when_down = when_down;
        let mut world = World::new(&config, vec![]);
        world.run(MINUTE);
        world.closed = vec![ip(ONE)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), format!("{OTHER}, {V6}"));
        world.closed = vec![ip(ONE), ip(OTHER)];
        world.run(10 * MINUTE);
        assert_eq!(world.serves(0), all);
        let said = world.said();
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[2].contains("no IPv4 address is healthy"), "{said:?}");
        world.closed = vec![ip(ONE), ip(OTHER), ip(V6)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), if when_down == WhenDown::Forward { "Away" } else { &*all });
        world.closed = vec![ip(ONE), ip(V6)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), format!("{OTHER}, {V6}"));
    }
}

#[test]
fn a_family_of_which_nothing_is_proven_leaves_it_to_the_other_whether_all_are_down() {
    const V6: &str = "2001:db8:1::152";
    for (when_down, meanwhile) in [(WhenDown::Answer, format!("{ONE}, {V6}")), (WhenDown::Forward, "Away".into())] {
        let mut config = checked(&[ONE, V6], 1, 1);
        config.endpoints[0].when_down = when_down;
        let mut world = World::new(&config, vec![]);
        world.closed = vec![ip(V6)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), format!("{ONE}, {V6}"));
        world.closed = vec![ip(ONE), ip(V6)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), meanwhile);
        world.closed = vec![ip(ONE)];
        world.run(MINUTE);
        assert_eq!(world.serves(0), format!("{ONE}, {V6}"), "what is proven by now is answered");
        let said = world.said();
        assert_eq!(said.len(), 4, "{said:?}");
    }
}

#[test]
fn a_host_outside_the_security_group_judges_nobody() {
    let mut config = checked(&[ONE], 3, 2);
    config.endpoints[0].when_down = WhenDown::Forward;
    let mut world = World::new(&config, vec![]);
    world.closed = vec![ip(ONE)];
    world.run(24 * 60 * MINUTE);
    assert_eq!(world.serves(0), ONE);
    let said = world.said();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("security group"), "{said:?}");
    assert_eq!(world.counts.health_changes.value(), 0);
}

#[test]
fn an_endpoint_that_flaps_every_second_is_said_now_and_then() {
    let mut config = checked(&[ONE, OTHER], 1, 1);
    config.endpoints[0].health_check.as_mut().unwrap().interval = SECOND;
    let mut world = World::new(&config, vec![]);
    world.run(MINUTE);
    for _ in 0..1800 {
        world.closed = vec![ip(ONE)];
        world.run(SECOND);
        assert!(world.serves(0).contains(OTHER));
        world.closed.clear();
        world.run(SECOND);
    }
    assert!(world.counts.health_changes.value() > 1000, "{:?}", world.counts.health_changes);
    assert!(world.said.len() <= 7 * 10, "{} lines in an hour", world.said.len());
    assert!(world.said[9].contains("is counted, and not logged"), "{:?}", world.said[9]);
}

#[test]
fn flaps_below_the_thresholds_change_nothing() {
    let mut config = checked(&[ONE, OTHER], 3, 2);
    config.endpoints[0].health_check.as_mut().unwrap().interval = SECOND;
    let mut world = World::new(&config, vec![]);
    world.run(MINUTE);
    for _ in 0..1800 {
        world.closed = vec![ip(ONE)];
        world.run(SECOND);
        world.closed.clear();
        world.run(2 * SECOND);
        assert_eq!(world.serves(0), format!("{ONE}, {OTHER}"));
    }
    assert!(world.said.is_empty(), "{:?}", world.said);
}

#[test]
fn few_checks_are_under_way_at_one_time() {
    let addresses: Vec<_> = (1..=100).map(|last| format!("172.31.1.{last}")).collect();
    let mut world = World::new(&checked(&addresses.iter().map(|it| &**it).collect::<Vec<_>>(), 3, 3), vec![]);
    world.held = Some(vec![]);
    world.run(MINUTE);
    assert_eq!(world.probes.len(), MOST_PROBES);
    assert_eq!(world.watch.next_tick(), None, "there is nothing to do until one ends");
    let held = world.held.take().unwrap();
    held.into_iter().for_each(|(probe, target)| world.end(probe, target));
    world.run(SECOND);
    let asked: std::collections::BTreeSet<_> = world.probes.iter().map(|(_, target)| *target).collect();
    assert_eq!(asked.len(), 100, "each has its turn");
}

#[test]
fn a_reload_keeps_how_addresses_are() {
    let config = checked(&[ONE, OTHER], 1, 1);
    let mut world = World::new(&config, vec![]);
    world.run(MINUTE);
    world.closed = vec![ip(ONE)];
    world.run(MINUTE);
    world.held = Some(vec![]);
    world.run(MINUTE);
    world.said();
    let mut renamed = config.clone();
    renamed.endpoints[0].name = "renamed".into();
    for next in [&config, &renamed] {
        world.configure(next);
        assert_eq!(world.serves(0), OTHER, "at once");
    }
    // What was under way is nobody's now, and is made again.
    world.closed.clear();
    let held = world.held.take().unwrap();
    assert!(!held.is_empty());
    held.into_iter().for_each(|(probe, target)| world.end(probe, target));
    assert_eq!(world.serves(0), OTHER);
    world.run(SECOND);
    assert_eq!(world.serves(0), format!("{ONE}, {OTHER}"));
    assert_eq!(world.said().len(), 1);
    // Without a check, all are answered.
    world.closed = vec![ip(ONE)];
    world.run(MINUTE);
    assert_eq!(world.serves(0), OTHER);
    let mut unchecked = config.clone();
    unchecked.endpoints[0].health_check = None;
    world.configure(&unchecked);
    assert_eq!(world.serves(0), format!("{ONE}, {OTHER}"));
}

#[test]
fn while_a_name_is_unknown_nobody_is_checked_for_it() {
    let mut config = checked(&[ONE, OTHER], 1, 1);
    let mut world = World::new(&config, vec![]);
    world.run(MINUTE);
    world.closed = vec![ip(ONE)];
    world.run(MINUTE);
    config.endpoints[0].addresses = Addresses::Learned(dns_name());
    world.find(NAME, &servfail());
    world.configure(&config);
    (world.probes, world.closed) = (vec![], vec![ip(ONE), ip(OTHER)]);
    world.said();
    world.run(MINUTE);
    // Nor is anything forgotten by another reload.
    world.configure(&config);
    world.run(2 * MINUTE);
    assert_eq!((world.serves(0), world.probes.len(), world.said().len()), ("NotReady".into(), 0, 1));
    world.find(NAME, &found(&[ONE, OTHER], 60));
    world.closed = vec![ip(ONE)];
    world.run(2 * MINUTE);
    assert_eq!(world.serves(0), OTHER, "what was known of its addresses is remembered");
}

#[test]
fn learned_addresses_are_checked_and_new_ones_count_as_up() {
    let mut config = learned(WhenDown::Answer, dns_name());
    config.endpoints[0].health_check = checked(&[ONE], 1, 1).endpoints[0].health_check;
    let mut world = World::new(&config, vec![]);
    world.find(NAME, &found(&[ONE, OTHER], 60));
    world.run(MINUTE);
    world.closed = vec![ip(ONE), ip("172.31.3.3")];
    world.run(MINUTE);
    assert_eq!(world.serves(0), OTHER);
    world.find(NAME, &found(&[ONE, "172.31.3.3"], 60));
    world.run(MINUTE);
    assert_eq!(world.serves(0), "172.31.3.3", "what is known of the one stays, of the new one nothing is");
}

#[test]
fn beginning_anew_keeps_the_names() {
    let mut config = learned(WhenDown::Answer, dns_name());
    config.endpoints[0].health_check = checked(&[ONE], 1, 1).endpoints[0].health_check;
    let mut world = World::new(&config, vec![]);
    world.find(NAME, &found(&[ONE], 60));
    world.run(MINUTE);
    world.find(NAME, &servfail());
    world.watch.begin_anew([4; 32], world.now);
    assert_eq!(world.serves(0), ONE);
    world.lookups.clear();
    world.run(SECOND);
    assert_eq!(world.rounds(NAME), [60, 61]);
    assert_eq!(world.serves(0), ONE);
}
