//! `phzd no-proxy`, pasted where it belongs, and the real clients that read it: curl, botocore, Go, Java.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::phzd;
use crate::daemon::{bucket, config, configured};

const BUCKET: &str = "xxxxx-bucket.s3.ap-northeast-1.amazonaws.com";
const OTHER: &str = "bbbbb-bucket.s3.ap-northeast-1.amazonaws.com";

/// A listener that notes the first line of each connection, and says that it has nothing.
struct Listener {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let notes = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut line = String::new();
                let _ = BufReader::new(&stream).read_line(&mut line);
                notes.lock().unwrap().push(line.trim_end().to_owned());
                let _ =
                    (&stream).write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, heard }
    }

    /// What it was asked since it was last looked at.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }
}

/// A configuration with the bucket and a zone.
fn folder() -> TempDir {
    let zone = "[[zone]]\nname = \"internal.example\"\nrecords = [{ name = \"@\", alias = \"s3\" }]\n";
    configured(&config("127.0.0.1:5399".parse().unwrap(), &(bucket("xxxxx-bucket") + zone)))
}

fn no_proxy(folder: &TempDir, arguments: &[&str]) -> Output {
    phzd().arg("no-proxy").arg("--config").arg(folder.path().join("phzd.toml")).args(arguments).output().unwrap()
}

