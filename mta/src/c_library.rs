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

/// What is in the environment, and to be in that of a child that is executed without it.
pub fn environment() -> Option<(&'static str, OsString)> {
    env::var_os(VARIABLE).map(|value| (VARIABLE, value))
}

/// Executes this process anew with the same arguments and with restartable sequences turned off, unless the environment
/// says something about them. Returns when there is nothing to change, or why it can't be.
///
/// For the begin of a process: all that is open stays open.
///
/// # Errors
/// The executable can't be executed. Nothing is lost but speed.
pub fn restart_without_rseq() -> io::Result<()> {
    let mut value = env::var_os(VARIABLE).unwrap_or_default();
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || value.to_string_lossy().contains(NAME) {
        return Ok(());
    }
    if !value.is_empty() {
        value.push(":");
    }
    value.push(format!("{NAME}=0"));
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| "mailrig".into());
    Err(Command::new(env::current_exe()?).arg0(name).args(arguments).env(VARIABLE, value).exec())
}
