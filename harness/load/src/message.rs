//! What is sent, and to whom.
//!
//! Everything about a message follows from the run's seed and the message's number, so that it does not matter in which
//! order or by which process messages are sent. Knows nothing of SMTP's dialogue: dots are stuffed by the client session.
//!
//! | module | for |
//! |---|---|
//! | [`address`] | sets of addresses, and one of them |
//! | [`envelope`] | a message's sender and recipients |
//! | `heading` | the header section: the id, and what else a message must have |
//! | [`filler`] | text of any size |
//! | `pool` | contents made or read before the run |

pub mod address;
pub mod envelope;
pub mod filler;
mod heading;
mod pool;

use distribution::Distribution;
use envelope::Envelope;
use fastrand::Rng;
use filler::{Filler, Text};
use heading::Heading;
use pool::Pool;
use smtp::client::Transaction;
use std::path::PathBuf;
use std::rc::Rc;

/// Name of the header field by which sinks recognise a message: `RUN/NUMBER/INTENDED_NS`.
pub const ID_FIELD: &str = "X-Mailrig-Id";

/// Longest run name: it stands in a header line beside the number and the time.
pub const RUN_NAME_MAX: usize = 64;

/// What is sent, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The first part of each message's id.
    pub run: String,
    /// Size of each message in bytes, as sent, before dot-stuffing; with [`Content::Own`] it is the content's.
    pub size: Distribution,
    pub content: Content,
    /// Set of senders, as [`address`] has it; empty for the null reverse-path.
    pub from: String,
    /// Sets of recipients, at least one.
    pub to: Vec<String>,
    /// How many recipients a message has, each drawn from one of `to`; none: one from each.
    pub recipients: Option<Distribution>,
}

/// Where contents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text that says nothing.
    Filler(Text),
    /// The same as multipart MIME with an attachment.
    Mime,
    /// Messages of one's own: a file, a folder of files, or an mbox.
    Own(PathBuf),
}

/// Makes a run's messages.
pub struct Composer {
    run: String,
    seed: u64,
    envelope: Envelope,
    size: Distribution,
    contents: Contents,
}

enum Contents {
    Filler(Filler),
    Pool(Pool),
}

/// A message that is being sent.
pub struct Letter {
    number: u64,
    intended_ns: u64,
    /// From and To, as lines; none where the content has its own.
    addresses: Option<Rc<str>>,
    body: Body,
}

#[derive(Clone, Copy)]
enum Body {
    Filler { bytes: u64 },
    Pool { index: usize },
}

impl Composer {
    /// # Errors
    /// The option that has a value that can't be, and why.
    pub fn new(options: &Options, seed: u64) -> Result<Composer, (&'static str, String)> {
        check_run_name(&options.run).map_err(|problem| ("--run", problem))?;
        let envelope = Envelope::new(&options.from, &options.to, options.recipients.clone())?;
        let contents = match &options.content {
            Content::Filler(text) => Contents::Filler(Filler::new(*text)),
            Content::Mime => Contents::Pool(Pool::mime(&options.size, seed)),
            Content::Own(path) => Contents::Pool(Pool::read(path).map_err(|problem| ("--mail", problem))?),
        };
        let composer =
            Composer { run: options.run.clone(), seed, envelope, size: options.size.clone(), contents };
        composer.check_size()?;
        Ok(composer)
    }

    /// Envelope and content of message `number`, which is meant to start at this time of CLOCK_MONOTONIC.
    pub fn compose(&self, number: u64, intended_ns: u64) -> (Transaction, Letter) {
        let mut chance = generator(self.seed, number);
        let drawn = self.envelope.draw(&mut chance);
        let mut letter =
            Letter { number, intended_ns, addresses: Some(drawn.lines), body: Body::Pool { index: 0 } };
        let (size_bytes, eight_bit, utf8_header) = match &self.contents {
            Contents::Filler(filler) => {
                let heading = self.heading(&letter).bytes() + filler.before().len() as u64;
                let wanted = self.size.draw(&mut chance).min(SIZE_MAX as f64) as u64;
                let bytes = wanted.saturating_sub(heading).max(filler::BYTES_MIN);
                letter.body = Body::Filler { bytes };
                (heading + bytes, filler.is_eight_bit(), filler.is_utf8())
            }
            Contents::Pool(pool) => {
                let index = (number - 1) as usize % pool.len();
                letter.body = Body::Pool { index };
                if pool.has_header() {
                    letter.addresses = None;
                }
                let content = pool.get(index);
                let size_bytes = self.heading(&letter).bytes() + content.bytes.len() as u64;
                (size_bytes, content.eight_bit, content.utf8_header)
            }
        };
        let transaction = Transaction {
            reverse_path: drawn.reverse_path,
            recipients: drawn.recipients,
            size_bytes: Some(size_bytes),
            eight_bit,
            smtp_utf8: utf8_header || letter.addresses.as_deref().is_some_and(|lines| !lines.is_ascii()),
        };
        (transaction, letter)
    }

