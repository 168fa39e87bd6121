//! What the C library is told when the MTA starts.
//!
//! glibc has the kernel write the number of the core into each thread's memory whenever it goes on after another one ran
//! (rseq(2)), so that sched_getcpu(3) is quick, which nothing here calls. To agents, which wait five times a delivery, that
//! is a cache miss and more each time.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The manual of glibc, "Tunables"; other C libraries don't look at it.
const VARIABLE: &str = "GLIBC_TUNABLES";
const NAME: &str = "glibc.pthread.rseq";

/// Set once it was executed anew: glibc takes its own variable away where a file's capabilities give more rights than the
/// user has, and a restart that waits for it would never end.
const RESTARTED: &str = "MAILRIG_RESTARTED";

/// What is in the environment, and to be in that of a child that is executed without it.
pub fn environment() -> Option<(&'static str, OsString)> {
    env::var_os(VARIABLE).map(|value| (VARIABLE, value))
}

/// Executes this process anew with the same arguments and with restartable sequences turned off, unless the environment
/// says something about them. Returns when there is nothing to change, or why it can't be.
///
/// For the begin of a process, which has opened nothing yet.
///
/// # Errors
/// The executable can't be executed. Nothing is lost but speed.
pub fn restart_without_rseq() -> io::Result<()> {
    let before = env::var_os(VARIABLE).unwrap_or_default();
    let told = before.to_string_lossy().contains(NAME) || env::var_os(RESTARTED).is_some();
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || told {
        return Ok(());
    }
    // ours first: glibc may put an end to the text where its first part ends
    let mut value = OsString::from(format!("{NAME}=0"));
    if !before.is_empty() {
        value.push(":");
        value.push(before);
    }
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "mailrig".into());
    // by its path, so that a list of processes has its name
    let mut command = Command::new(env::current_exe()?);
    Err(command.arg0(name).args(arguments).env(VARIABLE, value).env(RESTARTED, "1").exec())
}
