//! What the kernel dropped of what came to our sockets, because nobody took it in time.
//!
//! Apart from the sockets, since it is read from /proc: each UDP socket has a line there, found by its inode.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use super::Listener;

/// The tables of UDP sockets of this network namespace.
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];
/// The columns of a line that count, from the left.
const INODE: usize = 9;
const DROPS: usize = 12;

/// UDP sockets, known by their inodes.
#[derive(Debug, Clone, Default)]
pub struct Drops {
    sockets: BTreeMap<u64, SocketAddr>,
    /// Of sockets that are closed: a count never goes down.
    closed: BTreeMap<SocketAddr, u64>,
}

impl Drops {
    /// Counts those of `listener` as well.
    pub fn add(&mut self, listener: &Listener) {
        let inode = |socket: &std::net::UdpSocket| {
            let there = fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
            Some((there.ino(), socket.local_addr().ok()?))
        };
        self.sockets.extend(listener.udp.iter().filter_map(inode));
    }

    /// The sockets at `address` are about to be closed.
    pub fn close(&mut self, address: SocketAddr) {
        let count = self.count().remove(&address).unwrap_or(0);
        self.sockets.retain(|_, other| *other != address);
        self.closed.insert(address, count);
    }

    /// Datagrams dropped so far, by the address they were for.
    pub fn count(&self) -> BTreeMap<SocketAddr, u64> {
        let mut counts = self.closed.clone();
        self.sockets.values().for_each(|address| _ = counts.entry(*address).or_default());
        for table in TABLES.into_iter().filter_map(|path| fs::read_to_string(path).ok()) {
            for (inode, drops) in table.lines().filter_map(read) {
                if let Some(count) = self.sockets.get(&inode).and_then(|address| counts.get_mut(address)) {
                    *count += drops;
                }
            }
        }
        counts
    }
}

/// The inode and the drops of a line.
fn read(line: &str) -> Option<(u64, u64)> {
    let column = |at| line.split_ascii_whitespace().nth(at)?.parse().ok();
    Some((column(INODE)?, column(DROPS)?))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn drops_are_those_of_the_kernel() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        let listener = Listener { udp: vec![socket], tcp: None };
        let mut drops = Drops::default();
        drops.add(&listener);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        (0..200).for_each(|_| assert_eq!(client.send_to(&[0; 1000], address).unwrap(), 1000));
        let mut received = 0;
        let socket = &listener.udp[0];
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let begin = Instant::now();
        while socket.recv(&mut [0; 1000]).is_ok() && begin.elapsed() < Duration::from_secs(5) {
            received += 1;
        }
        assert!(received < 200);
        assert_eq!(drops.count()[&address], 200 - received);
        drops.close(address);
        drop(listener);
        assert_eq!(drops.count()[&address], 200 - received, "what was counted stays so");
    }
}
