//! A file of bucket names: a good one has just the names that stand in it, and each is answered; of a bad one each
//! mistake has its place.

#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use libfuzzer_sys::fuzz_target;
use phzd::metrics::Registry;
use phzd::policy::Policy;
use phzd::responder::{Outcome, Responder};
use phzd::upstream::Upstream;
use phzd::wire::Transport;
use phzd_fuzz::judged::judged;
use phzd_fuzz::public::query;

const CONFIG: &str = r#"
[vpc]
region = "ap-northeast-1"
cidrs = ["172.31.0.0/16"]
[cache]
size-mb = 1
[[endpoint]]
name = "s3"
addresses = ["172.31.1.152"]
[[bucket]]
names-file = "buckets"
endpoint = "s3"
"#;

fuzz_target!(|octets: &[u8]| {
    let config = match judged(CONFIG, |_| octets.to_vec()) {
        Ok(config) => config,
        Err(problems) => {
            let in_it = |problem: &phzd::config::Problem| {
                problem.place().is_some_and(|place| place.source().name() == "buckets")
            };
            assert!(problems.iter().any(in_it), "{problems:?}");
            return;
        }
    };
    let text = std::str::from_utf8(octets).expect("what is not text is refused");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let written: BTreeSet<String> = text
        .split('\n')
        .map(|line| line.split('#').next().unwrap_or("").trim())
        .filter(|name| !name.is_empty())
        .map(|name| format!("{name}.s3.ap-northeast-1.amazonaws.com"))
        .collect();
    let meant: BTreeSet<String> =
        config.buckets.iter().flat_map(|bucket| &bucket.names).map(ToString::to_string).collect();
    assert_eq!(meant, written);

    let policy = Arc::new(ArcSwap::from_pointee(Policy::new(&config)));
    let mut responder = Responder::new(policy, Upstream::new(&config).into(), Registry::default());
    let mut out = [0; 1232];
    for name in meant.iter().take(20) {
        let client = ([172, 31, 1, 7], 4242).into();
        match responder.enter().respond(&query(name, 1), client, Transport::Udp, Instant::now(), &mut out) {
            // The OPT comes last.
            Outcome::Reply(length) => assert!(out[..length - 11].ends_with(&[172, 31, 1, 152]), "{name}"),
            outcome => panic!("{name}: {outcome:?}"),
        }
    }
});
