//! How many connections fit in a process that may hold so many files.

/// RLIMIT_NOFILE, as the children will have it.
pub(crate) struct DescriptorLimit {
    pub files: u64,
}

impl DescriptorLimit {
    /// A socket each.
    pub fn sockets(&self) -> u64 {
        self.files.saturating_sub(KEPT)
    }

    /// Of one agent: a socket a connection, and at worst a file for each while large bodies are sent.
    pub fn connections_of_agent(&self) -> u32 {
        u32::try_from(self.sockets() / 2).unwrap_or(u32::MAX).max(1)
    }

    pub fn hint(&self) -> String {
        format!(
            "a process may hold {} files here; raise the limit (ulimit -n) or lower the value",
            self.files
        )
    }
}

/// Kept free in every process for listeners, logs, the spool and the control socket.
const KEPT: u64 = 100;
