//! What a client did, in the words of the driver that has to answer.

use super::auth::Credentials;
use crate::dsn::{EnvelopeId, Notify, OriginalRecipient, Return};
use crate::path::{ForwardPath, ReversePath};
use crate::stage::Stage;

/// What the client did. Everything but [`Event::Bdat`] and [`Event::Body`] waits for an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The connection is there: the greeting is due.
    Connect,
    /// EHLO or LHLO (`extended`), or HELO.
    Hello { name: &'a str, extended: bool },
    /// STARTTLS. Once it is accepted see [`Session::is_starting_tls`](super::Session::is_starting_tls).
    StartTls,
    /// AUTH asks the client for a response: accepting sends the challenge of the mechanism, a reply of 3xx
    /// another one, and any other reply ends the exchange.
    AuthChallenge,
    /// AUTH has come to its end.
    Auth(Credentials),
    /// MAIL with its parameters, those that are not offered left empty.
    Mail {
        reverse_path: ReversePath,
        /// SIZE=, bytes.
        size: Option<u64>,
        /// BODY=8BITMIME.
        eight_bit: bool,
        /// SMTPUTF8: the message or an address may be beyond ASCII (RFC 6531).
        smtp_utf8: bool,
        /// REQUIRETLS: the message goes on under TLS or not at all (RFC 8689 §4.1).
        require_tls: bool,
        /// RET=, RFC 3461 §4.3.
        ret: Option<Return>,
        /// ENVID=, RFC 3461 §4.4.
        envelope_id: Option<EnvelopeId>,
    },
    /// RCPT with its parameters.
    Rcpt {
        forward_path: ForwardPath,
        /// NOTIFY=, RFC 3461 §4.1.
        notify: Option<Notify>,
        /// ORCPT=, RFC 3461 §4.2.
        original_recipient: Option<OriginalRecipient>,
    },
    /// DATA.
    Data,
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// VRFY.
    Vrfy,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// A command that is unknown, malformed, too long, out of sequence or over a limit: `accept` sends the
    /// refusal that fits.
    Invalid { stage: Option<Stage> },
    /// BDAT, the first of the transaction or another one: `size` bytes follow, as [`Event::Body`], and then
    /// `EndOfData` (`last`) or `EndOfChunk`, which is what the reply belongs to. Not told of a chunk that the
    /// protocol refuses: that is `Invalid` once its bytes have come and gone.
    ///
    /// The message may be given up between chunks: by RSET, EHLO, or a client that leaves.
    Bdat { size: u64, last: bool },
    /// A piece of the message: after DATA dots removed, otherwise as received.
    Body(&'a [u8]),
    /// A chunk ended that is not the last one; `too_big` as below. Any answer but a positive one gives the
    /// message up and ends the transaction.
    EndOfChunk { size: u64, too_big: bool },
    /// The message ended, by the final dot or with its last chunk. `bare_newline`: it has a CR or LF on its
    /// own. `too_big`: over the limit; what is over was not handed out. In LMTP this is answered for the
    /// first accepted recipient, and the others are asked for by `NextRecipient`.
    EndOfData { bare_newline: bool, too_big: bool },
    /// LMTP: the reply to the end of data for another accepted recipient, counted from 0 in the order of RCPT
    /// (RFC 2033 §4.2).
    NextRecipient { index: u32 },
}
