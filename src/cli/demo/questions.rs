//! What is asked, what must come back, and whether it did.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::ask::{Way, ask};
use crate::stand_in;
use phzd::wire::Transport;

/// A host in the private subnet of `config/demo.toml`, ...
pub const PRIVATE_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 5);
/// ... and one in the public subnet.
pub const PUBLIC_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 5);
/// The bucket's name.
pub const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";

const BELOW: &str = "below.xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
const OTHER_BUCKET: &str = "bbbbb-bucket.s3.ap-northeast-1.amazonaws.com";
const REPOSITORY: &str = "al2023-repos-ap-northeast-1-de612dc2.s3.dualstack.ap-northeast-1.amazonaws.com";
const NO_SUCH_NAME: &str = "no-such-name.amazonaws.com";
/// Where the stand-in's aliases lead.
const S3: &str = "s3-r-w.ap-northeast-1.amazonaws.com";
const DUAL_STACK: &str = "s3-r-w.dualstack.ap-northeast-1.amazonaws.com";
/// Who owns the SOA of what the stand-in does not have.
const PUBLIC_ZONE: &str = "amazonaws.com";
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 152);
/// Flags of every reply, as the `.2` sets them.
const FLAGS: &str = "qr rd ra";

/// A question, put by both hosts.
#[derive(Debug)]
pub struct Question {
    /// The name.
    pub name: &'static str,
    /// The type.
    pub kind: RecordType,
    /// How it is sent.
    pub transport: Transport,
    /// Why the answers are what they are.
    pub why: &'static str,
    /// What the private host must get.
    private: Said,
    /// What the public host must get.
    public: Said,
}

/// A reply, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// NOERROR, NXDOMAIN, ...
    code: ResponseCode,
    /// The header's flags.
    flags: String,
    /// Targets of the CNAMEs, in order.
    aliases: Vec<String>,
    /// Data of the other records of the answer, sorted: their order changes.
    data: Vec<String>,
    /// Who owns the SOA in the authority section.
    soa: Option<String>,
}

/// A question with what both hosts got.
#[derive(Debug)]
pub struct Row {
    /// What was asked.
    pub question: Question,
    /// What the private host heard.
    pub private: Heard,
    /// What the public host heard.
    pub public: Heard,
}

/// A reply, beside the one that was due.
#[derive(Debug)]
pub struct Heard {
    /// What came.
    pub said: io::Result<Said>,
    /// What had to come.
    pub expected: Said,
}

impl Row {
    /// Whether both hosts heard what they had to.
    pub fn is_right(&self) -> bool {
        self.private.is_right() && self.public.is_right()
    }
}

impl Heard {
    /// Whether what came is what had to come.
    pub fn is_right(&self) -> bool {
        self.said.as_ref().is_ok_and(|said| *said == self.expected)
    }
}

/// Has both hosts ask `server` everything.
pub fn ask_all(server: SocketAddr) -> Vec<Row> {
    let row = |question: Question| {
        let hear = |host: Ipv4Addr, expected: &Said| {
            let way = Way { from: Some(host.into()), transport: question.transport, ..Way::plain(server) };
            let reply = ask(&way, question.name, question.kind);
            Heard { said: reply.map(|reply| Said::of(&reply)), expected: expected.clone() }
        };
        let (private, public) = (hear(PRIVATE_HOST, &question.private), hear(PUBLIC_HOST, &question.public));
        Row { question, private, public }
    };
    all().into_iter().map(row).collect()
}

/// The questions.
fn all() -> Vec<Question> {
    use RecordType::{A, AAAA, HTTPS};
    use Transport::{Tcp, Udp};
    let endpoint = || Said::records(&[], &[ENDPOINT]);
    let s3 = || Said::records(&[S3], &stand_in::S3);
    let both =
        |name, kind, why, said: Said| Question { name, kind, transport: Udp, why, private: said.clone(), public: said };
    let bucket =
        |kind, transport, why, private, public| Question { name: BUCKET, kind, transport, why, private, public };
    vec![
        bucket(A, Udp, "the private subnet gets the endpoint, all others what the resolver says", endpoint(), s3()),
        bucket(A, Tcp, "the same over TCP", endpoint(), s3()),
        bucket(
            AAAA,
            Udp,
            "the endpoint has no IPv6 address, and a public one would be a way around it",
            Said::nothing(&[], BUCKET),
            Said::nothing(&[S3], PUBLIC_ZONE),
        ),
        bucket(
            HTTPS,
            Udp,
            "nor does any other type of the public name leak into the bucket's zone",
            Said::nothing(&[], BUCKET),
            Said::nothing(&[S3], PUBLIC_ZONE),
        ),
        Question {
            name: BELOW,
            private: Said::no_such_name(BUCKET),
            ..bucket(A, Udp, "a hosted zone has nothing below the bucket's name", endpoint(), s3())
        },
        both(OTHER_BUCKET, A, "not configured, so public for both", s3()),
        both(
            REPOSITORY,
            A,
            "the packages of Amazon Linux: forwarded, and the alias kept",
            Said::records(&[DUAL_STACK], &stand_in::DUAL_STACK_V4),
        ),
        both(REPOSITORY, AAAA, "forwarded", Said::records(&[DUAL_STACK], &stand_in::DUAL_STACK_V6)),
        both(
            NO_SUCH_NAME,
            A,
            "forwarded: what the resolver does not know stays unknown",
            Said::no_such_name(PUBLIC_ZONE),
        ),
    ]
}

