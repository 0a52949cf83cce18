//! The accounts of a load: what clients have seen beside what phzd and the kernel have counted.

use crate::daemon::{Metrics, Phzd};
use crate::lab::{Lab, Losses};
use crate::namespace::Outcome;
use crate::table::{Measure, Must};
use crate::tally::Tally;

/// What was counted before a load.
pub struct Account {
    metrics: Metrics,
    losses: Losses,
}

impl Account {
    pub fn open(lab: &Lab, phzd: &Phzd<'_>) -> Outcome<Account> {
        Ok(Account { metrics: phzd.metrics()?, losses: lab.losses()? })
    }

    /// What was counted since, against what clients saw over UDP and over TCP.
    pub fn close(&self, lab: &Lab, phzd: &Phzd<'_>, udp: &Tally, tcp: &Tally) -> Outcome<Vec<Measure>> {
        let now = phzd.metrics()?;
        let since = |name: &str, words: &str| now.sum(name, words) - self.metrics.sum(name, words);
        let drops = since("phzd_receive_drops_total", "");
        let losses = lab.losses()?;
        let at_clients = (losses.sockets - self.losses.sockets) as f64;
        let between = (losses.links - self.losses.links) as f64;
        let counted = |transport: &str| since("phzd_queries_total", &format!("transport=\"{transport}\""));
        let exactly = Must::AtMost(0.0);
        for told in udp.told.iter().chain(&tcp.told) {
            println!("      {told}");
        }
        Ok(vec![
            Measure::new("queries over UDP", udp.sent as f64, Must::AtLeast(1.0)),
            Measure::new("queries over TCP", tcp.sent as f64, Must::Nothing),
            Measure::new("wrong replies", (udp.wrong + tcp.wrong) as f64, exactly),
            Measure::new("replies nobody asked for", (udp.stray + tcp.stray) as f64, exactly),
            Measure::new("SERVFAIL while no resolver answers", (udp.excused + tcp.excused) as f64, Must::Nothing),
            Measure::new("silence where it is the answer", (udp.silent + tcp.silent) as f64, Must::Nothing),
            Measure::new("dropped by the kernel before phzd", drops, Must::Nothing),
            Measure::new("dropped at the clients' sockets", at_clients, Must::Nothing),
            Measure::new("dropped between the hosts", between, Must::Nothing),
            Measure::new("not sent: no room in the kernel", udp.unsent as f64, Must::Nothing),
            // Of what the kernel dropped, some would have been met by silence.
            Measure::new("lost beyond that, UDP", (udp.lost as f64 - drops - at_clients - between).max(0.0), exactly),
            Measure::new("lost, TCP", tcp.lost as f64, exactly),
            Measure::new("connections refused or broken", tcp.broken as f64, exactly),
            Measure::new("UDP queries phzd did not count", udp.sent as f64 - drops - between - counted("udp"), exactly),
            Measure::new("TCP queries phzd did not count", tcp.sent as f64 - counted("tcp"), exactly),
            Measure::new(
                "replies phzd counted and nobody got",
                since("phzd_replies_total", "") - (udp.answered() + tcp.answered()) as f64 - at_clients - between,
                exactly,
            ),
            Measure::new("replies the kernel would not send", since("phzd_unsent_replies_total", ""), exactly),
            Measure::new("panics", now.sum("phzd_panics_total", ""), exactly),
            Measure::new("octets of the largest UDP reply", udp.largest as f64, Must::AtMost(1232.0)),
        ])
    }
}
