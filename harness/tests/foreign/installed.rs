//! Programs that a test needs and that a machine may not have: without them it is skipped, and says so by its name.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

static PYTHON: LazyLock<bool> = LazyLock::new(|| {
    let output = Command::new("python3").args(["-c", "import smtplib, ssl"]).output();
    output.is_ok_and(|output| output.status.success())
});

/// What swaks says that it can; empty where it is not.
static SWAKS: LazyLock<String> = LazyLock::new(|| {
    Command::new("swaks").arg("--support").output().map_or(String::new(), |output| said(&output))
});

/// Runs a script of Python's, which sees `arguments` from `sys.argv[1]` on; `None` where there is no Python.
pub fn python(script: &str, arguments: &[&str]) -> Option<String> {
    is_here("python3", *PYTHON).then(|| {
        let output = Command::new("python3").args(["-c", script]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        said(&output)
    })
}

/// Whether there is a swaks.
pub fn has_swaks() -> bool {
    is_here("swaks", !SWAKS.is_empty())
}

/// Whether there is a swaks with the libraries that it needs for TLS.
pub fn has_swaks_with_tls() -> bool {
    is_here("swaks with Net::SSLeay", SWAKS.contains("TLS supported"))
}

/// Postfix's smtp-sink.
pub fn smtp_sink() -> Option<&'static str> {
    let places = ["/usr/sbin/smtp-sink", "/usr/lib/postfix/sbin/smtp-sink"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    is_here("smtp-sink", found.is_some());
    found
}

/// A Python that has aiosmtpd: the first in the path, or the system's.
pub fn python_with_aiosmtpd() -> Option<&'static str> {
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let output = Command::new(python).args(["-c", "import aiosmtpd"]).output();
        output.is_ok_and(|output| output.status.success())
    });
    is_here("aiosmtpd", found.is_some());
    found
}

/// All that a program wrote.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn is_here(program: &str, here: bool) -> bool {
    if !here {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("this test");
        // past the test harness, which keeps the words of a test that went well to itself
        let line = format!("skipped: {test} needs {program}, which is not here\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
    }
    here
}
