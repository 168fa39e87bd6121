//! Which mappings a process's own pages are in: /proc/PID/smaps, proc_pid_smaps(5).

use rustix::process::Pid;

/// One mapping that has pages of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What is mapped: a file's name, `[heap]`, `[stack]`, or `anonymous`; and the permissions, as in `heap rw-p`.
    pub name: String,
    /// Pages that no other process has.
    pub private_bytes: u64,
}

/// A process's mappings with private pages, in the order of their addresses; `None` when it is gone or not ours to see.
pub fn read(pid: Pid) -> Option<Vec<Mapping>> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps", pid.as_raw_nonzero())).ok()?;
    Some(parse(&text))
}

fn parse(text: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        match first.strip_suffix(':') {
            Some("Private_Clean" | "Private_Dirty" | "Private_Hugetlb") => {
                let kib: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                if let Some(mapping) = found.last_mut() {
                    mapping.private_bytes += kib * 1024;
                }
            }
            Some(_) => {}
            // a range of addresses begins the next mapping: permissions, offset, device, inode, path
            None => {
                let permissions = words.next().unwrap_or("");
                let path = words.skip(3).collect::<Vec<_>>().join(" ");
                let name = match path.rsplit('/').next() {
                    None | Some("") => "anonymous",
                    Some(name) => name,
                };
                found.push(Mapping { name: format!("{name} {permissions}"), private_bytes: 0 });
            }
        }
    }
    found.retain(|mapping| mapping.private_bytes > 0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_pages_are_told_by_mapping() {
        let text = "00be7000-00beb000 rw-p 009e4000 fe:00 1001  /opt/mail rig/mailrig\nSize: 16 kB\n\
                    Private_Clean:  4 kB\nPrivate_Dirty:  8 kB\nVmFlags: rd wr\n\
                    00beb000-00bf2000 rw-p 00000000 00:00 0 \nPrivate_Clean: 0 kB\nPrivate_Dirty: 12 kB\n\
                    7fa0-7fb0 r-xp 00000000 00:00 0  [vdso]\nPrivate_Clean: 0 kB\nPrivate_Dirty: 0 kB\n";
        let of = |name: &str, kib: u64| Mapping { name: name.to_owned(), private_bytes: kib * 1024 };
        assert_eq!(parse(text), [of("mailrig rw-p", 12), of("anonymous rw-p", 12)]);
        let own = read(rustix::process::getpid()).expect("own mappings");
        assert!(own.iter().any(|mapping| mapping.name.starts_with("[stack]")), "{own:?}");
    }
}
