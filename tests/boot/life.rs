//! From the installation to the purge, on a machine that runs: nothing starts unasked, and nothing stays behind.

use std::fs;

use crate::machine::{BUCKET, Machine, PRIVATE, deb, package};

/// Whoever has port 53, of loopback or any address, and is not systemd-resolved's stub.
pub const PORT_53: &str = "ss -Hlntup 'sport = :53' | grep -v systemd-resolve || true";

/// Of phzd: processes, sockets, and what it has kept.
fn traces(machine: &Machine) -> String {
    machine
        .run(
            "ps_phzd=$(grep -lx phzd /proc/[0-9]*/comm || true); ss -Hlntupx | grep phzd; \
             ls -d /var/lib/phzd /var/lib/private/phzd /var/log/phzd /var/log/private/phzd /run/phzd \
             /etc/systemd/system/*.wants/phzd.* 2>/dev/null; echo \"processes: ${ps_phzd:-none}\"",
        )
        .text
}

#[test]
fn installing_starts_nothing_and_what_is_enabled_serves_after_the_boot() {
    let mut machine = Machine::new();
    machine.boot();
    fs::copy(deb(), machine.path("root/phzd.deb")).unwrap();
    machine.run_well("dpkg --install /root/phzd.deb");
    assert_eq!(machine.run("systemctl is-enabled phzd.service").text.trim(), "disabled");
    assert_eq!(machine.run("systemctl is-active phzd.service").text.trim(), "inactive");
    assert_eq!(machine.run_well(PORT_53), "", "port 53 is free");

    machine.configure("");
    machine.run_well("phzd check");
    machine.run_well("systemctl enable phzd.service");
    machine.run_well("systemctl start phzd.service");
    machine.wait_until_private("127.0.0.1");

    // The same from a boot.
    machine.reboot();
    assert_eq!(machine.run_well("systemctl is-enabled phzd.service").trim(), "enabled");
    assert_eq!(machine.run_well("systemctl is-active phzd.service").trim(), "active");
    machine.run_well("systemctl status --no-pager phzd.service");
    machine.wait_until_private("127.0.0.1");
    assert_eq!(machine.run_well(&format!("dig @127.0.0.1 +short {BUCKET}")).trim(), PRIVATE);
    assert_eq!(machine.run_well("dig @127.0.0.1 +short +tcp www.example.com").trim(), "192.0.2.1");

    // Who waits for names to be looked up finds it ready.
    let when = |unit: &str, property: &str| -> u64 {
        machine.run_well(&format!("systemctl show --property {property} --value {unit}")).trim().parse().unwrap()
    };
    let ready = when("phzd.service", "ActiveEnterTimestampMonotonic");
    let names = when("nss-lookup.target", "ActiveEnterTimestampMonotonic");
    println!("  = phzd was ready {} µs before nss-lookup.target", names - ready);
    assert!(ready <= names, "phzd {ready}, nss-lookup.target {names}");
    machine.run("systemd-analyze critical-chain --no-pager phzd.service");
}

#[test]
fn an_upgrade_keeps_edits_and_a_purge_leaves_nothing() {
    let machine = Machine::serving();
    machine.run_well("dig @127.0.0.1 +short www.example.com");
    let edited = machine.run_unseen("cat /etc/phzd/phzd.toml").text;
    let before = machine.main_pid();

    fs::copy(deb(), machine.path("root/phzd.deb")).unwrap();
    machine.run_well("dpkg --install /root/phzd.deb");
    machine.wait_until_private("127.0.0.1");
    assert_ne!(machine.main_pid(), before, "the upgrade has restarted it");
    assert_eq!(machine.run_unseen("cat /etc/phzd/phzd.toml").text, edited, "and kept the configuration");

    // One that the new version would not take does not end the old.
    machine.configure("[server]\nlisten = [\"nowhere\"]\n");
    let before = machine.main_pid();
    let said = machine.run_well("dpkg --install /root/phzd.deb");
    assert!(said.contains("not restarted"), "{said}");
    assert_eq!(machine.main_pid(), before);
    machine.wait_until_private("127.0.0.1");
    machine.configure("");

    // Another that runs is not started by its upgrade when it was stopped.
    machine.run_well("systemctl stop phzd.service");
    machine.run_well("dpkg --install /root/phzd.deb");
    assert_eq!(machine.run("systemctl is-active phzd.service").text.trim(), "inactive");
    machine.run_well("systemctl start phzd.service");
    machine.wait_until_private("127.0.0.1");

    machine.run_well("dpkg --remove phzd");
    let left = traces(&machine);
    assert!(left.ends_with("processes: none\n") && !left.contains("LISTEN"), "{left}");
    assert!(left.contains("/var/lib/private/phzd"), "a removal keeps what it has learned: {left}");
    assert!(machine.path("etc/phzd/phzd.toml").exists());
    assert_eq!(machine.run_well(PORT_53), "");

    machine.run_well("dpkg --purge phzd");
    assert_eq!(traces(&machine), "processes: none\n");
    assert!(!machine.path("etc/phzd/phzd.toml").exists());
    assert!(machine.path("etc/phzd/buckets.txt").exists(), "the administrator's own file stays");
    assert_eq!(machine.run("systemctl --no-pager --failed --plain --no-legend | grep phzd").text, "");
}

#[test]
fn the_rpm_lives_the_same_way() {
    // Debian's rpm wants to be told that this is meant, and knows nothing of what dpkg has installed.
    let rpm = "rpm --force-debian --nodeps";
    let mut machine = Machine::new();
    fs::copy(package(".rpm"), machine.path("root/phzd.rpm")).unwrap();
    machine.boot();
    machine.run_well(&format!("{rpm} --install /root/phzd.rpm"));
    assert_eq!(machine.run("systemctl is-enabled phzd.service").text.trim(), "disabled");
    assert_eq!(machine.run("systemctl is-active phzd.service").text.trim(), "inactive");
    assert_eq!(machine.run_well(PORT_53), "");

    machine.configure("");
    machine.run_well("systemctl enable --now phzd.service");
    machine.wait_until_private("127.0.0.1");
    let (before, edited) = (machine.main_pid(), machine.run_unseen("cat /etc/phzd/phzd.toml").text);
    machine.run_well(&format!("{rpm} --upgrade --force /root/phzd.rpm"));
    machine.wait_until_private("127.0.0.1");
    assert_ne!(machine.main_pid(), before, "the upgrade has restarted it");
    assert_eq!(machine.run_unseen("cat /etc/phzd/phzd.toml").text, edited, "and kept the configuration");

    machine.run_well(&format!("{rpm} --erase phzd"));
    let left = traces(&machine);
    assert!(left.ends_with("processes: none\n") && !left.contains("LISTEN") && !left.contains(".wants/"), "{left}");
    assert!(machine.path("etc/phzd/phzd.toml.rpmsave").exists(), "rpm keeps an edited file so");
    assert_eq!(machine.run_well(PORT_53), "");
}