impl Said {
    /// What matters of `reply`.
    fn of(reply: &Message) -> Self {
        let metadata = &reply.metadata;
        let flags = [
            (metadata.message_type == MessageType::Response, "qr"),
            (metadata.authoritative, "aa"),
            (metadata.truncation, "tc"),
            (metadata.recursion_desired, "rd"),
            (metadata.recursion_available, "ra"),
            (metadata.authentic_data, "ad"),
        ];
        let flags: Vec<_> = flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect();
        let (mut aliases, mut data) = (Vec::new(), Vec::new());
        for record in &reply.answers {
            match &record.data {
                RData::CNAME(target) => aliases.push(text(target)),
                other => data.push(other.to_string()),
            }
        }
        data.sort_unstable();
        let soa = reply.authorities.iter().find(|record| record.record_type() == RecordType::SOA);
        let soa = soa.map(|record| text(&record.name));
        Self { code: metadata.response_code, flags: flags.join(" "), aliases, data, soa }
    }

    /// Records, at the end of a chain of aliases.
    fn records(aliases: &[&str], addresses: &[impl Display]) -> Self {
        let mut data: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        data.sort_unstable();
        let aliases = aliases.iter().map(ToString::to_string).collect();
        Self { code: ResponseCode::NoError, flags: FLAGS.into(), aliases, data, soa: None }
    }

    /// No record of the type, at the end of a chain of aliases (RFC 2308 section 2.2).
    fn nothing(aliases: &[&str], soa: &str) -> Self {
        Self { soa: Some(soa.into()), ..Self::records(aliases, &[""; 0]) }
    }

    /// No such name (RFC 2308 section 2.1).
    fn no_such_name(soa: &str) -> Self {
        Self { code: ResponseCode::NXDomain, ..Self::nothing(&[], soa) }
    }

    /// The reply in words, a phrase a line.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.aliases.clone();
        let outcome = match self.code {
            ResponseCode::NoError if self.data.is_empty() => "NODATA".to_owned(),
            ResponseCode::NoError => self.data.join(" "),
            ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
            other => other.to_string(),
        };
        lines.push(match &self.soa {
            Some(soa) => format!("{outcome}, SOA of {soa}"),
            None => outcome,
        });
        if self.flags != FLAGS {
            lines.push(format!("flags {}", self.flags));
        }
        lines
    }
}

impl Heard {
    /// What came, in words.
    pub fn lines(&self) -> Vec<String> {
        match &self.said {
            Ok(said) => said.lines(),
            Err(error) => vec![format!("no answer: {error}")],
        }
    }
}

/// A name as people write it.
fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(said: io::Result<Said>) -> Heard {
        Heard { said, expected: Said::records(&[], &[ENDPOINT]) }
    }

    #[test]
    fn only_the_expected_answer_is_right() {
        assert!(heard(Ok(Said::records(&[], &[ENDPOINT]))).is_right());
        assert!(!heard(Ok(Said::records(&[], &["52.219.1.10"]))).is_right());
        assert!(!heard(Ok(Said::records(&[], &["172.31.1.152", "52.219.1.10"]))).is_right());
        assert!(!heard(Ok(Said::records(&[S3], &[ENDPOINT]))).is_right());
        assert!(!heard(Ok(Said::nothing(&[], BUCKET))).is_right());
        assert!(!heard(Ok(Said { flags: "qr aa rd ra".into(), ..Said::records(&[], &[ENDPOINT]) })).is_right());
        assert!(!heard(Err(io::ErrorKind::TimedOut.into())).is_right());
    }

    #[test]
    fn one_wrong_host_makes_a_row_wrong() {
        let row = |public| {
            let question = all().swap_remove(0);
            Row { question, private: heard(Ok(Said::records(&[], &[ENDPOINT]))), public: heard(public) }
        };
        assert!(row(Ok(Said::records(&[], &[ENDPOINT]))).is_right());
        assert!(!row(Ok(Said::nothing(&[], BUCKET))).is_right());
    }

    #[test]
    fn nobody_there_is_a_wrong_answer() {
        // A port that was free a moment ago refuses at once.
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let rows = ask_all(free);
        assert!(!rows.is_empty());
        for row in rows {
            assert!(!row.private.is_right() && !row.public.is_right(), "{row:?}");
            assert!(row.private.lines()[0].starts_with("no answer: "), "{row:?}");
        }
    }
}
