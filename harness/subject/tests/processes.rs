//! Real processes: placed, sampled, stopped, and cleaned up after a harness that was killed.
//!
//! Without libtest, since the executable plays several roles: `guard`, `enter`, `sleep` and `harness` are children
//! of the tests below.

use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use subject::child::{Launcher, Output, Stopped};
use subject::cores::Cores;
use subject::enter::{Place, enter};
use subject::groups::{Base, Plan};
use subject::guard::{self, Guard};
use subject::hierarchy::Version;
use subject::interrupt::Interrupt;
use subject::role::Role;
use subject::sampling::{INTERVAL, Sampler, Source, Watched};
use subject::{hierarchy, process};

const BOUND: Duration = Duration::from_secs(20);

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let role = arguments.first().and_then(|argument| argument.to_str()).unwrap_or("");
    match role {
        "guard" => guard::watch(std::io::stdin().lock(), std::io::stdout())
            .iter()
            .for_each(|problem| eprintln!("guard: {problem}")),
        "enter" => {
            let mut place = Place::default();
            let mut words = arguments[1..].iter();
            while let Some(word) = words.next().filter(|word| *word != "--") {
                let value = words.next().expect("an option's value");
                match word.to_str() {
                    Some("--group") => place.groups.push(PathBuf::from(value)),
                    Some("--core") => {
                        place.cores.push(value.to_string_lossy().parse().expect("a core's number"))
                    }
                    _ => panic!("unknown option {word:?}"),
                }
            }
            let rest: Vec<OsString> = words.cloned().collect();
            eprintln!("{}", enter(&place, &rest[0], &rest[1..]));
            std::process::exit(2);
        }
        "sleep" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "burn" => loop {
            std::hint::spin_loop();
        },
        "harness" => harness(Path::new(&arguments[1])),
        _ => tests(
            arguments
                .iter()
                .filter_map(|word| word.to_str())
                .find(|word| !word.starts_with('-'))
                .unwrap_or(""),
        ),
    }
}

fn tests(filter: &str) {
    let tests: [(&str, fn()); 5] = [
        ("a_child_is_in_its_place_and_is_stopped", a_child_is_in_its_place_and_is_stopped),
        ("groups_account_for_what_ran_in_them_and_vanish", groups_account_for_what_ran_in_them_and_vanish),
        ("groups_that_cannot_be_made_leave_nothing", groups_that_cannot_be_made_leave_nothing),
        ("sampling_sees_the_processes_of_a_role", sampling_sees_the_processes_of_a_role),
        ("the_guard_cleans_after_a_killed_harness", the_guard_cleans_after_a_killed_harness),
    ];
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(filter)) {
        test();
        println!("test {name} ... ok");
    }
}

fn launcher(mark: &str) -> Launcher {
    Launcher { exe: std::env::current_exe().expect("own path"), enter: &["enter"], mark: mark.to_owned() }
}

fn mark(name: &str) -> String {
    format!("test-{name}-{}", std::process::id())
}

