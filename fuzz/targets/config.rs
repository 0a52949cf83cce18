//! The text of a configuration, read and judged whole, and compiled if it is good: nothing panics, every problem has a
//! place in the text, and a good one is read the same twice.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use phzd::policy::Policy;
use phzd_fuzz::judged::judged;

fuzz_target!(|text: &str| {
    let named = |path: &Path| match path.extension() {
        Some(zone) if zone == "zone" => b"$TTL 60\n@ A 172.31.1.20\nwww CNAME @\n".to_vec(),
        _ => b"one-bucket\ntwo-bucket # and no more\n".to_vec(),
    };
    if let Ok(config) = judged(text, named) {
        let policy = Policy::new(&config);
        assert!(policy.routes().next().is_some(), "somebody is asked");
        assert_eq!(judged(text, named).ok(), Some(config));
    }
});
