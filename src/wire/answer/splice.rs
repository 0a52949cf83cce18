//! Answers joined: a chain of CNAMEs, then what stands at its end, whoever says that.
//!
//! Apart from [`Answer`], which knows one source, because here two meet: compression pointers of the end mean offsets in
//! a message whose question was the end's name (RFC 1035 section 4.1.4), and are made to mean the same octets in the new
//! one. No octet is added or taken away, so whatever types the end has go through as they came.

use super::{Alias, Answer, CLASS_IN, HEADER, Placement, STALE, kind, pointer_to};

/// A compression pointer reaches no further (RFC 1035 section 4.1.4).
const MAX_POINTER: usize = 0x3fff;
/// Octets of a record between its owner and its data: type, class, TTL, length (RFC 1035 section 3.2.1).
const FIXED: usize = 10;

impl Answer {
    /// The answer to `question_name` (wire form) whose chain of CNAMEs, `links`, leads to a name of which `end` is the
    /// answer, placed as `place` says; `stale` says that the time of some of them is over. What is true only of the whole (AD) goes. `None` if there is no link, or the
    /// whole is too long for its pointers.
    pub fn spliced(
        question_name: &[u8],
        (links, stale): (&[Alias], bool),
        end: &Self,
        place: Placement,
    ) -> Option<Self> {
        let target = links.last()?.target.as_wire();
        let mut body = Vec::with_capacity(512 + end.body.len());
        let mut ttls = Vec::with_capacity(links.len() + end.ttls.len());
        let start = HEADER + question_name.len() + 4;
        let mut owner = HEADER;
        for Alias { target, ttl } in links {
            body.extend(pointer_to(owner as u16));
            body.extend(kind::CNAME.to_be_bytes());
            body.extend(CLASS_IN.to_be_bytes());
            ttls.push(body.len() as u16);
            body.extend(ttl.to_be_bytes());
            body.extend((target.as_wire().len() as u16).to_be_bytes());
            owner = start + body.len();
            body.extend(target.as_wire());
        }
        let joint = body.len();
        body.resize(joint + end.body.len(), 0);
        let records = body.get_mut(joint..)?;
        end.write_records(place, records);
        let moved = Moved { name: owner, after_question: HEADER + target.len() + 4, records: start + joint };
        moved.point_anew(records, end.counts.iter().map(|count| usize::from(*count)).sum())?;
        for at in &end.ttls {
            ttls.push(u16::try_from(usize::from(*at) + joint).ok()?);
        }
        let [answers, authority, additional] = end.counts;
        Some(Self {
            rcode: end.rcode,
            authentic: false,
            counts: [answers.checked_add(links.len() as u16)?, authority, additional],
            body: body.into(),
            ttls: ttls.into(),
            apexes: Box::default(),
            stride: 0,
            aliases: Box::default(),
            errors: if stale || place.stale { STALE.clone().into() } else { end.errors.clone() },
        })
    }
}

/// Where things stand in the new message that stood elsewhere in the old one.
struct Moved {
    /// The name that was the old question's.
    name: usize,
    /// Where the old question ended, and its records began.
    after_question: usize,
    /// Where these records begin now.
    records: usize,
}

impl Moved {
    /// Makes the pointers of `count` records mean what they meant; `None` if one cannot reach so far.
    fn point_anew(&self, records: &mut [u8], count: usize) -> Option<()> {
        let mut at = 0;
        for _ in 0..count {
            at = self.point_name(records, at)?;
            let fixed = records.get(at..at + FIXED)?;
            let (kind, length) = (two_octets(fixed, 0)?, usize::from(two_octets(fixed, 8)?));
            at += FIXED;
            self.point_data(records.get_mut(at..at + length)?, kind)?;
            at += length;
        }
        Some(())
    }

    /// The names in a record's data. Only types that RFC 3597 section 4 lists may have compressed ones; data that is not
    /// what its type says is left as it is.
    fn point_data(&self, data: &mut [u8], kind: u16) -> Option<()> {
        let Some((mut at, names)) = names_in(data, kind) else { return Some(()) };
        for _ in 0..names {
            if at >= data.len() {
                break;
            }
            at = self.point_name(data, at)?;
        }
        Some(())
    }

    /// One name that begins at `at`; returns where it ends.
    fn point_name(&self, octets: &mut [u8], mut at: usize) -> Option<usize> {
        loop {
            match *octets.get(at)? {
                0 => return Some(at + 1),
                length @ 1..=63 => at += 1 + usize::from(length),
                0xc0.. => break,
                // RFC 1035 section 4.1.4: reserved, so this is no name.
                _ => return Some(octets.len()),
            }
        }
        let pointer: &mut [u8; 2] = octets.get_mut(at..)?.first_chunk_mut()?;
        let old = usize::from(u16::from_be_bytes(*pointer)) & MAX_POINTER;
        let new = match old.checked_sub(self.after_question) {
            Some(into_records) => self.records + into_records,
            None => self.name + old.checked_sub(HEADER)?,
        };
        *pointer = (new <= MAX_POINTER).then(|| pointer_to(new as u16))?;
        Some(at + 2)
    }
}