/// Groups where the machine allows them; says so where not.
fn groups(name: &str) -> Option<Base> {
    let plan =
        hierarchy::mounted().map_err(|error| error.to_string()).and_then(|found| Plan::find(&found, name));
    match plan.and_then(|plan| plan.make(None)) {
        Ok(base) => Some(base),
        Err(reason) => {
            println!("skipped the part with control groups: {reason}");
            None
        }
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_child_is_in_its_place_and_is_stopped() {
    let scratch = tempfile::tempdir().expect("directory");
    let last = *Cores::allowed().expect("cores").last().expect("at least one core");
    let place = Place { groups: Vec::new(), cores: vec![last] };
    let log = scratch.path().join("log");
    let mark = mark("place");
    let mut child =
        launcher(&mark).start("sleeper", &place, &["sleep".into()], Output::Discarded, &log).expect("start");
    let pid = child.pid();
    eventually("the child has executed its program", || {
        std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
            .is_ok_and(|line| line.ends_with("sleep\0") && !line.contains("enter"))
    });
    assert_eq!(rustix::process::getsid(Some(pid)), Ok(pid), "it leads a session");
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("status");
    let allowed =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("allowed cores");
    assert_eq!(allowed.trim(), last.to_string());
    assert_eq!(process::marked(&mark), [pid]);
    let stopped = child.stop(BOUND).expect("stop");
    assert!(matches!(stopped, Stopped::Itself(_)), "{stopped:?}");
    assert!(process::marked(&mark).is_empty());

    let nowhere = Place { groups: vec![scratch.path().join("none")], cores: Vec::new() };
    let mut lost =
        launcher(&mark).start("lost", &nowhere, &["sleep".into()], Output::Discarded, &log).expect("start");
    lost.wait(BOUND, &Interrupt::default()).expect("it ends");
    let error = lost.check_alive().expect_err("it could not enter").to_string();
    assert!(error.contains("joining the control group") && error.contains("none"), "{error}");
}

fn groups_account_for_what_ran_in_them_and_vanish() {
    let name = mark("groups");
    let Some(base) = groups(&name) else { return };
    let scratch = tempfile::tempdir().expect("directory");
    let log = scratch.path().join("log");
    let groups = base.trial().expect("groups of a trial");
    let agents = groups.of(Role::Agents).expect("agents' group");
    let directories = agents.directories().to_vec();
    let place = Place { groups: directories.clone(), cores: Vec::new() };
    let mut child =
        launcher(&name).start("burner", &place, &["burn".into()], Output::Discarded, &log).expect("start");
    eventually("the group holds the child", || agents.processes() == [child.pid()]);
    eventually("its time is accounted for", || agents.cpu_s().is_some_and(|time| time > 0.05));
    let queue = groups.of(Role::Queue).expect("queue manager's group");
    assert_eq!(queue.cpu_s(), Some(0.0));
    queue.join(child.pid()).expect("moved");
    assert_eq!((agents.processes(), queue.processes()), (vec![], vec![child.pid()]));
    eventually("it goes on there", || queue.cpu_s().is_some_and(|time| time > 0.02));
    let again = base.trial().expect("fresh groups");
    child.wait(BOUND, &Interrupt::default()).expect("what was left in the groups is killed");
    assert_eq!(again.of(Role::Queue).and_then(|group| group.cpu_s()), Some(0.0));
    assert_eq!(base.remove(), Vec::<String>::new());
    assert!(directories.iter().all(|dir| !dir.parent().expect("base").exists()), "{directories:?}");
}

/// A version 2 hierarchy whose controllers are all used by version 1, which is what many machines have.
fn groups_that_cannot_be_made_leave_nothing() {
    let mounted = hierarchy::mounted().expect("hierarchies");
    let without_cpu = mounted.into_iter().find(|found| found.version == Version::V2 && !found.has("cpu"));
    let Some(mut hierarchy) = without_cpu else {
        println!(
            "skipped groups_that_cannot_be_made_leave_nothing: no version 2 hierarchy without the controller cpu"
        );
        return;
    };
    let name = mark("refused");
    assert!(Plan::find(std::slice::from_ref(&hierarchy), &name).is_err(), "no controller, no plan");
    hierarchy.controllers = vec!["cpu".to_owned()];
    let base = hierarchy.own.join(&name);
    let plan = Plan::find(&[hierarchy], &name).expect("a plan on a false promise");
    let reason = plan.make(None).expect_err("the kernel does not have the controller there");
    assert!(reason.contains("control group") && !reason.contains("left behind"), "{reason}");
    assert!(!base.exists());
}

fn sampling_sees_the_processes_of_a_role() {
    let scratch = tempfile::tempdir().expect("directory");
    let launcher = launcher(&mark("sampling"));
    let start = |name: &str, role: &str| {
        let log = scratch.path().join(name);
        launcher.start("child", &Place::default(), &[role.into()], Output::Discarded, &log).expect("start")
    };
    let children = [start("a", "sleep"), start("b", "burn"), start("c", "sleep")];
    let pids: Vec<Pid> = children.iter().map(|child| child.pid()).collect();
    let list = Source::List(std::sync::Arc::new(std::sync::Mutex::new(pids.clone())));
    let one = Watched { role: "one", processes: Source::one(pids[0]), group: None, live: None };
    let sampler = Sampler::start(vec![Watched { role: "three", processes: list, ..one.clone() }, one]);
    std::thread::sleep(INTERVAL * 4);
    let seen = sampler.stop();
    let three: Vec<_> = seen.samples.iter().filter(|sample| sample.role == "three").collect();
    assert!(three.len() >= 3, "{} looks", three.len());
    assert!(three.iter().all(|sample| sample.processes == 3));
    let (first, last) = (three[0], three[three.len() - 1]);
    assert!(last.cpu_s > first.cpu_s, "one of them burns: {:?} {:?}", first.cpu_s, last.cpu_s);
    let known =
        pids.iter().filter_map(|pid| process::memory(*pid)).map(|memory| memory.uss_bytes).sum::<u64>();
    let uss = last.uss_bytes.expect("memory was seen");
    assert!((known / 2..known * 2).contains(&uss), "{uss} sampled, {known} read");
    let alone = seen.peak("one", |sample| sample.uss_bytes).expect("memory was seen");
    assert!(alone < uss, "{alone} of one, {uss} of three");
    assert!(seen.cost.cpu_s > 0.0 && seen.cost.cpu_s < seen.cost.elapsed_s / 5.0, "{:?}", seen.cost);
}

/// Role: makes what a harness makes, says so, and waits to be killed.
fn harness(scratch: &Path) {
    let exe = std::env::current_exe().expect("own path");
    let mark = format!("killed-{}", std::process::id());
    let mut guard = Guard::start(&exe, &["guard"], &mark).expect("guard");
    guard.directory(scratch).expect("noted");
    std::fs::create_dir(scratch).expect("made");
    std::fs::write(scratch.join("spool"), "mail").expect("written");
    let mut place = Place::default();
    let plan =
        hierarchy::mounted().map_err(|error| error.to_string()).and_then(|found| Plan::find(&found, &mark));
    if let Ok(plan) = plan {
        guard.groups(plan.footprint()).expect("noted");
        if let Ok(base) = plan.make(Some(guard.pid())) {
            let groups = base.trial().expect("groups");
            place.groups = groups.of(Role::Agents).expect("group").directories().to_vec();
            println!("group {}", place.groups[0].display());
        }
    }
    let log = scratch.join("log");
    let grouped = launcher(&mark).start("sleeper", &place, &["sleep".into()], Output::Discarded, &log);
    let loose =
        launcher(&mark).start("sleeper", &Place::default(), &["sleep".into()], Output::Discarded, &log);
    let children = [grouped, loose].map(|child| child.expect("started"));
    let pids = children.each_ref().map(|child| child.pid().as_raw_nonzero());
    // the children are killed by the guard, not by a destructor: this process never gets that far
    println!("pids {} {}", pids[0], pids[1]);
    std::thread::sleep(BOUND * 3);
}

fn the_guard_cleans_after_a_killed_harness() {
    let outside = tempfile::tempdir().expect("directory");
    let scratch = outside.path().join("trial");
    let exe = std::env::current_exe().expect("own path");
    let mut command = Command::new(&exe);
    let mut harness = command.arg("harness").arg(&scratch).stdout(Stdio::piped()).spawn().expect("start");
    let stdout = BufReader::new(harness.stdout.take().expect("piped"));
    let mut group = None;
    let mut pids = Vec::new();
    for line in stdout.lines() {
        let line = line.expect("a line");
        if let Some(path) = line.strip_prefix("group ") {
            group = Some(PathBuf::from(path));
        } else if let Some(numbers) = line.strip_prefix("pids ") {
            pids = numbers.split(' ').filter_map(|number| Pid::from_raw(number.parse().ok()?)).collect();
            break;
        }
    }
    assert_eq!(pids.len(), 2, "the harness did not come up");
    let lives = |pid: &Pid| process::cpu_s(*pid).is_some();
    assert!(pids.iter().all(lives) && scratch.join("spool").exists());
    // a fresh Ctrl-C or a crash inside the cleaning would look the same: nothing in the harness runs any more
    rustix::process::kill_process(Pid::from_child(&harness), Signal::KILL).expect("killed");
    harness.wait().expect("reaped");
    eventually("the directory is removed", || !scratch.exists());
    eventually("the children are killed", || pids.iter().all(|pid| process::memory(*pid).is_none()));
    if let Some(group) = group {
        eventually("the groups are removed", || !group.parent().expect("base").exists());
    }
}
