//! The packages on a machine with a real systemd: what `make boot` runs, as root.
//!
//! A target of its own, which plain `cargo test` leaves alone: it takes packages, a Debian to install them in, and a
//! few minutes. `make boot BOOT=reload` runs the tests with that in their name.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside; // systemd-resolved and glibc
mod client; // who asks
mod healing; // a daemon that is killed, or hangs
mod life; // install, enable, upgrade, remove
mod listening; // addresses that come later
mod machine; // the machine
mod packages; // what is in the packages; this part needs no root
mod reload; // under load, and with a mistake
mod stop; // queries under way, and what the journal has

#[path = "../../benches/load/paced.rs"]
mod paced;
#[path = "../../benches/load/questions.rs"]
#[expect(dead_code, reason = "the load bench asks for more")]
mod questions;
#[path = "../../benches/load/statistics.rs"]
#[expect(dead_code, reason = "the load bench has more figures")]
mod statistics;
#[path = "../../benches/load/upstream.rs"]
#[expect(dead_code, reason = "the load bench forwards as well")]
mod upstream;
#[path = "../../benches/load/window.rs"]
#[expect(dead_code, reason = "the load bench has queries outstanding")]
mod window;
