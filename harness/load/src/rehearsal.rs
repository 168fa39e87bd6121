//! What a load would say: one whole dialogue with a server that offers everything, while nothing goes out.
//!
//! The client's side is the real one, so that what is shown is what would be said; the server is made up.

use crate::driver::check;
use crate::message::{Composer, Letter};
use crate::options::{Error, Options};
use crate::schedule::{Model, Next, Schedule};
use crate::session::tls::Mode;
use smtp::Protocol;
use smtp::client::{Event, Session};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a load of these options would do, line by line.
///
/// # Errors
/// [`Error`]: what the load itself would say.
pub fn rehearse(options: &Options) -> Result<String, Error> {
    check(options)?;
    let blame = |(name, problem): (&'static str, String)| Error::option(name, problem);
    let composer = Composer::new(&options.message, options.seed).map_err(blame)?;
    let mut rehearsal = Rehearsal {
        text: plan_words(options),
        lmtp: options.session.protocol == Protocol::Lmtp,
        encrypted: false,
        recipients: 0,
    };
    rehearsal.play(options, &composer);
    Ok(rehearsal.text)
}

struct Rehearsal {
    text: String,
    lmtp: bool,
    encrypted: bool,
    recipients: usize,
}

impl Rehearsal {
    fn play(&mut self, options: &Options, composer: &Composer) {
        let now = Instant::now();
        let client = Arc::new(options.session.client(options.target.is_local()));
        self.note(&format!("a connection to {}: stage connect", options.target));
        self.encrypted = options.session.tls.mode == Mode::Implicit;
        let mut session = match self.encrypted {
            true => Session::over_tls(client, now),
            false => Session::new(client, now),
        };
        if self.encrypted {
            self.note(HANDSHAKE);
        }
        let (transaction, letter) = composer.compose(1, INTENDED_NS);
        self.recipients = transaction.recipients.len();
        let (mut transaction, mut out) = (Some(transaction), Vec::new());
        let mut replies = vec!["220 server.example ready".to_owned()];
        while !replies.is_empty() {
            let input = self.server(std::mem::take(&mut replies));
            let mut taken = 0;
            while taken <= input.len() {
                let (consumed, event) = session.next(&input[taken..], now, &mut out);
                taken += consumed;
                match event {
                    None => break,
                    Some(Event::Reply { .. }) => {}
                    Some(Event::StartTls) => {
                        self.note(HANDSHAKE);
                        self.encrypted = true;
                        session.tls_established(now, &mut out);
                    }
                    Some(Event::SendBody) => {
                        replies.extend(self.commands(&mut out));
                        self.send(&mut session, composer, &letter, &mut out);
                        out.clear();
                        replies.extend(self.final_replies());
                    }
                    Some(Event::Done(_)) => session.quit(now, &mut out),
                    Some(Event::Closed(_)) => return,
                }
            }
            if session.is_idle()
                && let Some(transaction) = transaction.take()
            {
                self.note("the message is due: its service time begins");
                session.begin(transaction, now, &mut out);
            }
            replies.extend(self.commands(&mut out));
        }
    }

    /// Shows what the server says; gives it as bytes.
    fn server(&mut self, replies: Vec<String>) -> Vec<u8> {
        let mut input = String::new();
        for alike in replies.chunk_by(PartialEq::eq) {
            let words = if alike.len() > 1 { format!("{} times", alike.len()) } else { String::new() };
            for line in alike[0].split("\r\n") {
                self.line("S", line, &words);
            }
            alike.iter().for_each(|reply| input += &format!("{reply}\r\n"));
        }
        input.into_bytes()
    }

    /// Shows the commands in `out` and takes them; gives the replies.
    fn commands(&mut self, out: &mut Vec<u8>) -> Vec<String> {
        let commands = String::from_utf8_lossy(out).into_owned();
        out.clear();
        let count = commands.lines().count();
        let mut replies = Vec::new();
        for (index, command) in commands.lines().enumerate() {
            let verb = command.split(' ').next().unwrap_or("");
            let (words, stage) = match verb {
                "EHLO" | "LHLO" => (command.to_owned(), "stage ehlo"),
                "STARTTLS" => (command.to_owned(), "stage starttls"),
                "AUTH" => ("AUTH PLAIN (user and password in base64)".to_owned(), "stage auth"),
                "MAIL" if count > 1 => {
                    (command.to_owned(), "stage mail; a group, since PIPELINING is offered")
                }
                "MAIL" => (command.to_owned(), "stage mail"),
                "RCPT" => (command.to_owned(), "stage rcpt"),
                "DATA" => (command.to_owned(), "stage data"),
                "QUIT" => (command.to_owned(), "stage quit, once the connection has done its part"),
                _ => (command.to_owned(), ""),
            };
            // Long lists of recipients say the same again and again.
            if (RCPT_SHOWN..count.saturating_sub(2)).contains(&index) && verb == "RCPT" {
                if index == RCPT_SHOWN {
                    self.note("and more recipients");
                }
            } else {
                self.client(&words, stage);
            }
            replies.extend(self.reply(verb));
        }
        replies
    }

    fn reply(&self, verb: &str) -> Vec<String> {
        let reply = match verb {
            "EHLO" | "LHLO" => {
                let tls = if self.encrypted { "" } else { "250-STARTTLS\r\n" };
                format!(
                    "250-server.example\r\n{tls}250-AUTH PLAIN LOGIN\r\n250-PIPELINING\r\n250-8BITMIME\r\n\
                     250-SMTPUTF8\r\n250-CHUNKING\r\n250 SIZE"
                )
            }
            "STARTTLS" => "220 ready for TLS".to_owned(),
            "AUTH" => "235 welcome".to_owned(),
            "DATA" => "354 go on".to_owned(),
            "QUIT" => "221 goodbye".to_owned(),
            _ => "250 ok".to_owned(),
        };
        vec![reply]
    }

    /// RFC 2033 §4.2: with LMTP each recipient has a reply of its own.
    fn final_replies(&self) -> Vec<String> {
        vec!["250 it is mine now".to_owned(); if self.lmtp { self.recipients } else { 1 }]
    }

    /// Shows the message and gives it to the session.
    fn send(&mut self, session: &mut Session, composer: &Composer, letter: &Letter, out: &mut Vec<u8>) {
        let mut message = Vec::new();
        composer.write_header(letter, DATE, &mut message);
        let mut sent = 0;
        loop {
            let piece = composer.body(letter, sent, usize::MAX);
            if piece.is_empty() {
                break;
            }
            sent += piece.len() as u64;
            message.extend_from_slice(piece);
        }
        session.send_body(&message, out);
        session.finish_body(Instant::now(), out);
        let by_bdat = out.starts_with(b"BDAT ");
        if by_bdat {
            let command = out.split(|&byte| byte == b'\r').next().unwrap_or_default();
            self.client(&String::from_utf8_lossy(command), "all of the message follows at once; stage dot");
        }
        let header = memchr::memmem::find(&message, b"\r\n\r\n").map_or(message.len(), |end| end + 2);
        for (index, line) in String::from_utf8_lossy(&message[..header]).lines().enumerate() {
            let words = if index == 0 { "run, number and intended start (CLOCK_MONOTONIC, ns)" } else { "" };
            self.client(line, words);
        }
        self.note(&format!(
            "an empty line and the body, {} bytes; the message is {}",
            message.len() - header,
            message.len()
        ));
        if !by_bdat {
            self.client(".", "the end of the message; stage dot");
        }
    }

    fn client(&mut self, line: &str, words: &str) {
        self.line("C", line, words);
    }

    fn line(&mut self, side: &str, line: &str, words: &str) {
        // What a header or a name brings along must not play with the terminal.
        let line: String = line.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
        let text = match words {
            "" => format!("{side}: {line}\n"),
            _ => format!("{side}: {line:<56}  # {words}\n"),
        };
        self.text.push_str(&text);
    }

    fn note(&mut self, words: &str) {
        self.text.push_str(&format!("# {words}\n"));
    }
}

/// When messages would start.
fn plan_words(options: &Options) -> String {
    let count = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let connections = count(options.connections.into(), "connection");
    const TEXT: &str = "a String accepts every write";
    let (plan, start) = (&options.plan, Instant::now());
    let mut text = String::new();
    match &plan.model {
        Model::Closed { think } => {
            let pause = if think.is_some() { " after a pause" } else { "" };
            let each = format!("each starts its next message when the last one is over{pause}");
            writeln!(text, "# closed loop: {connections}, {each}").expect(TEXT);
        }
        Model::Open { course, .. } => {
            writeln!(text, "# open loop: at most {connections}, up to {}/s", course.highest()).expect(TEXT);
            let mut schedule = Schedule::new(plan, start);
            let (mut starts, mut now) = (Vec::new(), start);
            while starts.len() < STARTS_SHOWN {
                match schedule.claim(now) {
                    Next::Start(claim) => starts.push((claim.intended - start).as_secs_f64()),
                    Next::Wait(until) => now = until,
                    Next::End => break,
                }
            }
            let starts: Vec<String> = starts.iter().map(|start| format!("{start:.6}")).collect();
            writeln!(text, "# the first messages start after {} s", starts.join(", ")).expect(TEXT);
        }
    }
    let messages =
        plan.stop.after.map_or("as many messages as come due".to_owned(), |it| count(it, "message"));
    let length = [plan.stop.at, plan.model.length()].into_iter().flatten().min();
    let length = length.map_or(String::new(), |at| format!(" within {}", settings::duration::format(at)));
    let warm_up = match plan.warm_up {
        Duration::ZERO => String::new(),
        time => format!(", the first {} as a warm-up", settings::duration::format(time)),
    };
    writeln!(text, "# {messages}{length}{warm_up}\n").expect(TEXT);
    text
}

const HANDSHAKE: &str = "the TLS handshake: stage handshake; everything from here on is encrypted";
const INTENDED_NS: u64 = 1_000_000_000;
const DATE: &str = "Thu, 01 Jan 1970 00:00:00 +0000";
const STARTS_SHOWN: usize = 5;
const RCPT_SHOWN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Content, filler::Text};
    use crate::schedule::{Plan, Shard, Stop};
    use crate::{message, session};
    use distribution::Distribution;
    use smtp::client::Credentials;

    fn options() -> Options {
        Options {
            target: "127.0.0.1:25".parse().expect("an address"),
            own_host: None,
            rate_max: 100.0,
            plan: Plan {
                model: Model::Closed { think: None },
                stop: Stop { after: Some(7), at: None },
                warm_up: Duration::ZERO,
                shard: Shard::WHOLE,
            },
            connections: 1,
            session: session::Options::default(),
            message: message::Options {
                run: "r".to_owned(),
                size: Distribution::Fixed(4096.0),
                content: Content::Filler(Text::Ascii),
                from: String::new(),
                to: vec!["u{500}@x.test".to_owned()],
                recipients: Some(Distribution::Fixed(20.0)),
            },
            start_ns: None,
            seed: 1,
            lag_max: Duration::ZERO,
        }
    }

    /// The verbs that the client says, in their order.
    fn verbs(options: &Options) -> Vec<String> {
        let text = rehearse(options).expect("good options");
        let said = text.lines().filter_map(|line| line.strip_prefix("C: "));
        let verbs = said.filter_map(|line| line.split(' ').next()).filter(|verb| !verb.ends_with(':'));
        let mut verbs: Vec<String> = verbs.map(str::to_owned).filter(|verb| !verb.is_empty()).collect();
        verbs.dedup();
        verbs
    }

    #[test]
    fn a_whole_dialogue_is_shown_from_the_first_command_to_quit() {
        assert_eq!(verbs(&options()), ["EHLO", "MAIL", "RCPT", "DATA", ".", "QUIT"]);
        let mut secure = options();
        secure.session.tls.mode = Mode::StartTls;
        secure.session.auth = Some(Credentials { user: "u".to_owned(), password: "secret".to_owned() });
        assert_eq!(verbs(&secure), ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "QUIT"]);
        secure.session.tls.mode = Mode::Implicit;
        assert_eq!(verbs(&secure), ["EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "QUIT"]);
        let mut lmtp = options();
        lmtp.session.protocol = Protocol::Lmtp;
        lmtp.session.chunking = true;
        lmtp.session.pipelining = false;
        assert_eq!(verbs(&lmtp), ["LHLO", "MAIL", "RCPT", "BDAT", "QUIT"]);
        let text = rehearse(&lmtp).expect("good options");
        assert!(text.contains("# 20 times") && text.contains("the message is 4096"), "{text}");
        assert!(text.contains("7 messages") && text.contains(": 1 connection,"), "{text}");
    }

    #[test]
    fn the_first_starts_of_an_open_loop_are_told() {
        let mut open = options();
        open.plan.model = Model::Open {
            course: crate::schedule::rate::Course::constant(50.0),
            spacing: crate::schedule::rate::Spacing::Even,
        };
        let text = rehearse(&open).expect("good options");
        assert!(text.contains("0.000000, 0.020000, 0.040000"), "{text}");
        open.rate_max = 49.0;
        assert!(matches!(rehearse(&open), Err(Error::RateMax { .. })));
    }
}
