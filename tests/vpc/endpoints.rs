//! Endpoints that are learned and checked, and zones with records, on the real hosts of the lab.

use std::time::{Duration, Instant};

use super::lab::{Host, Lab};
use super::{BUCKET, ENDPOINT, PHZD, PUBLIC};

/// The name under which the `.2` has the endpoint.
const DNS_NAME: &str = "vpce-0123456789abcdef0-abcdefgh.s3.ap-northeast-1.vpce.amazonaws.com";
/// How long a change may take to be noticed: some checks at an interval of a second.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn checks_from_outside_the_security_group_prove_nothing() {
    let Some(mut lab) = Lab::start() else { return };
    lab.start_phzd("phzd-health.toml", PHZD.parse().expect("an address"));

    // The group admits the private hosts, not phzd's own: its checks have never succeeded.
    lab.wait_until("phzd said that it may be outside the group", |lab| lab.log("phzd").contains("security group"));
    for _ in 0..3 {
        let reply = lab.dig(Host::Private, &format!("{BUCKET} A"));
        assert_eq!(reply.data("A"), ENDPOINT, "the address counts as up all the same");
        std::thread::sleep(Duration::from_secs(1));
    }
    let fetched = lab.run(Host::Private, &format!("curl -sS --cacert certificate.pem https://{BUCKET}/path"));
    assert_eq!(fetched.text, "this is endpoint\n");
    let log = lab.log("phzd");
    assert_eq!(log.matches("security group").count(), 1, "said once:\n{log}");
    assert!(log.contains("172.31.1.152 port 443 has never let this host connect"), "{log}");
}

#[test]
fn an_endpoint_that_is_down_gives_way_to_the_public_path_and_comes_back() {
    let Some(mut lab) = Lab::start() else { return };
    lab.admit_phzd();
    lab.start_phzd("phzd-health.toml", PHZD.parse().expect("an address"));
    lab.wait_until("two checks have been made", |lab| lab.connections_of_phzd() >= 2);
    assert_eq!(lab.dig(Host::Private, &format!("{BUCKET} A")).data("A"), ENDPOINT);

    lab.stop("endpoint");
    lab.wait_until("the private host has the public path", |lab| lab.addresses(BUCKET) == PUBLIC);
    let fetched = lab.run(Host::Private, &format!("curl -sS --cacert certificate.pem https://{BUCKET}/path"));
    assert_eq!(fetched.text, "this is s3\n");
    assert!(lab.log("phzd").contains("172.31.1.152 port 443 is unhealthy"), "{}", lab.log("phzd"));

    lab.start_endpoint();
    lab.wait_until("the private host has the endpoint again", |lab| lab.addresses(BUCKET) == ENDPOINT);
    assert!(lab.log("phzd").contains("172.31.1.152 port 443 is healthy again"), "{}", lab.log("phzd"));
}

#[test]
fn an_endpoint_is_learned_by_its_name_and_kept_over_an_outage_and_a_restart() {
    let Some(mut lab) = Lab::start() else { return };
    lab.start_phzd("phzd-dns-name.toml", PHZD.parse().expect("an address"));
    lab.wait_until("the endpoint is known", |lab| lab.addresses(BUCKET) == ENDPOINT);
    assert!(!lab.questions_to_resolver(DNS_NAME).is_empty(), "the .2 was asked for its name");
    assert!(lab.questions_to_resolver(BUCKET).is_empty(), "and not for the bucket's");

    // An outage: nothing that is known is lost, not even by a restart.
    lab.stop("unbound");
    assert_eq!(lab.addresses(BUCKET), ENDPOINT);
    lab.stop("phzd");
    lab.start_phzd("phzd-dns-name.toml", PHZD.parse().expect("an address"));
    assert_eq!(
        lab.dig(Host::Private, &format!("{BUCKET} A")).data("A"),
        ENDPOINT,
        "at once, as kept in the state directory"
    );
    assert!(lab.log("phzd").contains("as kept from before"), "{}", lab.log("phzd"));
}

#[test]
fn a_zones_chains_lead_out_and_in() {
    let Some(mut lab) = Lab::start() else { return };
    lab.start_phzd("phzd-zone.toml", PHZD.parse().expect("an address"));

    let reply = lab.dig(Host::Private, "www.internal.test A");
    assert_eq!((reply.status.as_str(), reply.flags.as_str()), ("NOERROR", "qr rd ra"));
    assert_eq!((reply.data("CNAME"), reply.data("A")), (vec!["www.example.com."], vec!["198.51.100.80"]));
    let reply = lab.dig(Host::Private, "data.internal.test A");
    assert_eq!(reply.data("A"), ENDPOINT, "into the bucket");
    // A public name that leads into the zone, which leads out again: twice at the .2, one reply.
    let reply = lab.dig(Host::Private, "into.example.com A");
    assert_eq!(reply.data("CNAME"), ["www.internal.test.", "www.example.com."]);
    assert_eq!(reply.data("A"), ["198.51.100.80"]);
    let reply = lab.dig(Host::Private, "any.apps.internal.test TXT");
    assert_eq!((reply.status.as_str(), reply.data("TXT")), ("NOERROR", vec!["\"by the wildcard\""]));
    let reply = lab.dig(Host::Private, "nowhere.internal.test A");
    assert_eq!(reply.status, "NXDOMAIN");
    assert!(reply.authority[0].rest.starts_with("IN SOA ns-1536.awsdns-00.co.uk."), "{:?}", reply.authority);
    assert!(lab.questions_to_resolver("internal.test").is_empty(), "the .2 was asked nothing about the zone");
}

impl Lab {
    /// What the private host is told of `name`.
    fn addresses(&self, name: &str) -> Vec<String> {
        self.dig(Host::Private, &format!("{name} A")).data("A").into_iter().map(str::to_owned).collect()
    }

    fn wait_until(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !reached(self) {
            assert!(start.elapsed() < PATIENCE, "never: {what}; phzd's log:\n{}", self.log("phzd"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
