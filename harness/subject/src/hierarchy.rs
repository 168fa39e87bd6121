//! Where the control-group hierarchies are mounted and which group of each this process is in.
//!
//! Both versions may be there at once, and with version 1 each controller may be mounted apart, with this process
//! in a different place of each, so nothing is assumed: /proc/self/cgroup and /proc/self/mountinfo are joined.
//! See cgroups(7), proc_pid_mountinfo(5).

use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub version: Version,
    /// Names of the controllers; for version 2 those that the own group may give to its children.
    pub controllers: Vec<String>,
    /// The directory of the group that this process is in.
    pub own: PathBuf,
}

impl Hierarchy {
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// All hierarchies of this process, as mounted now.
pub fn mounted() -> std::io::Result<Vec<Hierarchy>> {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup")?;
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut found = join(&cgroup, &mountinfo);
    for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.version == Version::V2) {
        let names = std::fs::read_to_string(hierarchy.own.join("cgroup.controllers")).unwrap_or_default();
        hierarchy.controllers = names.split_whitespace().map(str::to_owned).collect();
    }
    Ok(found)
}

/// The join of the two files' texts. Hierarchies that are not mounted, or whose mount does not show the own group,
/// are left out.
fn join(cgroup: &str, mountinfo: &str) -> Vec<Hierarchy> {
    let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
    let mut found = Vec::new();
    for line in cgroup.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let controllers: Vec<&str> = controllers.split(',').filter(|name| !name.is_empty()).collect();
        let own = mounts.iter().find_map(|mount| {
            let fits = if controllers.is_empty() {
                mount.version == Version::V2
            } else {
                mount.version == Version::V1 && controllers.iter().all(|name| mount.options.contains(name))
            };
            if fits { mount.directory_of(path) } else { None }
        });
        if let Some(own) = own {
            let version = if controllers.is_empty() { Version::V2 } else { Version::V1 };
            found.push(Hierarchy {
                version,
                controllers: controllers.into_iter().map(str::to_owned).collect(),
                own,
            });
        }
    }
    found
}

struct Mount<'a> {
    version: Version,
    /// The group that is seen at the mount point.
    root: String,
    point: String,
    /// Of the file system: for version 1 its controllers are among them.
    options: Vec<&'a str>,
}

impl Mount<'_> {
    fn parse(line: &str) -> Option<Mount<'_>> {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let version = match system.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = system.nth(1).unwrap_or("").split(',').collect();
        let mut fields = mount.split(' ').skip(3);
        Some(Mount { version, root: unescape(fields.next()?), point: unescape(fields.next()?), options })
    }

    fn directory_of(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // joining an empty path would leave a slash at the end
        if below.as_os_str().is_empty() {
            Some(PathBuf::from(&self.point))
        } else {
            Some(Path::new(&self.point).join(below))
        }
    }
}

/// proc_pid_mountinfo(5): space, tab, line feed and backslash are written as three octal digits.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owns(cgroup: &str, mountinfo: &str) -> Vec<(Version, String, PathBuf)> {
        let found = join(cgroup, mountinfo);
        found.into_iter().map(|found| (found.version, found.controllers.join(","), found.own)).collect()
    }

    #[test]
    fn controllers_mounted_apart_each_have_their_own_place() {
        let found = owns(
            "4:memory:/box/7\n2:cpu,cpuacct:/\n9:name=systemd:/\n0::/\n",
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        );
        let expected = [
            (Version::V1, "memory".to_owned(), PathBuf::from("/sys/fs/cgroup/memory/box/7")),
            (Version::V1, "cpu,cpuacct".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")),
            (Version::V2, String::new(), PathBuf::from("/sys/fs/cgroup/unified")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mount_that_shows_only_part_of_the_tree_is_followed_or_left_out() {
        let part = "40 31 0:38 /docker/ab /sys/fs/my\\040groups rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let inside = owns("0::/docker/ab/scope\n", part);
        assert_eq!(inside, [(Version::V2, String::new(), PathBuf::from("/sys/fs/my groups/scope"))]);
        assert_eq!(owns("0::/user.slice\n", part), []);
    }
}
