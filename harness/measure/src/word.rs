//! The closed lists of words that a cell may hold; results/README.md says what each means.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word as it stands in the cell.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// How the processes were kept apart for the kernel's scheduler.
    Grouping {
        /// A CPU control group for each role.
        Cgroup = "cgroup",
        /// A session for each role.
        Session = "session",
    }
}

words! {
    /// Which cores the roles had; what was done, not what was wished.
    Placement {
        /// The subject on one core; sink, load generator and harness on another.
        Pinned = "pinned",
        /// Every role on every core.
        Shared = "shared",
    }
}

words! {
    /// What held the throughput down; see [`crate::limited_by`].
    LimitedBy {
        Subject = "subject",
        Sink = "sink",
        Load = "load",
        /// No processor was full: delays and the concurrency set the pace.
        None = "none",
        /// Not measured, or the machine was full and no role alone.
        Unclear = "unclear",
    }
}

words! {
    /// Why a row does not count. The first that holds, in this order.
    InvalidReason {
        /// Stopped by the user before its end.
        Interrupted = "interrupted",
        /// The mail transfer agent did not start, ended or did not answer.
        SubjectFailed = "subject_failed",
        /// The sink did not start or ended.
        SinkFailed = "sink_failed",
        /// The load generator ended with an error or did not get all its mail accepted.
        LoadFailed = "load_failed",
        /// Mail was still waiting for delivery at the end of `drain_timeout`.
        DrainTimeout = "drain_timeout",
        /// Accepted mail is neither delivered nor bounced nor queued.
        MailLost = "mail_lost",
        /// A message was accepted by the sink more than once.
        MailDuplicated = "mail_duplicated",
        /// More messages ended somewhere than were offered.
        Unbalanced = "unbalanced",
        /// A figure that every valid row has is missing.
        NotMeasured = "not_measured",
        /// Deliveries in flight and delivery times contradict each other by more than 10 %.
        LittlesLaw = "littles_law",
    }
}