    /// Appends the header section of a letter, or the part of it that is not in its body; `date` is an RFC 5322 date-time.
    pub fn write_header(&self, letter: &Letter, date: &str, out: &mut Vec<u8>) {
        self.heading(letter).write(date, out);
        if let Contents::Filler(filler) = &self.contents {
            out.extend_from_slice(filler.before());
        }
    }

    /// The body from byte `sent` on, `most` bytes of it or fewer; empty at its end.
    pub fn body(&self, letter: &Letter, sent: u64, most: usize) -> &[u8] {
        match (letter.body, &self.contents) {
            (Body::Filler { bytes }, Contents::Filler(filler)) => filler.piece(bytes, sent, most),
            (Body::Pool { index }, Contents::Pool(pool)) => {
                let rest = &pool.get(index).bytes[sent as usize..];
                &rest[..rest.len().min(most)]
            }
            (Body::Filler { .. }, Contents::Pool(_)) | (Body::Pool { .. }, Contents::Filler(_)) => {
                unreachable!("a letter is of the composer that made it")
            }
        }
    }

    fn heading<'a>(&'a self, letter: &'a Letter) -> Heading<'a> {
        Heading {
            run: &self.run,
            number: letter.number,
            intended_ns: letter.intended_ns,
            addresses: letter.addresses.as_deref(),
            utf8: matches!(&self.contents, Contents::Filler(filler) if filler.is_utf8()),
        }
    }

    /// A size that no message can have is a mistake; where sizes differ, small ones become the smallest possible.
    fn check_size(&self) -> Result<(), (&'static str, String)> {
        let Contents::Filler(filler) = &self.contents else { return Ok(()) };
        let addresses = Some(self.envelope.draw(&mut generator(self.seed, 1)).lines);
        let letter = Letter { number: 1, intended_ns: 0, addresses, body: Body::Filler { bytes: 0 } };
        let heading = self.heading(&letter).bytes() + filler.before().len() as u64;
        let smallest = heading + filler::BYTES_MIN;
        match self.size.largest() {
            Some(size) if size < smallest as f64 => Err((
                "--size",
                format!("a message of {size} bytes has no room for its header section ({smallest} bytes)"),
            )),
            Some(size) if size > SIZE_MAX as f64 => {
                Err(("--size", format!("at most {}", settings::size::format(SIZE_MAX))))
            }
            _ => Ok(()),
        }
    }
}

/// The chances of message `number` in a run of this seed: the same in whichever process it is sent.
pub fn generator(seed: u64, number: u64) -> Rng {
    // An odd factor spreads neighbours over all 64 bits.
    Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A name for a run that nobody gave a name: 64 random bits in hexadecimal.
pub fn random_run_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Whether `run` can stand in an id and in a Message-ID.
///
/// # Errors
/// Says what is allowed.
pub fn check_run_name(run: &str) -> Result<(), String> {
    // The name is also the right half of a Message-ID: letters, digits, hyphen, dot, underscore (RFC 5322 §3.2.3 has more).
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let dots_stand_between = run.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(fits));
    match run.len() <= RUN_NAME_MAX && dots_stand_between {
        true => Ok(()),
        false => Err(format!(
            "run name {run:?} is not 1 to {RUN_NAME_MAX} letters, digits, hyphens and underscores, with dots between"
        )),
    }
}

/// Larger than any server takes, and where distributions without an end are cut.
pub const SIZE_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests;