/// What it prints.
fn printed(arguments: &[&str]) -> String {
    let output = no_proxy(&folder(), arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it prints for these tables.
fn printed_for(tables: &str) -> String {
    let output = no_proxy(&configured(&config("127.0.0.1:5399".parse().unwrap(), tables)), &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether a program is here; that it is not is said.
fn is_here(command: &mut Command) -> bool {
    let here = command.output().is_ok_and(|output| output.status.success());
    if !here {
        eprintln!("skipped: {command:?} does not run here; `make tools` installs it");
    }
    here
}

#[test]
fn curl_goes_past_the_proxy_for_private_names_alone() {
    if !is_here(Command::new("curl").arg("--version")) {
        return;
    }
    let (proxy, direct) = (Listener::start(), Listener::start());
    let port = direct.address.port();
    let get = |host: &str| {
        // As somebody's profile has it, with something of its own before.
        let script = format!(
            "export no_proxy=mine.example http_proxy=http://{}\n{}\n\
             curl -s -o /dev/null --max-time 10 --resolve '{host}:{port}:127.0.0.1' http://{host}:{port}/",
            proxy.address,
            printed(&[])
        );
        let status = Command::new("sh").args(["-c", &script]).env_remove("NO_PROXY").status().unwrap();
        assert!(status.success(), "{host}: {status}");
        (proxy.heard(), direct.heard())
    };
    for private in [BUCKET, "internal.example", "db.internal.example", "mine.example"] {
        assert_eq!(get(private), (vec![], vec!["GET / HTTP/1.1".to_owned()]), "{private}");
    }
    for public in [OTHER, "notinternal.example", "www.example"] {
        assert_eq!(get(public), (vec![format!("GET http://{public}:{port}/ HTTP/1.1")], vec![]), "{public}");
    }
}

/// Asks S3 for a bucket, or KMS, as boto3 and the AWS CLI do. Every name leads to this machine, so nothing leaves it.
const BOTOCORE: &str = r#"
import socket, sys
import botocore.session, botocore.exceptions
from botocore.config import Config
ask = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: ask("127.0.0.1", *rest, **more)
config = Config(connect_timeout=5, read_timeout=5, retries={"max_attempts": 0}, region_name="ap-northeast-1")
session = botocore.session.Session()
client = lambda name: session.create_client(name, config=config, aws_access_key_id="x", aws_secret_access_key="y")
try:
    if sys.argv[1] == "kms":
        client("kms").list_keys()
    else:
        client("s3").head_bucket(Bucket=sys.argv[1])
except Exception as error:
    print(type(error).__name__)
"#;

#[test]
fn botocore_goes_past_the_proxy_for_s3_alone() {
    let imports = |python: &str| is_here(Command::new(python).args(["-c", "import botocore.session"]));
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(|python| imports(python)) else { return };
    let proxy = Listener::start();
    let head = |list: &str, bucket: &str| {
        let script = format!("{list}\nexec {python} - {bucket} <<'END'\n{BOTOCORE}\nEND");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("https_proxy", format!("http://{}", proxy.address));
        for name in ["no_proxy", "NO_PROXY", "HTTPS_PROXY", "AWS_PROFILE", "AWS_CA_BUNDLE"] {
            command.env_remove(name);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap().trim().to_owned(), proxy.heard())
    };
    // botocore decides for S3 as a whole. Nobody listens on port 443 of this machine, or it is nobody that speaks for the bucket.
    let every_point = "[[bucket]]\nkind = \"access-point\"\nnames = [\"*\"]\nendpoint = \"s3\"\n";
    for (list, bucket) in [
        (printed(&[]), "xxxxx-bucket"),
        (printed_for(&bucket("my.dotted.bucket")), "my.dotted.bucket"),
        (printed_for(every_point), "arn:aws:s3:ap-northeast-1:123456789012:accesspoint/my-ap"),
    ] {
        let (error, heard) = head(&list, bucket);
        assert_eq!(heard, [] as [&str; 0], "{bucket}: {error}");
        let refused = ["EndpointConnectionError", "SSLError", "ConnectTimeoutError"];
        assert!(refused.contains(&&*error), "{bucket}: {error}");
    }
    let (error, heard) = head(&printed(&[]), "kms");
    assert_eq!(
        (heard.first().map(String::as_str), error.as_str()),
        (Some("CONNECT kms.ap-northeast-1.amazonaws.com:443 HTTP/1.0"), "ProxyConnectionError")
    );
}

const JAVA: &str = r#"
import java.net.*;
public class Get {
    public static void main(String[] urls) throws Exception {
        for (String url : urls) {
            System.out.println(((HttpURLConnection) new URL(url).openConnection()).getResponseCode());
        }
    }
}
"#;

#[test]
fn java_goes_past_the_proxy_for_private_names_alone() {
    if !is_here(Command::new("java").arg("-version")) || !is_here(Command::new("javac").arg("-version")) {
        return;
    }
    let (proxy, direct) = (Listener::start(), Listener::start());
    let (folder, port) = (tempfile::tempdir().unwrap(), direct.address.port());
    let private = [BUCKET, "internal.example", "db.internal.example"];
    let public = [OTHER, "notinternal.example"];
    // The names lead to this machine, so nothing leaves it.
    let hosts: String = private.iter().chain(&public).map(|name| format!("127.0.0.1 {name}\n")).collect();
    fs::write(folder.path().join("hosts"), hosts).unwrap();
    fs::write(folder.path().join("Get.java"), JAVA).unwrap();
    let get = |names: &[&str]| {
        let urls: Vec<String> = names.iter().map(|name| format!("http://{name}:{port}/")).collect();
        let script = format!(
            "exec java -Djdk.net.hosts.file=hosts -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={} {} Get.java {}",
            proxy.address.port(),
            printed(&["--format", "java"]).trim_end(),
            urls.join(" ")
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "404\n".repeat(names.len()));
        (proxy.heard(), direct.heard())
    };
    assert_eq!(get(&private), (vec![], vec!["GET / HTTP/1.1".to_owned(); 3]));
    let asked: Vec<String> = public.iter().map(|name| format!("GET http://{name}:{port}/ HTTP/1.1")).collect();
    assert_eq!(get(&public), (asked, vec![]));
}

/// Asks for URLs as Go programs do. Every name leads to this machine, so nothing leaves it.
const GO: &str = r#"
package main

import ("fmt"; "net"; "net/http"; "os")

func main() {
	dial := func(network, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return net.Dial(network, net.JoinHostPort("127.0.0.1", port))
	}
	client := http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, Dial: dial}}
	for _, url := range os.Args[1:] {
		response, err := client.Get(url)
		if err != nil {
			panic(err)
		}
		fmt.Println(response.StatusCode)
	}
}
"#;

#[test]
fn go_goes_past_the_proxy_for_private_names_alone() {
    if !is_here(Command::new("go").arg("version")) {
        return;
    }
    let (proxy, direct) = (Listener::start(), Listener::start());
    let (folder, port) = (tempfile::tempdir().unwrap(), direct.address.port());
    fs::write(folder.path().join("get.go"), GO).unwrap();
    let built = Command::new("go")
        .args(["build", "-o", "get", "get.go"])
        .current_dir(folder.path())
        // It stays between runs: later versions of Go come without their library compiled.
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"))
        .envs([("GO111MODULE", "off"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let get = |names: &[&str]| {
        let urls: Vec<String> = names.iter().map(|name| format!("http://{name}:{port}/")).collect();
        let script =
            format!("export http_proxy=http://{}\n{}\nexec ./get {}", proxy.address, printed(&[]), urls.join(" "));
        let mut command = Command::new("sh");
        for name in ["no_proxy", "NO_PROXY", "HTTP_PROXY", "REQUEST_METHOD"] {
            command.env_remove(name);
        }
        let output = command.args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "404\n".repeat(names.len()));
        (proxy.heard(), direct.heard())
    };
    let private = [BUCKET, "internal.example", "db.internal.example", "169.254.169.254"];
    assert_eq!(get(&private), (vec![], vec!["GET / HTTP/1.1".to_owned(); private.len()]));
    // What stands there for botocore says nothing to Go.
    let public = [OTHER, "s3.ap-northeast-1.amazonaws.com", "notinternal.example"];
    let asked: Vec<String> = public.iter().map(|name| format!("GET http://{name}:{port}/ HTTP/1.1")).collect();
    assert_eq!(get(&public), (asked, vec![]));
}

#[test]
fn each_format_has_the_same_names() {
    let list = format!(
        "169.254.169.254,169.254.170.2,fd00:ec2::254,[fd00:ec2::254],internal.example,{BUCKET},..s3.ap-northeast-1.amazonaws.com"
    );
    let shell = format!("export no_proxy=\"{list}${{no_proxy:+,$no_proxy}}\"\nexport NO_PROXY=\"$no_proxy\"\n");
    assert_eq!(printed(&[]), shell);
    assert_eq!(
        printed(&["--format", "systemd"]),
        format!("[Service]\nEnvironment=\"no_proxy={list}\"\nEnvironment=\"NO_PROXY={list}\"\n")
    );
    let docker: Value = serde_json::from_str(&printed(&["--format", "docker"])).unwrap();
    assert_eq!(docker["proxies"]["default"]["noProxy"], list);
}

#[test]
fn what_cannot_be_printed_is_one_line() {
    let told = |folder: &TempDir, arguments: &[&str]| {
        let output = no_proxy(folder, arguments);
        assert!(output.stdout.is_empty(), "{output:?}");
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    };
    let many = configured(&config(
        "127.0.0.1:5399".parse().unwrap(),
        &bucket("xxxxx-bucket").replace("names =", "names-file = \"many.txt\"\nnames ="),
    ));
    let names: String = (0..5000).map(|number| format!("bucket-{number}\n")).collect();
    fs::write(many.path().join("many.txt"), names).unwrap();
    let (error, code) = told(&many, &[]);
    assert!(
        error.starts_with("phzd: the list has ") && error.contains("--suffix") && error.lines().count() == 1,
        "{error}"
    );
    assert_eq!(code, Some(1));
    assert!(no_proxy(&many, &["--suffix"]).status.success());
    let none = configured(&config("127.0.0.1:5399".parse().unwrap(), ""));
    let (error, code) = told(&none, &[]);
    assert!(error.ends_with("has no private name, so none must be left out\n"), "{error}");
    assert_eq!(code, Some(1));
    assert_eq!(told(&none, &["--format", "windows"]).1, Some(2));
    fs::remove_file(none.path().join("phzd.toml")).unwrap();
    assert_eq!(told(&none, &[]).1, Some(1));
}
