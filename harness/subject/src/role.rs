//! The roles of a trial's processes: each has a control group (or a session) of its own.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Load,
    Sink,
    Queue,
    Reception,
    /// The delivery agents and the starter that forks them.
    Agents,
    Harness,
}

impl Role {
    /// Those whose processes a trial starts.
    pub const STARTED: [Role; 5] = [Role::Load, Role::Sink, Role::Queue, Role::Reception, Role::Agents];

    /// The value of the column `role` and the name of the group.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Load => "load",
            Role::Sink => "sink",
            Role::Queue => "queue",
            Role::Reception => "reception",
            Role::Agents => "agents",
            Role::Harness => "harness",
        }
    }
}
