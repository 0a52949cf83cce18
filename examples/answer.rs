//! One answer, without a socket: `cargo run --example answer [NAME] [CLIENT]`.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};
use phzd::config::Config;
use phzd::resolver::Resolver;
use phzd::responder::Outcome;
use phzd::wire::Transport;

const CONFIG: &str = r#"
    [vpc]
    region = "ap-northeast-1"
    cidrs = ["172.31.0.0/16"]
    [[subnet]]
    name = "private-a"
    cidr = "172.31.1.0/24"
    [[endpoint]]
    name = "s3"
    addresses = ["172.31.1.152"]
    [[bucket]]
    names = ["xxxxx-bucket"]
    endpoint = "s3"
    allow = ["private-a"]
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com".into());
    let client: IpAddr = arguments.next().unwrap_or_else(|| "172.31.1.5".into()).parse()?;

    let (config, _warnings) = Config::parse("answer", CONFIG)?;
    let mut resolver = Resolver::start(&config)?;

    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(&name)?, RecordType::A));
    let mut reply = [0; 1232];
    let client = SocketAddr::new(client, 40_000);
    match resolver.respond(&query.to_vec()?, client, Transport::Udp, Instant::now(), &mut reply) {
        Outcome::Reply(length) => {
            let message = Message::from_vec(&reply[..length])?;
            println!("{}", message.metadata.response_code);
            message.answers.iter().for_each(|record| println!("{record}"));
        }
        Outcome::Forward(pending) => println!("to be asked of {:?}", pending.route.addresses().collect::<Vec<_>>()),
        Outcome::Drop => println!("no reply"),
    }
    Ok(())
}
