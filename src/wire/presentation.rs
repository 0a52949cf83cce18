//! Answers as a person reads them, and whole messages of them: for those who look, and never on the path of a query.

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;

use super::name::MAX_NAME;
use super::query::{Decoded, Folded, HEADER, decode};
use super::{Answer, Placement, Question};

/// Octets that a message has beside its records and extended errors, at most: header, question, OPT.
const AROUND: usize = HEADER + MAX_NAME + 4 + 11;

/// The reply with `answer` to `question`, in full, as it is written for `place`.
pub fn message(question: &Question, answer: &Answer, place: Placement) -> Option<Vec<u8>> {
    let asked = question.message(0, question.name.as_wire(), true);
    let mut folded = Folded::default();
    let Decoded::Query(query) = decode(&asked, &mut folded) else { return None };
    let mut message = vec![0; answer.footprint() + AROUND];
    let length = answer.write(&query, place, message.len(), &mut message);
    message.truncate(length);
    (length > 0).then_some(message)
}

/// The records of the answer and authority sections, a line each, as a zone file has them.
pub fn records(question: &Question, answer: &Answer, place: Placement) -> Vec<String> {
    let message = message(question, answer, place).and_then(|message| Message::from_vec(&message).ok());
    let Some(message) = message else { return Vec::new() };
    message.answers.iter().chain(&message.authorities).map(ToString::to_string).collect()
}

/// What a message says, a line for each record.
#[derive(Debug, Default)]
pub struct Sections {
    /// The response code in its header.
    pub rcode: u16,
    /// Its answer section.
    pub answer: Vec<String>,
    /// Its authority section.
    pub authority: Vec<String>,
}

/// The sections of a message; none of one that cannot be read.
pub fn sections(message: &[u8]) -> Sections {
    let Ok(message) = Message::from_vec(message) else { return Sections::default() };
    let lines = |records: &[hickory_proto::rr::Record]| records.iter().map(ToString::to_string).collect();
    Sections {
        rcode: u16::from(message.metadata.response_code),
        answer: lines(&message.answers),
        authority: lines(&message.authorities),
    }
}

/// What IANA calls a record type; `TYPE` and its number for one that has no name here (RFC 3597 section 5).
pub fn kind(kind: u16) -> String {
    match RecordType::from(kind) {
        RecordType::Unknown(_) => format!("TYPE{kind}"),
        known => known.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::answer::{Builder, Section};
    use crate::wire::query::{kind, rcode};

    #[test]
    fn records_read_as_in_a_zone_file() {
        let question = Question {
            name: "www.example.com".parse().unwrap(),
            kind: kind::A,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let answer = Builder::new(rcode::NOERROR).record(Section::Answer, kind::A, 60, &[192, 0, 2, 1]).build();
        let aged = Placement { age: 18, ..Placement::FRESH };
        assert_eq!(records(&question, &answer, aged), ["www.example.com. 42 IN A 192.0.2.1"]);
    }

    #[test]
    fn types_have_names_or_numbers() {
        assert_eq!([1, 28, 65, 65_400].map(super::kind), ["A", "AAAA", "HTTPS", "TYPE65400"]);
    }
}
