//! The file of the cache: any octets, and any entries with good checksums. What is put back is within its bounds, comes
//! out of the cache as a reply of good form, and is the same when it is written and read once more.

#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use phzd::upstream::snapshot::{HEAD, entries, written as written_as};
use phzd::upstream::{Moment, Upstream};
use phzd::wire::query::{Decoded, Folded, decode};
use phzd::wire::reply;
use phzd_fuzz::house::{config, policy};
use phzd_fuzz::story::Story;

/// What the wall's clock shows, in seconds: entries of the corpus are of about that time.
const TIME: u64 = 1_800_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fuzz_target!(|data: &[u8]| {
    let mut story = Story(data);
    let sealed = story.octet() % 2 == 1;
    let snapshot = if sealed { seal(story) } else { story.0.to_vec() };
    let (policy, at) = (policy(), Moment { now: *START, time: Duration::from_secs(TIME) });
    let upstream = Upstream::new(config());
    let Ok(tally) = upstream.restore(&snapshot, policy.routes(), at) else {
        assert!(!snapshot.starts_with(HEAD));
        return;
    };
    let kept = upstream.cache().entries();
    assert!(kept <= tally.restored);
    assert!(upstream.cache().bytes() <= config().cache.bytes);

    let again: Vec<u8> = [HEAD.to_vec(), upstream.snapshot(at).collect::<Vec<_>>().concat()].concat();
    let mut out = vec![0; 65_535];
    let mut written = 0;
    for entry in entries(&again).expect("it begins as one") {
        let entry = entry.expect("it was written just now");
        let (question, received) = entry.open().expect("and can be read");
        assert!(received.lifetime <= i32::MAX as u32);
        let packet = question.message(7, question.name.as_wire(), true);
        let mut folded = Folded::default();
        let Decoded::Query(query) = decode(&packet, &mut folded) else { panic!("a question can be asked") };
        let route = policy.routes().find(|route| written_as(route) == entry.route).expect("others are left out");
        if let Some(hit) = upstream.cached(route, question.as_asked(), at.now) {
            let length = hit.answer.write(&query, hit.place(), 65_535, &mut out);
            let read = reply::read(&out[..length], &question, None).expect("what is replied can be read");
            assert_eq!(read.outcome, received.outcome);
        }
        written += 1;
    }
    // What is stale or could not be written is not there; nothing else is lost, and nothing comes to it.
    assert!(written <= kept, "{written} of {kept}");
    let other = Arc::new(Upstream::new(config()));
    let tally = other.restore(&again, policy.routes(), at).expect("it begins as one");
    assert_eq!((tally.restored, tally.damaged, tally.foreign), (written, 0, 0), "{tally:?}");
});

/// A snapshot with the entries that the story tells, each with its mark, length and checksum. Their routes are known.
fn seal(mut story: Story<'_>) -> Vec<u8> {
    static ROUTES: LazyLock<Vec<Vec<u8>>> =
        LazyLock::new(|| policy().routes().map(|route| written_as(route)).collect());
    let mut snapshot = HEAD.to_vec();
    while !story.0.is_empty() {
        let route = &ROUTES[usize::from(story.octet()) % ROUTES.len()];
        let (flags, stored, lifetime) = (story.octet(), u64::from(story.number()), u64::from(story.number()));
        let Some(message) = story.message() else { break };
        let mut content = (TIME + 100 - stored).to_be_bytes().to_vec();
        content.extend((TIME + 100 - stored + lifetime).to_be_bytes());
        content.push(flags);
        content.extend((route.len() as u16).to_be_bytes());
        content.extend(route);
        content.extend(message);
        let length = (content.len() as u32).to_be_bytes();
        let mut sum = crc32fast::Hasher::new();
        sum.update(&length);
        sum.update(&content);
        snapshot.extend(b"\xf5phz");
        snapshot.extend(length);
        snapshot.extend(sum.finalize().to_be_bytes());
        snapshot.extend(content);
    }
    snapshot
}
