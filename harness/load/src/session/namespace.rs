//! Whether this process is in a network namespace that somebody made for tests: from there private addresses are
//! machines of the same test, where on a host's own network they are other people's.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether `ip` is a private address (RFC 1918, RFC 3927, RFC 4193, RFC 4291 §2.5.6), seen from a network namespace
/// that is not the host's own.
pub fn is_of_own_namespace(ip: IpAddr) -> bool {
    let private = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    private && is_made_for_tests()
}

/// One that `ip netns` has named, or another one than that of the first process; where neither can be seen it is not.
fn is_made_for_tests() -> bool {
    let Some(own) = identity(Path::new("/proc/self/ns/net")) else { return false };
    let first = identity(Path::new("/proc/1/ns/net"));
    let is_named = || {
        let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        names.into_iter().any(|name| identity(&name.path()) == Some(own))
    };
    first.is_some_and(|first| first != own) || is_named()
}

/// What tells one namespace from another, namespaces(7).
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|namespace| (namespace.dev(), namespace.ino()))
}