/// Where in the data of a record of this type names begin, and how many there are; `None` for types without, or whose
/// names are never compressed.
fn names_in(data: &[u8], kind: u16) -> Option<(usize, usize)> {
    Some(match kind {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR; DNAME, which some compress.
        2..=5 | 7..=9 | 12 | 39 => (0, 1),
        // SOA, MINFO, RP.
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX.
        15 | 18 | 21 | 36 => (2, 1),
        // SIG.
        24 => (18, 1),
        // PX.
        26 => (2, 2),
        // NXT.
        30 => (0, 1),
        // SRV.
        33 => (6, 1),
        // NAPTR: after three texts.
        35 => ((0..3).try_fold(4, |at, _| Some(at + 1 + usize::from(*data.get(at)?)))?, 1),
        _ => return None,
    })
}

fn two_octets(octets: &[u8], at: usize) -> Option<u16> {
    octets.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::{MX, NAPTR, SOA};
    use hickory_proto::rr::{Name as Presentation, RData, Record};

    use super::super::Builder;
    use super::super::tests::{query, reply};
    use super::*;
    use crate::wire::Name;
    use crate::wire::answer::Section;
    use crate::wire::reply::{Question, read};

    fn shown(answer: &Answer, asked: &str) -> Vec<String> {
        let (_, message) = reply(answer, &query(asked, [1, 0], false), Placement::FRESH);
        let records = message.answers.iter().chain(&message.authorities).chain(&message.additionals);
        records.map(ToString::to_string).collect()
    }

    fn link(target: &str, ttl: u32) -> Alias {
        Alias { target: target.parse().unwrap(), ttl }
    }

    #[test]
    fn a_chain_ends_in_what_the_zone_says() {
        let links = [link("one.example", 40), link("deep.zone.example", 0)];
        let zone = Builder::new(3).record(Section::Authority, kind::NS, 60, b"\x01n\x00").build();
        let name: Name = "www.example".parse().unwrap();
        let place = Placement { apex: 5, ..Placement::FRESH };
        let spliced = Answer::spliced(name.as_wire(), (&links, false), &zone, place).unwrap();
        assert_eq!(spliced.rcode(), 3);
        assert_eq!(
            shown(&spliced, "www.example"),
            [
                "WWW.EXAMPLE. 40 IN CNAME one.example.",
                "one.example. 0 IN CNAME deep.zone.example.",
                "zone.example. 60 IN NS n."
            ]
        );
    }

    #[test]
    fn a_chain_ends_in_what_a_resolver_says_whatever_it_compressed() {
        let name = |text: &str| Presentation::from_ascii(text).unwrap();
        let question = Question {
            name: "www.public.example".parse().unwrap(),
            kind: kind::ANY,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let mut message =
            Message::from_vec(&question.message(7, question.name.as_wire(), true)).unwrap().into_response();
        let owner = name("www.public.example.");
        let answers = [
            RData::CNAME(hickory_proto::rr::rdata::CNAME(name("alias.public.example."))),
            RData::MX(MX::new(10, name("mail.alias.public.example."))),
            RData::NAPTR(NAPTR::new(
                1,
                2,
                b"s".to_vec().into(),
                b"x+y".to_vec().into(),
                Box::default(),
                name("www.public.example."),
            )),
        ];
        message.answers = answers.into_iter().map(|data| Record::from_rdata(owner.clone(), 300, data)).collect();
        let soa = SOA::new(name("ns.public.example."), name("host.alias.public.example."), 1, 2, 3, 4, 5);
        message.authorities = vec![Record::from_rdata(name("public.example."), 300, RData::SOA(soa))];
        let received = read(&message.to_vec().unwrap(), &question, None).unwrap();
        let name: Name = "a.private.example".parse().unwrap();
        let links = [link("b.private.example", 60), link("www.public.example", 60)];
        let place = Placement { age: 100, ..Placement::FRESH };
        let spliced = Answer::spliced(name.as_wire(), (&links, false), &received.answer, place).unwrap();
        assert_eq!(
            shown(&spliced, "a.private.example"),
            [
                "A.PRIVATE.EXAMPLE. 60 IN CNAME b.private.example.",
                "b.private.example. 60 IN CNAME www.public.example.",
                "www.public.example. 200 IN CNAME alias.public.example.",
                "www.public.example. 200 IN MX 10 mail.alias.public.example.",
                "www.public.example. 200 IN NAPTR 1 2 \"s\" \"x+y\" \"\" www.public.example.",
                "public.example. 200 IN SOA ns.public.example. host.alias.public.example. 1 2 3 4 5",
            ]
        );
    }

    #[test]
    fn a_pointer_that_cannot_reach_so_far_ends_the_joining() {
        let far = Builder::new(0).record(Section::Answer, kind::NS, 1, &[0xff, 0xff]).build();
        let name: Name = "a.example".parse().unwrap();
        assert_eq!(Answer::spliced(name.as_wire(), (&[link("b.example", 1)], false), &far, Placement::FRESH), None);
        assert_eq!(Answer::spliced(name.as_wire(), (&[], false), &far, Placement::FRESH), None);
    }

    #[test]
    fn data_that_is_not_what_its_type_says_stays_as_it_is() {
        // Texts that end too late, and a label that is neither length nor pointer.
        let (naptr, rt): ([u8; 5], [u8; 6]) = ([9, 9, 9, 9, 200], [0, 9, 1, b'a', 0x73, 0x69]);
        for (kind, data) in [(35, &naptr[..]), (21, &rt[..])] {
            let odd = Builder::new(0).record(Section::Answer, kind, 1, data).build();
            let name: Name = "a.example".parse().unwrap();
            let spliced =
                Answer::spliced(name.as_wire(), (&[link("b.example", 1)], false), &odd, Placement::FRESH).unwrap();
            assert!(spliced.body.ends_with(data), "{kind}");
        }
    }
}
