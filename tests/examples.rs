//! The examples, run: what they say and answer is what their first lines promise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com.";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program of the examples. They are built beside the tests, unless only some tests are.
fn example(name: &str) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--examples"]).status();
        assert!(built.expect("cargo starts").success(), "the examples can be built");
        let programs = PathBuf::from(env!("CARGO_BIN_EXE_phzd"));
        programs.parent().expect("a program is in a folder").join("examples")
    });
    Command::new(folder.join(name))
}

/// A server, ended with this value.
struct Running {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Running {
    fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phzd.toml");
        // Whoever asks on this host stands in the private subnet.
        let text = std::fs::read_to_string("config/phzd.toml").unwrap().replace("#self = ", "self = ");
        std::fs::write(&path, text).unwrap();
        let mut command = example(name);
        let mut child = command.arg("127.0.0.1:0").arg(&path).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("serving on ").unwrap_or_else(|| panic!("{name} says {line:?}"));
        let address = address.parse().unwrap();
        Self { child, address, _folder: folder }
    }

    fn ask(&self, name: &str, kind: RecordType, tcp: bool) -> Message {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        let query = query.to_vec().unwrap();
        let mut reply = vec![0; 65_535];
        let length = if tcp {
            let mut stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&query).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let length = usize::from(u16::from_be_bytes(length));
            stream.read_exact(&mut reply[..length]).unwrap();
            length
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&query, self.address).unwrap();
            socket.recv(&mut reply).unwrap()
        };
        Message::from_vec(&reply[..length]).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn servers_have_the_split_horizon() {
    for name in ["server", "hickory_server"] {
        let server = Running::start(name);
        for tcp in [false, true] {
            let reply = server.ask(BUCKET, RecordType::A, tcp);
            let answers: Vec<String> = reply.answers.iter().map(ToString::to_string).collect();
            assert_eq!(answers, [format!("{BUCKET} 60 IN A 172.31.1.152")], "{name}");
            assert!(reply.metadata.recursion_available && !reply.metadata.authoritative, "{name}");
            let reply = server.ask(BUCKET, RecordType::AAAA, tcp);
            assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0), "{name}");
            assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{name}");
            let reply = server.ask(&format!("x.{BUCKET}"), RecordType::A, tcp);
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
        }
    }
}

#[test]
fn an_answer_needs_no_socket() {
    let said = |arguments: &[&str]| {
        let output = example("answer").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&[]), format!("No Error\n{BUCKET} 60 IN A 172.31.1.152\n"));
    assert_eq!(said(&[BUCKET, "172.31.0.5"]), "to be asked of [172.31.0.2:53]\n");
    assert_eq!(said(&[BUCKET, "192.0.2.1"]), "Query Refused\n");
}
