//! What is asked, by whom, and what counts as the right reply.
//!
//! Questions are whole packets made before the clock starts: the generator copies one and patches its id. They carry
//! no OPT, as glibc's stub resolver asks unless told otherwise.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::upstream;

/// Bucket names configured, and forwarded names known to the cache.
pub const NAMES: usize = 1000;

/// The endpoint's address: the right answer for every bucket.
pub const ENDPOINT: Ipv4Addr = Ipv4Addr::new(172, 31, 1, 152);

/// Room for a question: header, the longest name used here, type and class.
const ROOM: usize = 96;

/// Where the hexadecimal number of a fresh name begins: behind the header, the length octet and `m`.
const NUMBER_AT: usize = 14;

/// Where the digits of a bucket's number are: behind the header, the length octet and `bucket-`.
const BUCKET_AT: usize = 20;
const BUCKET_DIGITS: usize = 7;

/// What a client does.
pub struct Work {
    pub client: Client,
    pub questions: Questions,
    pub expected: Expected,
}

/// Who asks. All of 127.0.0.0/8 is this machine's, so its blocks serve as subnets.
#[derive(Clone, Copy)]
pub enum Client {
    /// May have the endpoint's address.
    Private,
    /// May ask, and gets what everybody gets.
    Public,
    /// May not ask; an address of this machine that is no loopback one.
    Stranger(Ipv4Addr),
}

impl Client {
    /// The address of client number `number` of this kind, with any port.
    pub fn address(self, number: u8) -> SocketAddr {
        let address = match self {
            Client::Private => Ipv4Addr::new(127, 0, 1, number),
            Client::Public => Ipv4Addr::new(127, 0, 2, number),
            Client::Stranger(address) => address,
        };
        SocketAddr::from((address, 0))
    }
}

/// A query in wire form.
#[derive(Clone, Copy)]
pub struct Query {
    octets: [u8; ROOM],
    length: usize,
}

impl Query {
    /// Asks for `name`'s A record, RD set.
    fn new(name: &str) -> Query {
        let mut octets = vec![0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            octets.push(u8::try_from(label.len()).expect("labels here are short"));
            octets.extend(label.as_bytes());
        }
        octets.extend([0, 0, 1, 0, 1]);
        let mut query = Query { octets: [0; ROOM], length: octets.len() };
        query.octets[..octets.len()].copy_from_slice(&octets);
        query
    }

    /// The packet.
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }

    /// Gives the query its id.
    pub fn set_id(&mut self, id: u16) {
        self.octets[..2].copy_from_slice(&id.to_be_bytes());
    }
}

impl Default for Query {
    fn default() -> Self {
        Query::new("localhost")
    }
}

/// An endless supply of questions.
pub enum Questions {
    /// The same names again and again, in order.
    Known { queries: Vec<Query>, next: usize },
    /// A name nobody asked before, each time.
    Fresh { query: Query, next: u64 },
    /// Any of so many buckets, each time.
    Any { query: Query, buckets: u32, random: u64 },
}

impl Questions {
    /// The configured buckets.
    pub fn buckets() -> Questions {
        Questions::known(private_name)
    }

    /// Names that are forwarded once and then cached.
    pub fn cached() -> Questions {
        Questions::known(|index| format!("host-{index:04}.service.example.com"))
    }

    /// Names that no cache can hold: numbered from the present nanosecond, which no load catches
    /// up with, so that none meets another's.
    pub fn fresh() -> Questions {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Questions::Fresh { query: Query::new("m0000000000000000.service.example.com"), next: now }
    }

    /// The first so many buckets, at random.
    pub fn any(buckets: u32) -> Questions {
        Questions::Any { query: Query::new(&private_name(0)), buckets, random: 1 }
    }

    fn known(name: impl Fn(usize) -> String) -> Questions {
        Questions::Known { queries: (0..NAMES).map(|index| Query::new(&name(index))).collect(), next: 0 }
    }

    /// The next question; its id is the caller's to set.
    pub fn next(&mut self) -> Query {
        match self {
            Questions::Known { queries, next } => {
                *next = (*next + 1) % queries.len();
                queries[*next]
            }
            Questions::Fresh { query, next } => {
                *next += 1;
                for (place, shift) in (NUMBER_AT..NUMBER_AT + 16).zip((0..16).rev()) {
                    query.octets[place] = b"0123456789abcdef"[(*next >> (4 * shift)) as usize & 0xf];
                }
                *query
            }
            Questions::Any { query, buckets, random } => {
                // Knuth's generator; its high half is the random one.
                *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut bucket = ((*random >> 32) * u64::from(*buckets)) >> 32;
                for place in (BUCKET_AT..BUCKET_AT + BUCKET_DIGITS).rev() {
                    query.octets[place] = b'0' + (bucket % 10) as u8;
                    bucket /= 10;
                }
                *query
            }
        }
    }
}

/// The name of bucket number `index`.
pub fn bucket(index: usize) -> String {
    format!("bucket-{index:0BUCKET_DIGITS$}")
}

/// The whole name of bucket number `index`.
pub fn private_name(index: usize) -> String {
    format!("{}.s3.ap-northeast-1.amazonaws.com", bucket(index))
}

/// The reply a question must get. The id has been compared before.
#[derive(Clone, Copy)]
pub enum Expected {
    /// The query itself with QR set.
    Echo,
    /// NOERROR, the question as asked, and an A record with this address first.
    Address(Ipv4Addr),
    /// REFUSED, with the question as asked or with none.
    Refused,
}

impl Expected {
    /// What a bucket's name must get.
    pub const PRIVATE: Expected = Expected::Address(ENDPOINT);
    /// What every other name must get.
    pub const PUBLIC: Expected = Expected::Address(upstream::PUBLIC);

    /// Whether `reply` is right for `query`.
    pub fn met_by(self, query: &Query, reply: &[u8]) -> bool {
        let query = query.octets();
        let Some((header, rest)) = reply.split_first_chunk::<12>() else { return false };
        let (is_reply, rcode) = (header[2] & 0x80 != 0, header[3] & 0x0f);
        let answer = rest.strip_prefix(&query[12..]);
        is_reply
            && match self {
                Expected::Echo => rcode == 0 && answer == Some(&[]),
                Expected::Address(address) => rcode == 0 && answer.and_then(first_address) == Some(address),
                Expected::Refused => rcode == 5 && (answer.is_some() || rest.is_empty()),
            }
    }
}

/// The address of the first record behind the question, if that is an A record (RFC 1035 section 3.4.1).
fn first_address(answer: &[u8]) -> Option<Ipv4Addr> {
    let mut at = 0;
    let fixed = loop {
        match *answer.get(at)? {
            0 => break at + 1,
            label @ 1..=63 => at += 1 + usize::from(label),
            _ => break at + 2, // a compression pointer ends the name
        }
    };
    let record = answer.get(fixed..fixed + 14)?;
    let is_address = record[..4] == [0, 1, 0, 1] && record[8..10] == [0, 4];
    is_address.then(|| Ipv4Addr::new(record[10], record[11], record[12], record[13]))
}
