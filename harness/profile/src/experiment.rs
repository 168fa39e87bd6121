//! A checked profile: no defaults left open, axes expanded, numbers resolved for each trial.

use crate::sink::Sink;
use std::time::Duration;

/// Everything a run does, decided before anything starts.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Letters, digits, `-`, `_` and `.` only: it names a folder and stands in the CSV.
    pub name: String,
    /// One sentence on what the profile shows.
    pub purpose: String,
    /// The profile's file name, as given.
    pub file: String,
    /// The profile's text, byte for byte, for the record.
    pub text: String,
    /// What every random choice of the run follows from.
    pub seed: u64,
    /// Blocks: each holds every subject at every point once.
    pub repeats: u32,
    /// What is wished; a machine with one core cannot pin, and the row says what was done.
    pub placement: Placement,
    /// How long a trial may take to drain before it is given up.
    pub drain_timeout: Duration,
    /// Names of the subjects in the profile's order; the first is what ratios refer to.
    pub subjects: Vec<String>,
    /// In the order in which they are to run.
    pub trials: Vec<Trial>,
    /// What the reader should know and is no error, such as agents added because of the descriptor limit.
    pub notes: Vec<String>,
}

/// One subject at one point in one block.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Place in the run, from 1.
    pub order: u32,
    /// Block, from 1.
    pub repeat: u32,
    /// Deliveries that the subject may have in flight at once: its destination concurrency.
    pub concurrency: u32,
    /// Seed of this trial's own random choices; the same for every subject of a block's point.
    pub seed: u64,
    pub subject: Subject,
    pub load: Load,
    pub sink: Sink,
    /// Where all deliveries are held until their memory has been read; there is then one on each connection.
    pub hold: Option<HoldState>,
    /// Where mail goes to many destinations, of which some drip.
    pub tarpits: Option<Tarpits>,
    pub tls: Tls,
}

/// What is measured, resolved for one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    pub name: String,
    pub mta: Mta,
    /// Messages that one connection to the sink carries; 1 opens a connection for each.
    pub messages_per_connection: u32,
    pub pipelining: bool,
}

/// The mail transfer agent between load generator and sink.
#[derive(Debug, Clone, PartialEq)]
pub enum Mta {
    Mailrig(Dial),
    /// None: the load generator speaks to the sink itself, which is the ceiling for every other subject.
    Wire,
}

/// mailrig's architecture, and how its queue is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Dial {
    pub driver: Driver,
    /// 0: delivery runs inside the queue manager's process.
    pub agents_max: u32,
    /// At most; inside the queue manager's process all there are.
    pub connections_per_agent: u32,
    pub spawn: Spawn,
    /// Deliveries after which an agent ends; 0 is no limit.
    pub max_use: u32,
    pub max_idle: Duration,
    pub durability: Durability,
    pub spool: Store,
    pub queue: Queue,
}

impl Mta {
    /// The word of the profile and of the CSV.
    pub fn as_str(&self) -> &'static str {
        match self {
            Mta::Mailrig(_) => MtaWord::Mailrig.as_str(),
            Mta::Wire => MtaWord::Wire.as_str(),
        }
    }

    /// `None`: there is none to turn.
    pub fn dial(&self) -> Option<&Dial> {
        match self {
            Mta::Mailrig(dial) => Some(dial),
            Mta::Wire => None,
        }
    }
}

/// The queue manager's settings that a profile may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    pub minimal_backoff: Duration,
    pub maximal_backoff: Duration,
    pub lifetime: Duration,
    /// `None`: the queue manager's own.
    pub scheduler: Option<SchedulerWord>,
    /// `None`: the trial's concurrency.
    pub destination_concurrency: Option<u32>,
    /// `None`: the trial's concurrency, so that slow start is not what is measured.
    pub initial_destination_concurrency: Option<u32>,
    pub slow_after: Option<Duration>,
    pub retry_share: Option<f64>,
    pub slow_share: Option<f64>,
    pub unproven_share: Option<f64>,
}

/// Many destinations with one sink behind them all, some of which drip their replies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tarpits {
    /// In all, each with the same share of the mail.
    pub destinations: u32,
    /// Of these, those that drip.
    pub dripping: u32,
    /// Between two bytes of their replies to RCPT, DATA and the content.
    pub every: Duration,
    /// Mail that comes in for all destinations together.
    pub messages_per_s: f64,
    /// Good mail of this first time is not counted: nobody can know a tarpit that has not been met.
    pub warm_up: Duration,
}

/// What mail comes in, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    pub model: LoadModel,
    pub messages: u64,
    /// Size of a message's content.
    pub size_bytes: u64,
    /// Sessions that the load generator keeps open.
    pub connections: u32,
    pub sender: String,
    pub recipient: String,
}

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// The word of the profile and of the CSV.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            #[allow(dead_code)]
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
        }
    };
}

words! {
    /// How mail comes in; rows of different models never meet in a ratio.
    LoadModel {
        /// The queue is filled while delivery is held, then released.
        Preload = "preload",
        /// Mail comes in while it goes out.
        Concurrent = "concurrent",
    }
}

words! {
    /// The name of an [`Mta`].
    MtaWord {
        Mailrig = "mailrig",
        Wire = "wire",
    }
}

words! {
    /// Whose rules decide what is delivered next.
    SchedulerWord {
        Mailrig = "mailrig",
        /// As Postfix's qmgr(8).
        Postfix = "postfix",
    }
}

words! {
    /// What waits for an agent's sockets.
    Driver {
        /// One connection an agent, no runtime.
        Blocking = "blocking",
        /// Many connections, a thread for each.
        Threads = "threads",
        /// Many connections on one event loop.
        Event = "event",
    }
}

words! {
    /// How an agent comes to be.
    Spawn {
        /// Forked from the starter, nothing executed.
        Zygote = "zygote",
        /// Forked and executed, as master(8) of Postfix does.
        Exec = "exec",
        /// Forked at start-up, as many as may be, and kept.
        Preforked = "preforked",
    }
}

words! {
    /// What a 250 promises.
    Durability {
        /// On stable storage before it is sent.
        Full = "full",
        /// Nothing is synced.
        None = "none",
    }
}

words! {
    /// How the queue is kept on disk.
    Store {
        /// Many messages in a file.
        Segments = "segments",
        /// One file a message, as Postfix keeps it.
        Files = "files",
    }
}

words! {
    /// Who may use which core.
    Placement {
        /// The subject on one core; sink, load generator and harness on the other.
        Pinned = "pinned",
        /// Everybody everywhere.
        Shared = "shared",
    }
}

words! {
    /// What a delivery that is held waits for.
    HoldState {
        /// The greeting.
        BannerWait = "banner_wait",
        /// A sink that has stopped reading halfway through a message of [`HELD_MESSAGE_BYTES`].
        MidData = "mid_data",
        /// The reply to the dot.
        DotWait = "dot_wait",
    }
}

/// The message of [`HoldState::MidData`]: more than the kernel's buffers take.
pub const HELD_MESSAGE_BYTES: u64 = 8 << 20;

words! {
    /// Encryption between subject and sink.
    Tls { None = "none" }
}
