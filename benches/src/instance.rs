//! A mail transfer agent with nothing but loopback to talk to: ours with one store or the other, or a private Postfix.
//!
//! Each has a folder of its own with its queue and its log, all on one file system, and ends when it is dropped.

use crate::postfix::Postfix;
use crate::process::Process;
use crate::rig::{Rig, START_BOUND, free_address};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use subject::groups::Group;

/// For an MTA to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

/// What is to be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Segments,
    Files,
    /// With its connection cache, or a connection each.
    Postfix {
        cache: bool,
    },
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Segments => "mailrig segments",
            Kind::Files => "mailrig files",
            Kind::Postfix { cache: true } => "Postfix, cache",
            Kind::Postfix { cache: false } => "Postfix, no cache",
        }
    }
}

/// What it does with mail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Takes it in and keeps it.
    Accept,
    /// Passes it on to this address, so many at a time.
    Relay { to: SocketAddr, concurrency: u32 },
}

pub struct Instance {
    process: Option<Process>,
    pub address: SocketAddr,
    folder: PathBuf,
}

impl Instance {
    /// Started and ready, in the group if there is one. `folder` is made, and removed in the end.
    pub fn start(
        rig: &Rig,
        kind: Kind,
        work: Work,
        folder: &Path,
        sessions: u64,
        group: Option<&Group>,
    ) -> Result<Instance, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(failed)?;
        let address = free_address()?;
        let process = match kind {
            Kind::Segments | Kind::Files => {
                let config = folder.join("mta.toml");
                fs::write(&config, mailrig(kind, work, folder, address, sessions)).map_err(failed)?;
                let words = ["mta", "run", "--config"].map(Into::into);
                let words = words.into_iter().chain([config.into_os_string()]).collect::<Vec<_>>();
                let mut command = grouped(rig, &rig.mailrig, group);
                let mut process = Process::start("mailrig mta", command.args(words).stdout(Stdio::piped()))?;
                process.line(START_BOUND)?;
                process
            }
            Kind::Postfix { cache } => {
                postfix(cache, work, folder, address, sessions)?;
                let master = Postfix::daemon("master").ok_or("Postfix's master is not installed")?;
                let mut command = grouped(rig, &master, group);
                command.arg("-c").arg(folder.join("etc")).arg("-d");
                let process = Process::start("Postfix's master", command.stderr(Stdio::null()))?;
                let end = Instant::now() + START_BOUND;
                while TcpStream::connect(address).is_err() {
                    if process.has_ended()? || Instant::now() > end {
                        let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                        return Err(format!("Postfix does not listen on {address}: {log}"));
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                process
            }
        };
        Ok(Instance { process: Some(process), address, folder: folder.to_owned() })
    }

    /// What is in its configuration, for whoever wants to run it elsewhere.
    pub fn configuration(kind: Kind, work: Work, sessions: u64) -> String {
        let (folder, address) = (Path::new("FOLDER"), SocketAddr::from(([127, 0, 0, 1], 25)));
        match kind {
            Kind::Segments | Kind::Files => mailrig(kind, work, folder, address, sessions),
            Kind::Postfix { cache } => main_cf(cache, work, folder, sessions),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = process.terminate(GRACE);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A program that is in the group from its first instruction, as are its children.
pub fn grouped(rig: &Rig, program: &Path, group: Option<&Group>) -> Command {
    const JOIN: &str =
        "while [ \"$1\" != -- ]; do echo $$ > \"$1/cgroup.procs\"; shift; done; shift; exec \"$@\"";
    let mut command = rig.command(Path::new("/bin/sh"));
    command.args(["-c", JOIN, "sh"]);
    if let Some(group) = group {
        command.args(group.directories());
    }
    command.arg("--").arg(program);
    command
}

fn mailrig(kind: Kind, work: Work, folder: &Path, address: SocketAddr, sessions: u64) -> String {
    let store = if kind == Kind::Files { "files" } else { "segments" };
    let folder = folder.display();
    let (relay, concurrency) = match work {
        Work::Accept => ("paused = true".to_owned(), 1),
        Work::Relay { to, concurrency } => (format!("relayhost = \"{to}\""), concurrency),
    };
    format!(
        "listen = [\"{address}\"]\nhostname = \"mx.test\"\nspool = \"{folder}/spool\"\nstore = \"{store}\"\n\
         control = \"{folder}/control\"\nlog = \"{folder}/log\"\nmax_sessions = {}\n{relay}\n\n\
         [delivery]\ndriver = \"event\"\nagents_max = 1\nconnections_per_agent = {concurrency}\n\
         messages_per_connection = 100\n\n\
         [queue]\ndestination_concurrency = {concurrency}\ninitial_destination_concurrency = {concurrency}\n",
        sessions + 10
    )
}

/// Tuned as its TUNING_README says: enough processes, a full window at once, no slow-down of the input.
fn main_cf(cache: bool, work: Work, folder: &Path, sessions: u64) -> String {
    let folder = folder.display();
    let (relay, concurrency) = match work {
        // HOLD: taken in, and left alone by the queue manager
        Work::Accept => ("smtpd_client_restrictions = static:HOLD\nrelayhost = [127.0.0.1]:9".to_owned(), 1),
        Work::Relay { to, concurrency } => (format!("relayhost = [{}]:{}", to.ip(), to.port()), concurrency),
    };
    let cache = if cache { "yes" } else { "no" };
    let daemons = Postfix::daemon("master").and_then(|path| Some(path.parent()?.display().to_string()));
    let daemons = daemons.unwrap_or_default();
    format!(
        "compatibility_level = 3.6\nmyhostname = mx.test\nqueue_directory = {folder}/queue\n\
         data_directory = {folder}/data\ndaemon_directory = {daemons}\ncommand_directory = /usr/sbin\n\
         mail_owner = postfix\nsetgid_group = postdrop\nmaillog_file_prefixes = /\nmaillog_file = {folder}/log\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\nmydestination =\n\
         alias_maps =\nlocal_recipient_maps =\nsmtpd_recipient_restrictions = permit_mynetworks, reject\n\
         smtpd_peername_lookup = no\ndisable_dns_lookups = yes\nsmtpd_tls_security_level = none\n\
         smtp_tls_security_level = none\nsmtpd_client_connection_count_limit = 0\n\
         smtpd_client_connection_rate_limit = 0\nsmtp_connection_cache_on_demand = {cache}\n\
         default_process_limit = {}\nqmgr_message_active_limit = 20000\nin_flow_delay = 0\n\
         default_destination_concurrency_limit = {concurrency}\n\
         initial_destination_concurrency = {concurrency}\n{relay}\n",
        sessions.max(u64::from(concurrency)) + 20
    )
}

fn postfix(cache: bool, work: Work, folder: &Path, address: SocketAddr, sessions: u64) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let owner = sys::privilege::find_user("postfix").map_err(|error| format!("user postfix: {error}"))?;
    let make = |name: &str, owned: bool| -> std::io::Result<()> {
        let path = folder.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(if owned { 0o700 } else { 0o755 }))?;
        if owned { chown(&path, Some(owner.uid), Some(owner.gid)) } else { Ok(()) }
    };
    for name in ["etc", "queue", "queue/pid", "queue/etc"] {
        make(name, false).map_err(failed)?;
    }
    let queues = ["incoming", "active", "deferred", "hold", "bounce", "defer", "flush", "trace", "saved"];
    for name in queues.iter().chain(&["corrupt", "private", "public", "maildrop"]) {
        make(&format!("queue/{name}"), true).map_err(failed)?;
    }
    make("data", true).map_err(failed)?;
    fs::write(folder.join("etc/main.cf"), main_cf(cache, work, folder, sessions)).map_err(failed)?;
    let master = format!(
        "{address} inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nverify unix - - n - 1 verify\n\
         flush unix n - n 1000? 0 flush\nproxymap unix - - n - - proxymap\nsmtp unix - - n - - smtp\n\
         relay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n\
         discard unix - - n - - discard\nanvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\n\
         postlog unix-dgram n - n - 1 postlogd\ntlsmgr unix - - n 1000? 1 tlsmgr\n"
    );
    fs::write(folder.join("etc/master.cf"), master).map_err(failed)
}
