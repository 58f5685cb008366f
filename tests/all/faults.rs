//! Real faults of real file systems: a small one that fills up, one that gives up.

mod clock;
mod damage;
mod limits;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Client, Server, account};

const DEPOSIT: &str = "/v1/aggregates/account/1/commands/deposit";

/// A file system of its own, in memory, unmounted when the test ends.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None, said loudly, where the test may not mount.
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root; a full disk was not tried");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves about so many bytes free.
    fn fill(&self, leave: u64) {
        let stat = rustix::fs::statvfs(self.path()).expect("is there");
        let free = stat.f_bavail * stat.f_frsize;
        let ballast = vec![1; usize::try_from(free.saturating_sub(leave)).expect("small")];
        std::fs::write(self.path().join("ballast"), ballast).expect("fits");
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("ballast")).expect("is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "still mounted");
    }
}

/// A file system of its own, in a file, that can be made to give up as after an error of its disk:
/// from then on it can only be read.
struct FailingDisk {
    dir: tempfile::TempDir,
}

impl FailingDisk {
    /// None, said loudly, where the test may not mount or there is no `mkfs.ext4`.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let image = dir.path().join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(96 << 20)).expect("creates");
        std::fs::create_dir(dir.path().join("mounted")).expect("creates");
        let made = run(Command::new("mkfs.ext4").arg("-q").arg(image));
        let disk = Self { dir };
        if made && disk.mount_again() {
            return Some(disk);
        }
        eprintln!(
            "SKIPPED: needs root, loop devices and mkfs.ext4; a read-only disk was not tried"
        );
        None
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount_again(&self) -> bool {
        let image = self.dir.path().join("image");
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(self.path()))
    }

    fn give_up(&self) {
        assert!(run(Command::new("mount").args(["-o", "remount,abort"]).arg(self.path())));
    }

    fn repair(&self) {
        assert!(run(Command::new("umount").arg(self.path())), "still in use");
        run(Command::new("e2fsck").arg("-fy").arg(self.dir.path().join("image")));
        assert!(self.mount_again(), "cannot be mounted again");
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

#[test]
fn a_disk_that_can_only_be_read_refuses_appends_and_loses_nothing() {
    let Some(disk) = FailingDisk::mount() else { return };
    let data = disk.path().join("data");
    let server = Server::start_with(&data, &["--min-free-disk-bytes", "0"]);
    server.install(account());
    server.client.post("/v1/aggregates/account/1/commands/open", &json!({"owner": "Ann"})).ok();
    (0..20).for_each(|number| assert_eq!(deposit(&server.client, number).0, 200));
    disk.give_up();
    assert_eq!(deposit(&server.client, 20).1["code"], "outcome_unknown");
    assert_eq!(deposit(&server.client, 21).1["code"], "unavailable");
    server.client.get("/readyz").problem(503, "not_ready");
    // Reads go on, and show nothing that was not acknowledged.
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], 20);
    assert_eq!(server.client.all_events().len(), 21);
    server.stop();
    let said = Server::try_start(&data, &[]).err().expect("it cannot be written to");
    assert!(said.contains("Read-only file system"), "{said}");
    disk.repair();
    let server = Server::start(&data);
    // A retry with the same key tells what became of the one in doubt.
    assert_eq!(deposit(&server.client, 20).0, 200);
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], 21);
    assert_eq!(server.client.all_events().len(), 22);
    server.stop();
}

fn start(disk: &SmallDisk, min_free: &str) -> Server {
    let data = disk.path().join("data");
    let server = Server::start_with(&data, &["--min-free-disk-bytes", min_free]);
    server.install(account());
    let open = "/v1/aggregates/account/1/commands/open";
    server.client.post(open, &json!({"owner": "Ann"})).ok();
    server
}

fn deposit(client: &Client, number: u64) -> (u16, Value) {
    // Some bytes, so that a small disk fills soon.
    let key = format!("deposit-{number}");
    let correlation = "c".repeat(255);
    let headers = [("idempotency-key", &*key), ("factum-correlation-id", &*correlation)];
    let answer = client.post_with(DEPOSIT, &json!({"amount": 1}), &headers);
    (answer.status, answer.json)
}

#[test]
fn a_disk_that_runs_full_loses_nothing_and_recovers_when_there_is_space() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let server = start(&disk, "16000000");
    disk.fill(17_000_000);
    let mut acknowledged = 0;
    let refused = loop {
        match deposit(&server.client, acknowledged) {
            (200, _) => acknowledged += 1,
            (status, problem) => break (status, problem),
        }
        assert!(acknowledged < 100_000, "the disk never ran full");
    };
    assert_eq!((refused.0, refused.1["code"].as_str()), (507, Some("disk_full")), "{}", refused.1);
    // Reads go on, and the server says what is the matter.
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], acknowledged);
    server.client.get("/readyz").problem(503, "not_ready");
    disk.empty();
    assert_eq!(deposit(&server.client, acknowledged).0, 200, "it did not recover");
    server.client.get("/readyz").ok();
    let events = server.client.all_events();
    assert_eq!(events.len() as u64, acknowledged + 2);
    server.stop();
}

#[test]
fn a_commit_that_fails_is_never_called_done_and_a_retry_tells_what_became_of_it() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let server = start(&disk, "0");
    disk.fill(400_000);
    let mut number = 0;
    // Until the disk refuses in the middle of a commit, or of opening the file again.
    while deposit(&server.client, number).0 == 200 {
        number += 1;
        assert!(number < 100_000, "the disk never ran full");
    }
    let (status, problem) = deposit(&server.client, number);
    assert_eq!(status, 503, "{problem}");
    disk.empty();
    // The same key until there is an answer: done now, or found done.
    let mut tries = 0;
    while deposit(&server.client, number).0 != 200 {
        tries += 1;
        assert!(tries < 200, "it did not recover");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let state = server.client.get("/v1/aggregates/account/1").ok();
    assert_eq!(state.json["state"]["balance"], number + 1, "one deposit for each key");
    let commands: Vec<_> =
        server.client.all_events().iter().map(|event| event["command_id"].clone()).collect();
    let expected: Vec<_> = (0..=number).map(|n| json!(format!("deposit-{n}"))).collect();
    assert_eq!(commands[1..], expected);
    server.stop();
}
