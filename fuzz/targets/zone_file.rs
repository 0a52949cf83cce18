//! A zone file: of a bad one each mistake has its place; of a good one each record that it has is answered, and what is
//! answered can be read.

#![no_main]

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use libfuzzer_sys::fuzz_target;
use phzd::config::Data;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Responder};
use phzd::upstream::Upstream;
use phzd::wire::query::MAX_TCP;
use phzd::wire::{Question, Transport};
use phzd_fuzz::judged::judged;
use phzd_fuzz::reply::holds;

const CONFIG: &str = r#"
[vpc]
region = "ap-northeast-1"
cidrs = ["172.31.0.0/16"]
[cache]
size-mb = 1
[[zone]]
name = "internal.example"
file = "zone"
"#;

/// Sets of records that are asked for: a file may have thousands.
const MOST: usize = 20;

fuzz_target!(|octets: &[u8]| {
    let Ok(config) = judged(CONFIG, |_| octets.to_vec()) else { return };
    let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
    let mut responder = Responder::new(policy, Upstream::new(&config).into(), Registry::default());
    let mut out = vec![0; MAX_TCP];
    let client = ([172, 31, 1, 7], 4242).into();
    for set in config.zones.iter().flat_map(|zone| &zone.records).take(MOST) {
        let Data::Records { kind, rdata, ttl } = &set.data else { panic!("an alias in a zone file") };
        assert!(!rdata.is_empty() && *ttl <= i32::MAX as u32);
        let question = Question { name: set.owner.clone(), kind: *kind, dnssec_ok: false, checking_disabled: false };
        let packet = question.message(7, question.name.as_wire(), true);
        match responder.enter().respond(&packet, client, Transport::Tcp, Instant::now(), &mut out) {
            Outcome::Reply(length) => {
                let reply = &out[..length];
                // Whoever asks for what is served to nobody is told so.
                let served = !matches!(kind, 41 | 249..=254);
                assert_eq!(reply[3] & 0x0f, if served { 0 } else { 4 }, "{} {kind}", set.owner);
                for data in rdata.iter().filter(|_| served) {
                    assert!(holds(reply, *kind, data), "{} {kind} {data:02x?}: {reply:02x?}", set.owner);
                }
            }
            // A CNAME that leads out of the zone, asked for as any type.
            outcome => panic!("{} {kind}: {outcome:?}", set.owner),
        }
    }
});
