//! What dig prints, taken apart, so that two replies can be held against each other.

use std::fmt;

/// A reply as dig shows it: everything a client could see but the id, the OPT record and the time it took.
#[derive(Debug, Default)]
pub struct Reply {
    pub status: String,
    pub flags: String,
    pub question: Vec<String>,
    pub answer: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
    /// The lines of the OPT pseudo-section: EDNS version and size, extended errors.
    pub edns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub owner: String,
    pub ttl: u32,
    /// Class, type and data, a space between each.
    pub rest: String,
}

impl Reply {
    /// Reads what one dig command printed; of several messages, the last.
    pub fn read(text: &str) -> Reply {
        let mut reply = Reply::default();
        let mut section = "";
        for line in text.lines() {
            if let Some(header) = line.strip_prefix(";; ->>HEADER<<- ") {
                reply = Reply { status: between(header, "status: ", ",").to_owned(), ..Reply::default() };
            } else if let Some(flags) = line.strip_prefix(";; flags: ") {
                reply.flags = flags.split(';').next().unwrap_or_default().to_owned();
            } else if let Some(name) = line.strip_suffix(" SECTION:").or(line.strip_suffix(" PSEUDOSECTION:")) {
                section = name.trim_start_matches([';', ' ']);
            } else if line.is_empty() || line.starts_with(";;") {
                section = "";
            } else {
                match section {
                    "QUESTION" => reply.question.push(single_spaced(line)),
                    "OPT" => reply.edns.push(line.trim_start_matches([';', ' ']).to_owned()),
                    "ANSWER" => reply.answer.push(Record::read(line)),
                    "AUTHORITY" => reply.authority.push(Record::read(line)),
                    "ADDITIONAL" => reply.additional.push(Record::read(line)),
                    _ => {}
                }
            }
        }
        assert!(!reply.status.is_empty(), "dig printed no reply:\n{text}");
        reply
    }

    /// The data of the answer's records of `rtype`, in order.
    pub fn data(&self, rtype: &str) -> Vec<&str> {
        let prefix = format!("IN {rtype} ");
        self.answer.iter().filter_map(|record| record.rest.strip_prefix(&prefix)).collect()
    }

    /// In what the two differ; TTLs may by `seconds`.
    pub fn differences(&self, other: &Reply, seconds: u32) -> Vec<String> {
        let mut differences = Vec::new();
        let mut differ = |what: &str, one: &dyn fmt::Debug, two: &dyn fmt::Debug| {
            differences.push(format!("{what}: {one:?} and {two:?}"));
        };
        if self.status != other.status {
            differ("rcode", &self.status, &other.status);
        }
        if self.flags != other.flags {
            differ("flags", &self.flags, &other.flags);
        }
        if self.question != other.question {
            differ("question", &self.question, &other.question);
        }
        let sections = [
            ("answer", &self.answer, &other.answer),
            ("authority", &self.authority, &other.authority),
            ("additional", &self.additional, &other.additional),
        ];
        for (name, one, two) in sections {
            if one.len() != two.len() {
                differ(name, one, two);
            }
            for (one, two) in one.iter().zip(two) {
                if (&one.owner, &one.rest) != (&two.owner, &two.rest) {
                    differ(name, one, two);
                } else if one.ttl.abs_diff(two.ttl) > seconds {
                    differ("TTL", one, two);
                }
            }
        }
        differences
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    {}, {}", self.status, self.flags)?;
        let sections = [("", &self.answer), ("authority: ", &self.authority), ("additional: ", &self.additional)];
        for (name, records) in sections {
            for Record { owner, ttl, rest } in records {
                writeln!(f, "    {name}{owner} {ttl} {rest}")?;
            }
        }
        Ok(())
    }
}

impl Record {
    fn read(line: &str) -> Record {
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or_else(|| panic!("dig printed a record too short: {line}"));
        let (owner, ttl) = (next().to_owned(), next().parse().expect("a TTL is a number"));
        Record { owner, ttl, rest: words.collect::<Vec<_>>().join(" ") }
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).map_or("", |(_, rest)| rest);
    rest.split_once(after).map_or(rest, |(inside, _)| inside)
}

fn single_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_difference_in_any_part_is_seen() {
    const PRINTED: &str = "\
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 7
;; flags: qr rd ra; QUERY: 1, ANSWER: 3, AUTHORITY: 1, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; QUESTION SECTION:
;www.example.com.\t\tIN\tA

;; ANSWER SECTION:
www.example.com.\t60\tIN\tCNAME\tweb.example.com.
web.example.com.\t60\tIN\tA\t192.0.2.1
web.example.com.\t60\tIN\tA\t192.0.2.2

;; AUTHORITY SECTION:
example.com.\t900\tIN\tNS\tns.example.com.

;; Query time: 0 msec
";
    let reply = Reply::read(PRINTED);
    assert_eq!((reply.answer.len(), reply.authority.len(), reply.data("A")), (3, 1, vec!["192.0.2.1", "192.0.2.2"]));
    assert_eq!(reply.edns, ["EDNS: version: 0, flags:; udp: 1232"]);
    let differs = |old: &str, new: &str| {
        let changed = PRINTED.replace(old, new);
        assert_ne!(changed, PRINTED, "{old} is there");
        !reply.differences(&Reply::read(&changed), 1).is_empty()
    };
    assert!(differs("NOERROR", "NXDOMAIN"));
    assert!(differs("qr rd ra", "qr aa rd ra"));
    assert!(differs(";www", ";WWW"));
    assert!(differs("192.0.2.1\n", "192.0.2.3\n"));
    assert!(differs("web.example.com.\t60\tIN\tA\t192.0.2.1\n", ""));
    assert!(differs(
        "192.0.2.1\nweb.example.com.\t60\tIN\tA\t192.0.2.2",
        "192.0.2.2\nweb.example.com.\t60\tIN\tA\t192.0.2.1"
    ));
    assert!(differs("900\tIN\tNS", "898\tIN\tNS"), "two seconds, where one is allowed");
    assert!(!differs("900\tIN\tNS", "899\tIN\tNS"));
    assert!(!differs("id: 7", "id: 8"));
    assert!(!differs("udp: 1232", "udp: 4096"), "OPT is each server's own");
}
