//! Where agents have their code, and what they tell the C library.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod support;

use std::fs::read_to_string;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Client, Mta, Process, Sink, at_once, mailrig};

const LARGE: &str = "AnonHugePages:      2048 kB";

/// An MTA with one idle agent that has delivered a message, and the agent's pid.
fn with_agent(folder: &Path, sink: &Sink, spawn: &str) -> (Mta, i32) {
    let keys = format!("relayhost = \"{}\"", sink.address);
    let mta = Mta::start(folder, &keys, &format!("[delivery]\ndriver = \"blocking\"\nspawn = \"{spawn}\"\n"));
    let mut client = Client::connect(&mta.address);
    client.hello();
    assert!(client.mail("a@from.test", &["b@to.test"], b"x\r\n").starts_with("250"));
    assert_eq!(mta.wait_drained()["delivered"], 1, "{spawn}: {}", mta.log());
    let agent = mta.pids()[2];
    (mta, agent)
}

/// The mappings of a process that hold code in large pages.
fn large_pages_of_code(pid: i32) -> usize {
    let text = read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let mut is_code = false;
    let mut found = 0;
    for line in text.lines() {
        match line.split_ascii_whitespace().nth(1) {
            Some(flags) if flags.len() == 4 && flags.ends_with('p') => is_code = flags == "r-xp",
            _ => found += usize::from(is_code && line == LARGE),
        }
    }
    found
}

fn environment(pid: i32) -> String {
    read_to_string(format!("/proc/{pid}/environ")).unwrap()
}

fn tunables(pid: i32) -> String {
    let environment = environment(pid);
    let value = environment.split('\0').find_map(|pair| pair.strip_prefix("GLIBC_TUNABLES="));
    value.unwrap_or_default().to_owned()
}

#[test]
fn forked_agents_share_a_large_page_of_code_and_executed_ones_do_without() {
    let kernel = read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if kernel.is_empty() || kernel.contains("[never]") || std::env::var_os("MAILRIG_LINKING").is_some() {
        return eprintln!("not looked at: this kernel has no large pages, or the code is linked otherwise");
    }
    at_once([("zygote", 1), ("preforked", 1), ("exec", 0)], |(spawn, pages)| {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &[]);
        let (mta, agent) = with_agent(folder.path(), &sink, spawn);
        assert_eq!(large_pages_of_code(agent), pages, "{spawn}");
        assert_eq!(large_pages_of_code(mta.process.pid()), pages, "{spawn}: its starter");
    });
}

#[test]
fn restartable_sequences_are_off_in_every_process() {
    at_once(["zygote", "exec"], |spawn| {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(folder.path(), "sink", &[]);
        let (mta, agent) = with_agent(folder.path(), &sink, spawn);
        for pid in [mta.process.pid(), agent] {
            assert_eq!(tunables(pid), "glibc.pthread.rseq=0", "{spawn}");
            assert_eq!(read_to_string(format!("/proc/{pid}/comm")).unwrap(), "mailrig\n", "{spawn}");
        }
    });
}

#[test]
fn an_executable_with_capabilities_starts_once() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("mailrig");
    std::fs::copy(env!("CARGO_BIN_EXE_mailrig"), &copy).unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let given = Command::new("setcap").arg("cap_net_bind_service=+ep").arg(&copy).status();
    if !given.is_ok_and(|status| status.success()) {
        return eprintln!("not looked at: no setcap, or not the right to use it");
    }
    let mut command = Command::new(copy);
    command.uid(65534).gid(65534).args(["mta", "run", "--config", "/nonexistent"]).stderr(Stdio::null());
    let mut process = Process { child: command.spawn().unwrap() };
    assert_eq!(process.wait().code(), Some(2), "it goes on although glibc takes no word for it");
}

#[test]
fn what_the_operator_tells_the_c_library_stays() {
    for (told, rseq) in
        [("glibc.malloc.tcache_count=7", "glibc.pthread.rseq=0"), ("glibc.pthread.rseq=1", "")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut command = mailrig();
        command.env("GLIBC_TUNABLES", told);
        let mta = Mta::start_by(command, folder.path(), "", "");
        let environment = environment(mta.process.pid());
        assert!(environment.contains(told) && environment.contains(rseq), "{environment}");
        assert_eq!(environment.matches("rseq").count(), 1, "{environment}");
    }
}
