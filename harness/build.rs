//! How the executable is linked: without position independence and, where the C library's archive is there, statically.
//!
//! Each agent that is executed has a private copy of every page that the loader relocates, and each that is forked the
//! page tables of every library; ARCHITECTURE.md has the figures and what this costs. `MAILRIG_LINKING` chooses another
//! way, so that they can be measured again: `pie`, `no-pie`, `static-pie`, `static`.
//!
//! What a delivery runs through lies together at the end of the code, before the variables: each 2 MiB of addresses that
//! an agent touches is a page of page tables.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Crates and libraries that a delivery runs through; those of the event driver too.
const OF_AGENTS: [&str; 15] = [
    "*libagent-*.rlib:*",
    "*libevent-*.rlib:*",
    "*libtokio-*.rlib:*",
    "*libmio-*.rlib:*",
    "*libsupervisor-*.rlib:*",
    "*libdelivery-*.rlib:*",
    "*libsmtp-*.rlib:*",
    "*libsys-*.rlib:*",
    "*librustix-*.rlib:*",
    "*libmemchr-*.rlib:*",
    "*liballoc-*.rlib:*",
    "*libcore-*.rlib:*",
    "*libstd-*.rlib:*",
    "*libcompiler_builtins-*.rlib:*",
    "*libc.a:*",
];

/// What Rust's standard library asks the linker for.
const LIBRARIES: [&str; 6] = ["c", "m", "rt", "pthread", "dl", "util"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MAILRIG_LINKING");
    let folder = PathBuf::from(env::var("OUT_DIR")?).join("libraries");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder)?;
    let gnu = env::var("CARGO_CFG_TARGET_OS")? == "linux" && env::var("CARGO_CFG_TARGET_ENV")? == "gnu";
    let native = env::var("HOST")? == env::var("TARGET")?;
    let wanted = env::var("MAILRIG_LINKING").ok();
    let flag = match wanted.as_deref() {
        // a C library of another kind, or a linker for another machine, is left to its own ways
        None if !gnu || !native => return Ok(()),
        None if stand_in_archives(&folder).is_ok() => "-static",
        None | Some("no-pie") => "-no-pie",
        Some("pie") => return Ok(()),
        Some("static") => stand_in_archives(&folder).map(|()| "-static")?,
        Some("static-pie") => stand_in_archives(&folder).map(|()| "-static-pie")?,
        Some(other) => {
            return Err(format!("MAILRIG_LINKING={other}: pie, no-pie, static-pie or static").into());
        }
    };
    // for the executable alone: a test is linked as usual, and archives in a position-independent program crash it
    println!("cargo::rustc-link-arg-bins=-L{}", folder.display());
    if flag == "-static" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
    println!("cargo::rustc-link-arg-bins={flag}");
    // one that knows no scripts but those that name libraries
    if !env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("mold")) {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", gather(&folder)?.display());
    }
    Ok(())
}

/// Writes the linker script that gathers the code of agents. It adds to the linker's own.
///
/// It fills large pages of 2 MiB, so that the MTA can put it into one (`sys::code`); up to 4 MiB of zeros around it in the
/// file are the price.
fn gather(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let files = OF_AGENTS.map(|files| format!("    {files}(.text .text.*)\n")).concat();
    // made with the executable or with the MTA: the allocator's entry points; what a forked agent returns to, and an
    // executed one begins in
    let functions = [
        "_R*_7___rustc*",
        "__rust_try*",
        "_*starter*",
        "_*executed*",
        "_*5roles*",
        "_*10lang_start*",
        "main",
    ];
    let functions = functions.map(|name| format!("    *(.text.{name})\n")).concat() + "    *crt1.o(.text)\n";
    let script = format!(
        "SECTIONS {{\n  .text_of_agents : ALIGN(0x200000) {{\n{functions}{files}    . = ALIGN(0x200000);\n  }}\n}}\nINSERT AFTER .text;\n"
    );
    let path = folder.join("agents.ld");
    fs::write(&path, script)?;
    Ok(path)
}

/// Puts a linker script for each library into `folder`, where the linker looks before it looks elsewhere: each names the
/// archive instead of the shared library. (Rust's own switch for this, `crt-static`, can be set in the user's
/// configuration only, and fails where an archive is missing.)
///
/// # Errors
/// The C compiler does not know where an archive is; then there is none.
fn stand_in_archives(folder: &Path) -> Result<(), Box<dyn Error>> {
    let unwinder = [archive("gcc_eh")?, archive("gcc")?];
    for name in LIBRARIES {
        let mut members = vec![archive(name)?];
        members.extend(unwinder.clone());
        script(folder, name, &members)?;
    }
    script(folder, "gcc_s", &unwinder)
}

/// The path of a static library, as the C compiler knows it.
fn archive(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let compiler = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let found = Command::new(compiler).arg(format!("-print-file-name=lib{name}.a")).output()?;
    let path = PathBuf::from(String::from_utf8(found.stdout)?.trim());
    // without a file of that name it prints the name
    if path.is_absolute() && path.exists() { Ok(path) } else { Err(format!("no lib{name}.a").into()) }
}

fn script(folder: &Path, name: &str, members: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let members: Vec<String> = members.iter().map(|path| format!("\"{}\"", path.display())).collect();
    Ok(fs::write(folder.join(format!("lib{name}.a")), format!("GROUP ( {} )\n", members.join(" ")))?)
}
